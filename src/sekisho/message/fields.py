"""Header fields as octets, and the mailboxes in them, without an email library on the way of every message.

The session splits the header of submitted content here to ask who it is from; `fixup` and `trace` build on it.
Robust against what it reads: no recursion, no pattern that can be made to backtrack, bounds on everything.

RFC 5322 §2.2 (fields), §3.4 and §4.4 (addresses, with their obsolete forms); RFC 6532 (UTF-8); RFC 6854 (groups in
From).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache

from sekisho.kernel import compiled
from sekisho.smtp import AddressError, Mailbox

MAX_HEADER_OCTETS = 65536
MAX_FIELDS = 1000
MAX_REMEMBERED = 200  # octets of an address field that is read once for all messages that have it

# One field, unfolded or folded. [^\r] takes whole lines; content with a CR that ends no line never gets this far.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\r]*+(?:\r\n[ \t][^\r]*+)*+)(?:\r\n|\Z)")

_ATOM = r'[^\x00-\x20()<>@,:;\\"\[\]\x7f]'
_PLAIN = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++@[A-Za-z0-9._-]++"
_BARE = re.compile(rf"\s*({_PLAIN})\s*")
_NAMED = re.compile(rf'\s*(?:"[^"\\\x00-\x1f\x7f]*+"|(?:{_ATOM}|[ \t])*+)\s*<({_PLAIN})>\s*')
_TOKEN = re.compile(
    rf'(?P<space>[ \t\r\n]++)|(?P<word>{_ATOM}++|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x1f\x7f])*+"'
    r"|\[[^\[\]\\\x00-\x20\x7f]*+\])|(?P<special>[(<>@,:;])"
)
_ROUTE = re.compile(r"@[^@,]++(?:,@[^@,]++)*+")
_COMMENT_PART = re.compile(r"[^()\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f]++|\\[^\x00-\x1f\x7f]|[()]")


class FieldError(ValueError):
    """A header, or one field of it, cannot be read. `problem` says why, in words for the person who sent it."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Header:
    """The header of one message, in order.

    Fields:
        fields: pairs of lower-case name and value; the value is what stood behind the colon, folds and all.
        names: the names alone.
        end: octets of the header in the content, the blank line included where there is one.
    """

    __slots__ = ("_block", "_ends", "end", "fields", "names")

    def __init__(self, block: bytes, fields: list[tuple[str, bytes]], names: list[str], ends: list[int]) -> None:
        self.fields = fields
        self.names = names
        self.end = len(block)
        self._block = block
        self._ends = ends

    @classmethod
    def parse(cls, octets: bytes) -> Header:
        """Split the header off the front of *octets*.

        Args:
            octets: the content, or its first `MAX_HEADER_OCTETS` or more. A header that does not end there is
                refused: fields behind the cut would go unseen.

        Raises:
            FieldError: a line is no field, or the header is beyond `MAX_HEADER_OCTETS` or `MAX_FIELDS`. A line that
                one reader skips and another takes for the end of the header would let two see different authors.
        """
        split = _split_compiled(octets, MAX_FIELDS) if _split_compiled is not None else None
        fields, names, ends, at = split or split_fields(octets)
        if at > MAX_HEADER_OCTETS or (at == len(octets) and at >= MAX_HEADER_OCTETS):
            raise FieldError(f"the header is bigger than {MAX_HEADER_OCTETS} octets")
        return cls(octets[: at + 2], fields, names, ends)

    def without(self, names: Container[str]) -> bytes:
        """Return the header's octets, the blank line included, without the fields called any of *names*."""
        starts = [0, *self._ends]
        kept = [
            self._block[start:end]
            for (name, _), start, end in zip(self.fields, starts, self._ends, strict=False)
            if name not in names
        ]
        return b"".join([*kept, self._block[starts[-1] :]])


_split_compiled = compiled.split_header if compiled is not None else None


def split_fields(octets: bytes) -> tuple[list[tuple[str, bytes]], list[str], list[int], int]:
    """Return the fields at the front of *octets*, their names, where each ends, and where all end.

    Raises:
        FieldError: a line is no field, or there are too many.
    """
    fields: list[tuple[str, bytes]] = []
    ends: list[int] = []
    at, size = 0, len(octets)
    match_field = _FIELD.match
    while at < size and not octets.startswith(b"\r\n", at):
        field = match_field(octets, at)
        if field is None:
            line = octets.count(b"\r\n", 0, at) + 1
            raise FieldError(f"line {line} of the message is no header field")
        name, value = field.groups()
        fields.append((name.decode("ascii").lower(), value))
        at = field.end()
        ends.append(at)
        if len(ends) > MAX_FIELDS:
            raise FieldError(f"the header has more than {MAX_FIELDS} fields")
    return fields, [name for name, _ in fields], ends, at


def parse_mailboxes(raw: bytes) -> list[Mailbox]:
    """Return the mailboxes of an address-list field such as From, in order; groups are opened (RFC 6854).

    Display names and comments are skipped, encoded words in them too: nothing they say is an address. But an address
    that stands where a name belongs, without quotes, is returned like the others: it is what some readers show as the
    author (RFC 5322 §3.2.5 keeps ``@`` out of a name).

    Args:
        raw: the value of the field as it stood, folds and all.

    Raises:
        FieldError: the value is no address list, or an address in it is none.
    """
    if len(raw) > MAX_HEADER_OCTETS:
        raise FieldError("the field is too long")
    return list(_remembered_mailboxes(raw)) if len(raw) <= MAX_REMEMBERED else _mailboxes(raw)


