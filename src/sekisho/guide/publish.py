"""Writing a rendered site into a directory, file by file, so that a reader never meets a half-written page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sekisho.store import write_atomically

from .errors import GuideError

__all__ = ["Published", "publish"]

LIST = ".sekisho-guide"


@dataclass(frozen=True, slots=True)
class Published:
    """What was done: files written because they are new or differ, and files removed that the guide no longer has."""

    written: tuple[str, ...]
    removed: tuple[str, ...]


def publish(site: Mapping[str, str], directory: Path) -> Published:
    """Bring *directory* to what *site* has. Files that an earlier guide wrote there and this one lacks are removed.

    Raises:
        GuideError: the directory holds something else; nothing was touched.
    """
    listing = directory / LIST
    before = listing.read_text("utf-8").splitlines() if listing.exists() else []
    if not before and directory.exists() and any(directory.iterdir()):
        raise GuideError([f"{directory}: holds something that is not a guide; give a directory of its own"])
    directory.mkdir(parents=True, exist_ok=True)
    # the list comes first and names old and new, so that a build cut short is tidied up by the next one
    write_atomically(listing, "\n".join(sorted({*before, *site})).encode() + b"\n", mode=0o644)
    written = []
    for name, text in sorted(site.items()):
        path = directory / name
        octets = text.encode()
        if path.exists() and path.read_bytes() == octets:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, octets, mode=0o644)
        written.append(name)
    removed = [name for name in before if name not in site and _is_below(directory, name)]
    for name in removed:
        (directory / name).unlink(missing_ok=True)
    write_atomically(listing, "\n".join(sorted(site)).encode() + b"\n", mode=0o644)
    return Published(tuple(written), tuple(removed))


def _is_below(directory: Path, name: str) -> bool:
    """Tell whether a name of the list stays inside: whoever can write the list must gain nothing by it."""
    return (directory / name).resolve().is_relative_to(directory.resolve())
