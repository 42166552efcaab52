"""The portal: the web pages of the service, in a process of its own beside the mail processes.

Nothing of it is loaded before `run` is called in that process: neither the supervisor nor a mail process may carry the
web server's libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sekisho.supervise.channel import Channel, Configuration
    from sekisho.supervise.parent import Seat

__all__ = ["run"]


def run(seat: Seat, configuration: Configuration, channel: Channel, secret: bytes) -> int:
    """Be the portal until the supervisor says otherwise. Returns the exit status of the process.

    Args:
        secret: what forms are signed with; the supervisor makes it once, so that a form outlives this process.
    """
    from sekisho.supervise.channel import Failed

    try:
        from .process import live
    except ImportError as error:
        channel.send(Failed(f"its libraries cannot be loaded ({error}); see `sekisho check`"))
        return 1
    return live(seat, configuration, channel, secret)
