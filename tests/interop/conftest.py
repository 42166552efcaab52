"""Real clients and servers over loopback. Every process is started here and ended by its id."""

from tests.interop.fixtures import (
    authority,
    box,
    cram_submission,
    dns,
    dovecot,
    mx_port,
    new_place,
    next_hop,
    other,
    scratch,
    sekisho,
    smarthost_client,
    smarthost_submission,
    submission,
)

__all__ = [
    "authority",
    "box",
    "cram_submission",
    "dns",
    "dovecot",
    "mx_port",
    "new_place",
    "next_hop",
    "other",
    "scratch",
    "sekisho",
    "smarthost_client",
    "smarthost_submission",
    "submission",
]
