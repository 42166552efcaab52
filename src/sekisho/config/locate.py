"""Where in a TOML text each key stands: tomllib reads values but forgets their lines.

`locate` runs after tomllib has accepted the text, so it may rely on the grammar (TOML 1.0) and only follow it.
"""

from __future__ import annotations

import bisect
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Keys from the root; a number is the place in an array, counted from 0."""


def locate(text: str) -> Mapping[Path, int]:
    """Return the 1-based line of every table, key and array element of *text*, a valid TOML document."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.breaks = [index for index, char in enumerate(self.text) if char == "\n"]
        self.lines: dict[Path, int] = {}
        self.lengths: dict[Path, int] = {}  # arrays of tables, and how many tables each has so far

    def document(self) -> None:
        table: Path = ()
        while self._skip_blank():
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _line(self) -> int:
        return bisect.bisect_left(self.breaks, self.at) + 1

    def _note(self, path: Path, line: int) -> None:
        for depth in range(1, len(path) + 1):
            self.lines.setdefault(path[:depth], line)

    def _skip_blank(self) -> bool:
        """Move past white space, line ends and comments; False at the end of the text."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char in " \t\n":
                self.at += 1
            else:
                return True
        return False

    def _skip_space(self) -> None:
        while self.text[self.at] in " \t":
            self.at += 1

    def _header(self) -> Path:
        line = self._line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        path = self._resolve(self._keys(), is_array)
        self.at += 2 if is_array else 1
        self._note(path, line)
        return path

    def _resolve(self, keys: list[str], is_array: bool) -> Path:
        """Turn a header's keys into a path: a name that is an array of tables means its last table."""
        path: Path = ()
        for depth, key in enumerate(keys, 1):
            path = (*path, key)
            if is_array and depth == len(keys):
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
        return path

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip_space()
            start = self.at
            if self.text[self.at] in "\"'":
                self._string()
                keys.append(str(tomllib.loads(f"key = {self.text[start : self.at]}")["key"]))
            else:
                while self.text[self.at].isalnum() or self.text[self.at] in "_-":
                    self.at += 1
                keys.append(self.text[start : self.at])
            self._skip_space()
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._keys())
        self.at += 1  # the equals sign
        self._skip_space()
        self._note(path, line)
        self._value(path)

    def _value(self, path: Path) -> None:
        char = self.text[self.at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self._skip_blank() and self.text[self.at] != "]":
            self._note((*path, index), self._line())
            self._value((*path, index))
            index += 1
            self._skip_blank()
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self._skip_blank() and self.text[self.at] != "}":
            self._pair(path)
            self._skip_blank()
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def _string(self) -> None:
        quote = self.text[self.at]
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(mark)
        while not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(mark)
        if len(mark) == 3:  # up to two quotes may stand before the closing three
            while self.text.startswith(quote, self.at):
                self.at += 1