@lru_cache(maxsize=1024)
def _remembered_mailboxes(raw: bytes) -> tuple[Mailbox, ...]:
    """An author writes many messages, and From looks the same in all of them."""
    return tuple(_mailboxes(raw))


def _mailboxes(raw: bytes) -> list[Mailbox]:
    text = raw.decode(errors="replace")
    plain = _NAMED.fullmatch(text) or _BARE.fullmatch(text)
    if plain is not None:
        return [_read_mailbox(plain[1])]
    return _AddressList(text).mailboxes


def _read_mailbox(text: str) -> Mailbox:
    try:
        mailbox = Mailbox.parse(text, utf8=True)
    except AddressError as error:
        raise FieldError(error.problem) from error
    if not mailbox.domain:
        raise FieldError("the address has no @ and no domain")
    return mailbox


@dataclass(frozen=True, slots=True)
class _Token:
    """A word or one special character.

    Fields:
        apart: white space or a comment stands before it.
    """

    text: str
    apart: bool


class _AddressList:
    """One pass over the tokens of an address list. `mailboxes` is the result."""

    def __init__(self, text: str) -> None:
        self.mailboxes: list[Mailbox] = []
        self._before: list[_Token] = []  # since the last comma: a display name, or an address without brackets
        self._complete = False  # an address in brackets was read; only a separator may follow
        self._in_group = False
        tokens = _tokens(text)
        for token in tokens:
            self._take(token, tokens)
        self._separate()
        if self._in_group:
            raise FieldError("a group of addresses does not end with a semicolon")

    def _take(self, token: _Token, following: Iterator[_Token]) -> None:
        text = token.text
        if text == ",":
            self._separate()
        elif text == ";" and self._in_group:
            self._separate()
            self._in_group = False
            self._complete = True
        elif self._complete:
            raise FieldError("something stands between an address and the next comma")
        elif text == ":" and self._before and not self._in_group:
            self._leave_name()
            self._in_group = True
        elif text == "<":
            self._leave_name()
            self.mailboxes.append(_read_mailbox(_join(_without_route(_take_brackets(following)))))
            self._complete = True
        elif text in (":", ";", ">"):
            raise FieldError(f"a {text!r} stands where none belongs")
        else:
            self._before.append(token)

    def _leave_name(self) -> None:
        """What was read so far is the name of the address or group that follows; an address in its place counts too."""
        if any(token.text == "@" for token in self._before):
            self.mailboxes.append(_read_mailbox(_join(self._before)))
        self._before.clear()

    def _separate(self) -> None:
        """End one list element; an empty one is allowed (RFC 5322 §4.4)."""
        if self._before:
            self.mailboxes.append(_read_mailbox(_join(self._before)))
        self._before.clear()
        self._complete = False


def _take_brackets(following: Iterator[_Token]) -> list[_Token]:
    inside: list[_Token] = []
    for token in following:
        if token.text == ">":
            return inside
        if token.text in ("<", ";"):
            break
        inside.append(token)
    raise FieldError("an angle bracket is not closed")


def _without_route(inside: list[_Token]) -> list[_Token]:
    """Drop ``@a,@b:`` before the address (RFC 5322 §4.4, obs-route)."""
    texts = [token.text for token in inside]
    if texts[:1] != ["@"] or ":" not in texts:
        return inside
    end = texts.index(":")
    # Hosts alone: what another reader could take for the address is no route.
    if _ROUTE.fullmatch("".join(texts[:end])) is None:
        raise FieldError("what stands before the colon in angle brackets is no route")
    return inside[end + 1 :]


def _join(tokens: list[_Token]) -> str:
    """Put an address together. Space is allowed around dots and the @ only (RFC 5322 §4.4)."""
    last = ""
    for token in tokens:
        if token.apart and last and last[-1] not in ".@" and token.text[0] not in ".@":
            raise FieldError("an address has a space in it, or a comma is missing between two")
        last = token.text
    return "".join(token.text for token in tokens)


def _tokens(text: str) -> Iterator[_Token]:
    at, size = 0, len(text)
    apart = False
    while at < size:
        match = _TOKEN.match(text, at)
        if match is None:
            raise FieldError("an address field has a character that needs quotes, or a quote that does not end")
        at = match.end()
        if match.lastgroup == "space":
            apart = True
        elif match[0] == "(":
            at = _skip_comment(text, at)
            apart = True
        else:
            yield _Token(match[0], apart)
            apart = False


def _skip_comment(text: str, at: int) -> int:
    """Return the place behind the comment whose opening parenthesis ends at *at*. Comments nest; we only count."""
    depth = 1
    while depth:
        match = _COMMENT_PART.match(text, at)
        if match is None:
            raise FieldError("a comment in parentheses does not end")
        at = match.end()
        depth += {"(": 1, ")": -1}.get(match[0], 0)
    return at
