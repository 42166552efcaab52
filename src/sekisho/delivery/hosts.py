"""From a destination to a connection: its hosts in order, their addresses, and the first that answers well."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from sekisho.smtp import DeliveryFailure, PermanentFailure, Reply, TemporaryFailure

from .connection import AuthRefused, Connection, Credentials, Target, Timeouts, TlsFailed, open_session
from .mx import Lookup, NextHop, addresses_of, next_hops
from .route import Destination, DestinationKind, Security
from .settings import TlsMode

__all__ = ["Dialer"]

MAX_TRIED = 10  # addresses in one attempt

NOBODY_LEFT = Reply(451, "4.4.1", ("None of the servers of this destination answered",))


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens connections; everything it needs besides the destination.

    Fields:
        contexts: TLS contexts, with or without verification.
        clock: loop time.
        hostname: our own name, for EHLO and for finding ourselves among the MX hosts.
    """

    lookup: Lookup
    hostname: str
    timeouts: Timeouts
    contexts: Callable[[bool], ssl.SSLContext]
    clock: Callable[[], float]

    async def connect(
        self,
        destination: Destination,
        tried: set[str],
        watch: Callable[[Connection], None],
        *,
        broken: DeliveryFailure | None = None,
    ) -> Connection:
        """Return a connection ready for MAIL.

        Args:
            tried: addresses not to try again in this attempt; those that fail are added.
            watch: told of each connection as it is made.
            broken: what became of the connection before, raised when nobody else is left.

        Raises:
            PermanentFailure: DNS says that the destination takes no mail.
            AuthRefused: the smarthost does not take our credentials.
            TemporaryFailure: nobody answered well.
        """
        failure = broken or TemporaryFailure(NOBODY_LEFT)
        permanent = True
        for hop in await self._hops(destination):
            try:
                addresses = await self._addresses(destination, hop)
            except PermanentFailure as error:  # another host may have an address
                failure = error if permanent else failure
                continue
            except TemporaryFailure as error:
                failure, permanent = error, False
                continue
            permanent = False
            for address in addresses:
                if address in tried:
                    continue
                if len(tried) >= MAX_TRIED:
                    raise failure
                tried.add(address)
                try:
                    return await self._open(destination, hop, address, watch)
                except AuthRefused:
                    raise
                except TemporaryFailure as error:
                    failure = error
        raise failure

    async def _hops(self, destination: Destination) -> list[NextHop]:
        if destination.kind is DestinationKind.MX:
            return await next_hops(destination.host, self.lookup, own_name=self.hostname)
        return [NextHop(destination.host)]

    async def _addresses(self, destination: Destination, hop: NextHop) -> list[str]:
        if destination.endpoint is not None:
            return [destination.endpoint.path or destination.endpoint.host]
        try:
            return await addresses_of(hop.name, self.lookup)
        except PermanentFailure:
            if destination.kind is DestinationKind.MX:
                raise
            return [
                hop.name
            ]  # a smarthost may be known to /etc/hosts alone; and its absence is no reason to bounce mail

    async def _open(
        self, destination: Destination, hop: NextHop, address: str, watch: Callable[[Connection], None]
    ) -> Connection:
        target = self._target(destination, hop, address)
        try:
            return await open_session(target, self.timeouts, self.contexts, clock=self.clock, watch=watch)
        except TlsFailed:
            if target.security.tls is not TlsMode.OPPORTUNISTIC:
                raise
        # RFC 7435 §3: opportunistic means that TLS which does not work must not keep mail from being delivered.
        in_clear = dataclasses.replace(target, security=Security(TlsMode.NONE))
        return await open_session(in_clear, self.timeouts, self.contexts, clock=self.clock, watch=watch)

    def _target(self, destination: Destination, hop: NextHop, address: str) -> Target:
        endpoint, route = destination.endpoint, destination.route
        credentials = None
        if route is not None and route.username is not None:
            password = route.password.reveal() if route.password is not None else ""
            credentials = Credentials(route.username, password, route.mechanisms)
        return Target(
            name=address if hop.name.startswith("[") else hop.name,
            address=address,
            port=None if endpoint is not None and endpoint.path is not None else destination.port,
            hello=self.hostname,
            security=destination.security,
            credentials=credentials,
            lmtp=destination.kind is DestinationKind.LMTP,
        )
