"""The way in: listeners and sessions that take mail and put it into the queue (RFC 5321, RFC 6409, RFC 8314)."""

from .service import Kind, MailServer, Services
from .settings import ListenerSettings, RelaySettings

__all__ = ["Kind", "ListenerSettings", "MailServer", "RelaySettings", "Services"]
