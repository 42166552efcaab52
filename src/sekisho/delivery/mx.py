"""Which hosts take mail for a domain, in which order (RFC 5321 §5, RFC 7505 null MX)."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sekisho.net.resolver import Addresses, MailExchangers, NoSuchDomain, ResolverTemporary
from sekisho.smtp import PermanentFailure, Reply, TemporaryFailure

__all__ = ["Lookup", "NextHop", "addresses_of", "next_hops", "order"]

MAX_HOSTS = 10  # tried in one attempt
MAX_ADDRESSES = 6  # of one host

NULL_MX = Reply(556, "5.1.10", ("This domain does not accept mail (null MX)",))  # RFC 7505 §3, RFC 7504
NO_DOMAIN = Reply(550, "5.1.2", ("The domain of this address does not exist",))
NO_HOST = Reply(550, "5.4.4", ("The domain of this address has no mail server",))  # RFC 3463 §3.5
BAD_LITERAL = Reply(550, "5.1.3", ("The address literal is not an IP address",))
LOOPS_BACK = Reply(554, "5.4.6", ("Mail for this domain loops back to this server",))  # RFC 5321 §5.1
DNS_TROUBLE = Reply(451, "4.4.3", ("The name servers gave no answer",))


class Lookup(Protocol):
    """The questions asked of a resolver (`sekisho.net.resolver.Resolver`)."""

    async def mail_exchangers(self, domain: str) -> MailExchangers: ...

    async def addresses(self, host: str) -> Addresses: ...


@dataclass(frozen=True, slots=True)
class NextHop:
    """A host to try.

    Fields:
        name: as found in DNS, or an address literal with its brackets.
        secure: the records that led here were validated by the resolver (DANE needs that).
    """

    name: str
    secure: bool = False


async def next_hops(
    domain: str, lookup: Lookup, *, own_name: str, shuffle: Callable[[list[str]], None] = random.shuffle
) -> list[NextHop]:
    """Return the hosts to try for *domain*, best first.

    Raises:
        PermanentFailure: no such domain, null MX, bad literal, or we are its best server ourselves.
        TemporaryFailure: DNS gave no answer.
    """
    if domain.startswith("["):
        literal_address(domain)
        return [NextHop(domain)]
    try:
        found = await lookup.mail_exchangers(domain)
    except NoSuchDomain as error:
        raise PermanentFailure(NO_DOMAIN, str(error)) from error
    except ResolverTemporary as error:
        raise TemporaryFailure(DNS_TROUBLE, str(error)) from error
    if not found.hosts:
        return [NextHop(domain, found.secure)]  # RFC 5321 §5.1: the implicit MX, its own A or AAAA
    usable = [(preference, name) for preference, name in found.hosts if name]
    if not usable:
        raise PermanentFailure(NULL_MX, f"{domain}: null MX")
    names = order(usable, own_name=own_name, shuffle=shuffle)
    if not names:
        raise PermanentFailure(LOOPS_BACK, f"{domain}: we are its best MX, and it is not one of our domains")
    return [NextHop(name, found.secure) for name in names[:MAX_HOSTS]]


def order(records: Sequence[tuple[int, str]], *, own_name: str, shuffle: Callable[[list[str]], None]) -> list[str]:
    """Sort MX hosts by preference, equal ones in random order, and drop ourselves with all that is not better than us.

    RFC 5321 §5.1: "all of the hosts with preference equal to or greater than" ours are removed, so mail moves only
    towards its end.
    """
    own = own_name.lower().rstrip(".")
    ours = min((preference for preference, name in records if name == own), default=None)
    by_preference: dict[int, list[str]] = {}
    for preference, name in records:
        if ours is None or preference < ours:
            by_preference.setdefault(preference, []).append(name)
    ordered: list[str] = []
    for preference in sorted(by_preference):
        equals = sorted(set(by_preference[preference]))
        shuffle(equals)
        ordered += equals
    return list(dict.fromkeys(ordered))


async def addresses_of(name: str, lookup: Lookup) -> list[str]:
    """Return the addresses of a host to try, IPv6 and IPv4 by turns.

    Raises:
        PermanentFailure: the name has no address; another host may have.
        TemporaryFailure: DNS gave no answer.
    """
    if name.startswith("["):
        return [literal_address(name)]
    try:
        return [str(ipaddress.ip_address(name))]  # a smarthost written as an address
    except ValueError:
        pass
    try:
        found = await lookup.addresses(name)
    except NoSuchDomain as error:
        raise PermanentFailure(NO_HOST, str(error)) from error
    except ResolverTemporary as error:
        raise TemporaryFailure(DNS_TROUBLE, str(error)) from error
    if not found.texts:
        raise PermanentFailure(NO_HOST, f"{name}: neither A nor AAAA")
    six = [text for text in found.texts if ":" in text]
    four = [text for text in found.texts if ":" not in text]
    turns = [text for pair in zip(six, four, strict=False) for text in pair]
    rest = six[len(four) :] or four[len(six) :]
    return (turns + rest)[:MAX_ADDRESSES]


def literal_address(literal: str) -> str:
    """Return the address in "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3).

    Raises:
        PermanentFailure: it is none.
    """
    text = literal.strip("[]")
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise PermanentFailure(BAD_LITERAL, f"{literal}: not an address") from error
