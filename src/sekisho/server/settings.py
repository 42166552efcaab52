"""Settings of the listeners and of relaying."""

from __future__ import annotations

from dataclasses import dataclass

from sekisho.config import MIB, MINUTE, Duration, Endpoint, Network, Size, setting

__all__ = ["ListenerSettings", "RelaySettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerSettings:
    """One service that clients connect to."""

    enabled: bool = setting(True, "Open this listener.")
    addresses: tuple[Endpoint, ...] = setting(
        (), "Where to listen; empty means the service's own port on all addresses."
    )
    mechanisms: tuple[str, ...] = setting(
        (), "SASL mechanisms to offer, in this order; empty means all that the accounts and TLS allow.", reload=True
    )
    max_message_size: Size = setting(
        Size(50 * MIB), "Largest message, in octets; announced with SIZE (RFC 1870).", reload=True
    )
    max_recipients: int = setting(
        1000, "Most recipients of one message (RFC 5321 §4.5.3.1.8 wants at least 100).", reload=True
    )
    max_transactions: int = setting(
        1000, "Most messages in one session; announced with LIMITS (RFC 9422).", reload=True
    )
    max_connections: int = setting(
        10000, "Most connections at once, over all mail processes; later ones get 421.", reload=True
    )
    max_connections_per_address: int = setting(
        100, "Most connections at once from one address (IPv6: one /64), over all mail processes.", reload=True
    )
    idle_timeout: Duration = setting(
        Duration(5 * MINUTE), "Close a session that sends no command for this long (RFC 5321 §4.5.3.2.7).", reload=True
    )
    data_timeout: Duration = setting(
        Duration(3 * MINUTE), "Close a session that stops in the middle of a message for this long.", reload=True
    )
    greeting_wait: Duration = setting(
        Duration(0.2),
        "On the submission port: wait this long before greeting an address not seen before, so that a client that "
        "speaks TLS at once there (old ones with the SSL box ticked and 587 typed in) is recognized and served.",
        reload=True,
    )
    client_address_in_received: bool = setting(
        False, "Write the client's address into the Received field; off keeps private addresses private.", reload=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RelaySettings:
    """Relaying on the mx listener without authentication, by network."""

    networks: tuple[Network, ...] = setting(
        (), "Networks whose hosts may send to any destination through the mx listener without AUTH.", reload=True
    )
