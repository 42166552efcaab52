"""The lines of keys, in every shape TOML allows."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sekisho.config.locate import locate

TEXT = '''# a comment with [brackets] and "quotes
top = 1
"quoted key" = 2
a.b.'c d' = 3

[table]
text = """
inner = "not a key"
[not.a.table]
ends with quotes"""""
literal = \'\'\'
x = 1
\'\'\'
array = [
  "one", # ] comment
  [ "two",
    "three" ],
  { k = "v", n = { m = 1 } },
]
after = 2020-01-01T00:00:00Z

[[list]]
x = 1
[list.inner]
y = 2
[[list]]
x = 3
[[list.deep]]
z = 4
[[list.deep]]
z = 5
[ spaced . "out" ]
v = "\\"]"
w = 1
'''


def test_each_key_has_its_line() -> None:
    tomllib.loads(TEXT)
    lines = locate(TEXT)
    expected = {
        ("top",): 2,
        ("quoted key",): 3,
        ("a", "b", "c d"): 4,
        ("table",): 6,
        ("table", "text"): 7,
        ("table", "literal"): 11,
        ("table", "array"): 14,
        ("table", "array", 0): 15,
        ("table", "array", 1): 16,
        ("table", "array", 1, 1): 17,
        ("table", "array", 2, "k"): 18,
        ("table", "array", 2, "n", "m"): 18,
        ("table", "after"): 20,
        ("list", 0): 22,
        ("list", 0, "x"): 23,
        ("list", 0, "inner", "y"): 25,
        ("list", 1): 26,
        ("list", 1, "x"): 27,
        ("list", 1, "deep", 0, "z"): 29,
        ("list", 1, "deep", 1, "z"): 31,
        ("spaced", "out", "v"): 33,
        ("spaced", "out", "w"): 34,
    }
    assert {place: lines.get(place) for place in expected} == expected
    assert ("table", "inner") not in lines


def test_crlf_files_count_the_same() -> None:
    assert locate(TEXT.replace("\n", "\r\n")) == locate(TEXT)


def places(value: Any, above: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {above} if above else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found.union(*(places(inner, (*above, key)) for key, inner in items))


def render(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{render(key)} = {render(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(render(inner) for inner in value) + "]"
    escaped = "".join(f"\\u{ord(c):04X}" if ord(c) < 32 or c in '"\\\x7f' else c for c in value)
    return f'"{escaped}"'


values = st.recursive(
    st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.\"'# \\=[", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(document=st.dictionaries(st.text("xyz", min_size=1), values, max_size=4))
def test_everything_that_tomllib_reads_is_found(document: dict[str, Any]) -> None:
    text = "".join(f"{key} = {render(value)}\n" for key, value in document.items())
    assert tomllib.loads(text) == document
    assert set(locate(text)) == places(document)
