"""The settings card of an account, filled in from the configuration that the service runs on."""

from __future__ import annotations

from sekisho import text

from .sections import PORTS, Settings, listeners


def settings_card(
    settings: Settings,
    login: str,
    *,
    host: str | None = None,
    password: str | None = None,
    language: str | None = None,
) -> str:
    """Return what to type into a mail client.

    Args:
        host: name to connect to, when it is not the service's own.
        password: shown only when given, as for a demonstration.
        language: the account's; the service's without.
    """
    ports = {
        kind: listener.addresses[0].port if listener.addresses else PORTS[kind]
        for kind, listener in listeners(settings).items()
    }
    return text.settings_card(
        language or settings.language,
        host=host or settings.hostname,
        submissions=ports.get("submissions"),
        submission=ports.get("submission"),
        login=login,
        password=password,
    )
