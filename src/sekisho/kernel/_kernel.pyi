from collections.abc import Callable

def split_header(
    octets: bytes, max_fields: int, /
) -> tuple[list[tuple[str, bytes]], list[str], list[int], int] | None: ...
def render_event(start: str, fields: dict[str, object], end: str, longest: int, /) -> bytes | None: ...

class Pump:
    def __init__(
        self,
        classes: tuple[type, ...],
        states: tuple[object, ...],
        sevenbit: object,
        too_much: object,
        bye: object,
        max_fruitless: int,
        /,
    ) -> None: ...
    def run(self, core: object, octets: bytes, decide: Callable[..., object], /) -> object: ...
    def take(self, core: object, /) -> bytes: ...
    def feed(self, reader: object, octets: bytes, /) -> tuple[bytes, int]: ...
