"""From a TOML value to the type that a setting is annotated with. Mistakes are values, collected by the caller."""

from __future__ import annotations

import enum
import math
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from .values import Duration, Endpoint, Network, Secret, Size, parse_duration, parse_network, parse_size


class Unsuitable(Exception):
    """A value that its setting cannot take: what is wrong, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy


def convert(kind: Any, raw: object, base: Path) -> Any:
    """Return *raw* as *kind*; relative paths start at *base*. Raises `Unsuitable`."""
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, enum.StrEnum)):
        return _choice(kind, raw)
    if isinstance(kind, types.UnionType) and kind != Network:
        return _first_of(kind, raw, base)
    reader = _READERS.get(kind)
    if reader is None:
        raise TypeError(f"no way to read a setting of type {kind!r}")
    return reader(raw, base)


def choices_of(kind: Any) -> list[str]:
    """The words that a Literal or StrEnum setting may be."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [str(member.value) for member in kind]


def from_text(text: str) -> object:
    """Read what a ``SEKISHO_…`` variable holds: a TOML value where it is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def show(raw: object) -> str:
    """Name a value in a message: short, on one line."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, list):
        return "an array"
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, str):
        escaped = raw.encode("unicode_escape").decode().replace('"', '\\"') if not raw.isprintable() else raw
        return f'"{escaped[:60]}…"' if len(escaped) > 60 else f'"{escaped}"'
    return str(raw)


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that *word* most likely meant."""
    from difflib import get_close_matches  # only where a mistake is to be explained

    matches = get_close_matches(word.casefold(), known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _choice(kind: Any, raw: object) -> Any:
    words = choices_of(kind)
    if isinstance(raw, str) and raw in words:
        return raw if get_origin(kind) is Literal else kind(raw)
    listed = ", ".join(f'"{word}"' for word in words)
    meant = nearest(raw, words) if isinstance(raw, str) else None
    hint = f'Did you mean "{meant}"? ' if meant else ""
    raise Unsuitable(f"{show(raw)} is not one of {listed}", f"{hint}Choose one of them.")


def _first_of(kind: types.UnionType, raw: object, base: Path) -> Any:
    problems = []
    for member in get_args(kind):
        try:
            return convert(member, raw, base)
        except Unsuitable as error:
            problems.append(error)
    raise problems[0]


def _bool(raw: object, base: Path) -> bool:
    if isinstance(raw, bool):
        return raw
    raise Unsuitable(f"expected true or false, found {show(raw)}", "Write true or false, without quotes.")


def _int(raw: object, base: Path) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    raise Unsuitable(f"expected a whole number, found {show(raw)}", "Write a number without quotes, such as 10.")


def _float(raw: object, base: Path) -> float:
    if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        return float(raw)
    raise Unsuitable(f"expected a number, found {show(raw)}", "Write a number without quotes, such as 0.5.")


def _str(raw: object, base: Path) -> str:
    if isinstance(raw, str):
        return raw
    raise Unsuitable(f"expected text, found {show(raw)}", 'Write it in quotes, such as "text".')


def _path(raw: object, base: Path) -> Path:
    if isinstance(raw, str) and raw and "\0" not in raw:
        return base / Path(raw).expanduser()
    raise Unsuitable(f"expected a path, found {show(raw)}", 'Write it in quotes, such as "/var/lib/sekisho".')


def _secret(raw: object, base: Path) -> Secret:
    if isinstance(raw, str):
        return Secret(raw)
    raise Unsuitable("expected text", "Write the secret in quotes, or name a file that holds it.")  # never shown


def _duration(raw: object, base: Path) -> Duration:
    remedy = 'Write a number of seconds, or text such as "90s", "15m", "1h30m" or "5d".'
    if isinstance(raw, str):
        try:
            return parse_duration(raw)
        except ValueError:
            raise Unsuitable(f"expected a duration, found {show(raw)}", remedy) from None
    if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        if raw < 0:
            raise Unsuitable(f"a duration cannot be negative ({raw})", remedy)
        return Duration(float(raw))
    raise Unsuitable(f"expected a duration, found {show(raw)}", remedy)


def _size(raw: object, base: Path) -> Size:
    remedy = 'Write a number of octets, or text such as "256KiB" or "25MiB".'
    if isinstance(raw, str):
        try:
            return parse_size(raw)
        except ValueError:
            raise Unsuitable(f"expected a size, found {show(raw)}", remedy) from None
    if isinstance(raw, int) and not isinstance(raw, bool):
        if raw < 0:
            raise Unsuitable(f"a size cannot be negative ({raw})", remedy)
        return Size(raw)
    raise Unsuitable(f"expected a size, found {show(raw)}", remedy)


def _endpoint(raw: object, base: Path) -> Endpoint:
    if isinstance(raw, str):
        try:
            endpoint = Endpoint.parse(raw)
        except ValueError:
            pass
        else:
            return endpoint if endpoint.path is None else Endpoint("", 0, str(base / endpoint.path))
    raise Unsuitable(
        f"expected an address with a port, or a socket, found {show(raw)}",
        'Write "127.0.0.1:587", "[::1]:587", "mail.example.jp:587" or "unix:/run/name".',
    )


def _network(raw: object, base: Path) -> Network:
    remedy = 'Write "192.0.2.0/24", "2001:db8::/32", or one address.'
    if not isinstance(raw, str):
        raise Unsuitable(f"expected a network, found {show(raw)}", remedy)
    try:
        return parse_network(raw)
    except ValueError as error:
        host_bits = "host bits" in str(error)
        problem = f"{show(raw)} names a host inside a network" if host_bits else f"{show(raw)} is not a network"
        raise Unsuitable(problem, remedy) from None


_READERS: Final[dict[Any, Callable[[object, Path], Any]]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
    Secret: _secret,
    Duration: _duration,
    Size: _size,
    Endpoint: _endpoint,
    Network: _network,
}
