"""Words to systemd about the state of the service (sd_notify(3)): one datagram each, none when nobody asked."""

from __future__ import annotations

import os
import socket
import time


def notify(*assignments: str) -> None:
    """Send ``KEY=value`` *assignments* to systemd's notification socket, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket is written with @ in the environment
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(assignments).encode(), address)
    except OSError:
        pass  # nobody listens: the service runs the same


def ready(status: str) -> None:
    """The service accepts connections (also the end of a reload)."""
    notify("READY=1", f"STATUS={status}")


def reloading() -> None:
    """A reload began; `ready` ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping(status: str) -> None:
    """The service drains."""
    notify("STOPPING=1", f"STATUS={status}")
