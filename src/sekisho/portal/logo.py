"""The operator's logo, as a picture that browsers only show."""

from __future__ import annotations

import logging
from pathlib import Path

from .compress import Fixed

__all__ = ["read_logo"]

MAX_OCTETS = 64 * 1024
HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"RIFF", "image/webp"),
    (b"<svg", "image/svg+xml"),
    (b"<?xml", "image/svg+xml"),
)

log = logging.getLogger(__name__)


def read_logo(path: Path | None) -> Fixed | None:
    """Return the picture; None, and a line in the log, when there is none that can be shown.

    What it is, its first octets say, not its name. The policy of the portal's pages goes with it, so that no script in
    an SVG runs, even when it is opened by itself.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except OSError as error:
        log.warning("the logo cannot be read: %s", error)
        return None
    kind = next((kind for head, kind in HEADS if octets.lstrip().startswith(head)), None)
    if kind is None or len(octets) > MAX_OCTETS:
        log.warning("the logo %s is no SVG, PNG or WebP of up to 64 KiB", path)
        return None
    return Fixed(octets, kind, "public, max-age=3600")
