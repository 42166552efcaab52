"""Mailbox addresses as SMTP writes them: read once at the edge, carried as values from there on.

Called by the command readers, the header readers and everything that stores an address. Never asks DNS and never
decides whether a mailbox exists.

RFC 5321 §4.1.2 (grammar), §4.1.3 (address literals), §4.5.3.1 (lengths); RFC 6531 §3.3 (UTF-8); RFC 5890 (A-labels).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_ADDRESS_OCTETS = 254  # RFC 5321 §4.5.3.1.3: a path has 256 octets with its angle brackets
MAX_DOMAIN_OCTETS = 253  # RFC 5321 §4.5.3.1.2 allows 255 on the wire, which is 253 in text

ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # "_" is no host name, but mail domains with it exist

# RFC 5321 §4.1.2 wants atoms between single dots. Japanese mobile carriers gave out addresses with dots in a row and
# before the "@", so dots stand anywhere.
_DOTTED_ATOMS = re.compile(rf"[{ATEXT}.]+", re.ASCII)
_DOMAIN = re.compile(rf"{LABEL}(?:\.{LABEL})*+", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"')
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = re.compile(rf"([{ATEXT}.]++)@({LABEL}(?:\.{LABEL})*+)", re.ASCII)


class AddressError(ValueError):
    """The text is no mailbox. `problem` says why, in words for the person who typed it."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox. Two spellings of the same one (quoted or not, domain in capitals) are equal.

    Fields:
        local_part: as spelled, without quotes; its case is kept, since only the final host may interpret it.
        domain: lower-case; U-labels stay U-labels. A literal keeps its brackets: ``[192.0.2.1]``,
            ``[IPv6:2001:db8::1]``.
            Empty for the bare ``postmaster`` alone (RFC 5321 §4.5.1).
    """

    local_part: str
    domain: str

    def __str__(self) -> str:
        local_part = _spell(self.local_part)
        return f"{local_part}@{self.domain}" if self.domain else local_part

    @property
    def key(self) -> str:
        """The text by which mailboxes are compared: local-part without case, domain in A-labels."""
        return f"{self.local_part.casefold()}@{to_a_labels(self.domain)}"

    @property
    def is_ascii(self) -> bool:
        """Whether the mailbox can be named without SMTPUTF8. Only the local-part has no ASCII form."""
        return self.local_part.isascii() and self.domain.isascii()

    @classmethod
    def parse(cls, text: str, *, utf8: bool = False) -> Mailbox:
        """Read ``local-part@domain``, without angle brackets, route or display name.

        Args:
            utf8: accept characters outside ASCII (RFC 6531 §3.3).

        Raises:
            AddressError: with words for the person.
        """
        plain = _PLAIN.fullmatch(text)
        if plain is not None and len(text) <= MAX_ADDRESS_OCTETS:
            local_part, domain = plain.groups()
            if len(domain) <= MAX_DOMAIN_OCTETS:
                return cls(local_part, domain.lower())
        return _parse_uncommon(text, utf8)


@lru_cache(maxsize=1024)
def _spell(local_part: str) -> str:
    """Return *local_part* with the quotes that it needs."""
    if _DOTTED_ATOMS.fullmatch(local_part) is not None or _is_utf8_dotted_atoms(local_part):
        return local_part
    escaped = local_part.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def is_domain(text: str) -> bool:
    """Whether *text* is an ASCII domain name. A single label counts; a trailing dot does not."""
    return len(text) <= MAX_DOMAIN_OCTETS and _DOMAIN.fullmatch(text) is not None


def to_a_labels(domain: str) -> str:
    """Return *domain* with each U-label as its A-label (RFC 5890 §2.3.2.1); text that has none comes back as it is."""
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


def _parse_uncommon(text: str, utf8: bool) -> Mailbox:
    if not text.isascii():
        if not utf8:
            raise AddressError("the address has characters outside ASCII")
        _refuse_unprintable(text)
    if len(text.encode(errors="replace")) > MAX_ADDRESS_OCTETS:
        raise AddressError(f"the address is longer than {MAX_ADDRESS_OCTETS} octets")
    if text.lower() == "postmaster":  # RFC 5321 §4.5.1
        return Mailbox("postmaster", "")
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        if quoted is None or text[quoted.end() : quoted.end() + 1] != "@":
            raise AddressError("the quoted part before the @ does not end")
        return Mailbox(_unquote(quoted[1]), _read_domain(text[quoted.end() + 1 :]))
    local_part, at, domain = text.partition("@")
    if not at:
        raise AddressError("the address has no @ and no domain")
    if not local_part:
        raise AddressError("nothing stands before the @")
    if _DOTTED_ATOMS.fullmatch(local_part) is None and not _is_utf8_dotted_atoms(local_part):
        raise AddressError("the part before the @ has a character that needs quotes")
    return Mailbox(local_part, _read_domain(domain))


def _unquote(quoted: str) -> str:
    if any(ord(character) < 32 or character == "\x7f" for character in quoted):
        raise AddressError("the quoted part before the @ has a control character")
    return _ESCAPED.sub(r"\1", quoted)


def _refuse_unprintable(text: str) -> None:
    for character in text:
        # U+FFFD stands for octets that were no UTF-8; the Z categories break lines or look like nothing.
        if not character.isascii() and (character == "\ufffd" or unicodedata.category(character)[0] in "CZ"):
            raise AddressError("the address has a character that cannot be part of one")


def _is_utf8_dotted_atoms(text: str) -> bool:
    """RFC 6531 §3.3: atext grows by every character outside ASCII."""
    return not text.isascii() and re.fullmatch(rf"(?:[{ATEXT}.]|[^\x00-\x7f])+", text) is not None


def _read_domain(text: str) -> str:
    if not text:
        raise AddressError("nothing stands after the @")
    if text.startswith("["):
        return _read_literal(text)
    if text.isascii():
        if not is_domain(text):
            raise AddressError("the part after the @ is no domain name")
        return text.lower()
    try:
        # Through the A-label form and back: one spelling of each name, and nothing that no host could carry.
        a_labels = text.encode("idna")
        u_labels = a_labels.decode("idna")
    except UnicodeError as error:
        raise AddressError("the part after the @ is no international domain name") from error
    if not is_domain(a_labels.decode("ascii")):
        raise AddressError("the part after the @ is no international domain name")
    return u_labels.lower()


def _read_literal(text: str) -> str:
    inside = text[1:-1]
    try:
        if text.endswith("]") and text[1:6].upper() == "IPV6:" and "%" not in inside:
            return f"[IPv6:{IPv6Address(inside[5:])}]"
        if text.endswith("]"):
            return f"[{IPv4Address(inside)}]"
    except AddressValueError:
        pass
    raise AddressError("the part in brackets after the @ is no IP address")
