"""XML, written and read: elements as text, and a reader that hostile documents do not get far with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from .errors import RequestRefused

__all__ = ["DECLARATION", "Element", "element", "read"]

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
MAX_OCTETS = 16 * 1024  # a request of Outlook has some 400
MAX_DEPTH = 16
MAX_ELEMENTS = 100

_ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2


def element(name: str, *content: str, attributes: dict[str, str] | None = None, text: str | None = None) -> str:
    """Return one element as lines, its children indented; or on one line with its text.

    Text stands alone between its tags: Android's parser takes a host name with a space beside it for a wrong one.
    """
    opening = name + "".join(f" {key}={quoteattr(_legal(value))}" for key, value in (attributes or {}).items())
    if text is not None:
        return f"<{opening}>{escape(_legal(text))}</{name}>\n"
    inner = "".join(f"  {line}\n" for child in content for line in child.splitlines())
    return f"<{opening}>\n{inner}</{name}>\n"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)


@dataclass(slots=True)
class Element:
    """One element that was read: its name as ``namespace local-name``, its text without that of its children."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, *names: str) -> Element | None:
        """Return the first descendant on the path of local *names*, whatever their namespaces."""
        found: Element | None = self
        for name in names:
            found = next((child for child in found.children if child.local_name == name), None) if found else None
        return found

    @property
    def local_name(self) -> str:
        """The name without namespace."""
        return self.name.rpartition(" ")[2]

    @property
    def namespace(self) -> str:
        """The namespace, empty without one."""
        return self.name.rpartition(" ")[0]


def read(octets: bytes) -> Element:
    """Return the root of a small document in UTF-8.

    A document type is refused before anything in it is looked at, so there is no entity that could be expanded or
    fetched; size, depth and number of elements are bounded.

    Raises:
        RequestRefused
    """
    if len(octets) > MAX_OCTETS:
        raise RequestRefused(f"the request is longer than {MAX_OCTETS} octets")
    reader = _Reader()
    parser = expat.ParserCreate("UTF-8", " ")  # whatever encoding it declares
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    parser.ExternalEntityRefHandler = _refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(octets, True)
    except expat.ExpatError as error:
        raise RequestRefused(f"the request is not well-formed XML: {error}") from error
    if reader.root is None:
        raise RequestRefused("the request is empty")
    return reader.root


def _refuse_doctype(*_: object) -> NoReturn:
    raise RequestRefused("the request has a document type, which no client sends")


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise RequestRefused("the request has more elements than any client sends")
        new = Element(name)
        if self._open:
            self._open[-1].children.append(new)
        else:
            self.root = new
        self._open.append(new)

    def end(self, _: str) -> None:
        self._open.pop()

    def text(self, text: str) -> None:
        self._open[-1].text += text
