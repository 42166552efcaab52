"""The self-check's judgment: facts in, findings out. Reads no clock, no file and no socket.

What was seen of a line is sure only while nothing speaks against it: a success afterwards makes a failure a thing of
the past, and at an address that many people share nothing is more than likely.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from sekisho.edge.verdicts import VerdictKind

from .card import Card
from .choose import choose
from .findings import Certainty, Evidence, Finding, Kind, Link, Remedy, To, What, ranked
from .meaning import Rule, has_worked, rule_of
from .model import TLS_ORDER, Catalog
from .seen import NameForm, Seen, Step
from .situation import AccountFacts, EdgeFacts, LineFacts, Log, Mail, Place, Service, Ways

__all__ = ["Unknown", "diagnose", "unknown"]

MINUTE: Final = 60.0
DAY: Final = 86400.0
FRESH: Final = 15 * MINUTE  # at a shared address, what is older is hardly about this person
PAST: Final = 3 * DAY  # a failure before a success is told for this long
PASSWORD_MECHANISMS: Final = ("PLAIN", "LOGIN", "")
BLOCKLIST_MARKS: Final = (
    "blocklist", "block list", "blacklist", "blocked using", "dnsbl", "rbl", "spamhaus", "spamcop", "barracuda",
    "reputation",
)  # fmt: skip


def diagnose(line: LineFacts, account: AccountFacts | None, card: Card, catalog: Catalog) -> tuple[Finding, ...]:
    """Return why sending fails, the likeliest reason first; at least one finding.

    Args:
        account: of whoever asks, after login; None without.
    """
    found = [*_of_service(line), *_of_gate(line), *_of_seen(line.seen, line, card, shared=line.is_shared)]
    clients = line.clients
    if account is None:
        found = [_with_login(each) for each in found]
    else:
        found += _of_account(account, line, card)
        clients = tuple(dict.fromkeys((*account.clients, *clients)))
    found += _of_clients(clients, card, catalog)
    found += _of_silence(line, account, found)
    own = tuple(Link(To.GUIDE, name) for name in clients[:1])
    return ranked(_with_guide(each, own) for each in found)


# ------------------------------------------------------------------ what was seen of clients


def _of_seen(seen: Sequence[Seen], facts: LineFacts, card: Card, *, shared: bool) -> Iterator[Finding]:
    """Yield a finding for each kind of failure."""
    worked = max((each.at for each in seen if has_worked(each)), default=None)
    groups: dict[Rule, list[Seen]] = {}
    for each in seen:
        if (rule := rule_of(each)) is not None:
            groups.setdefault(rule, []).append(each)
    for rule, group in groups.items():
        certainty = _certainty(group[-1].at, worked, facts.now, shared=shared)
        if certainty is None:
            continue
        evidence = [_evidence(rule.what, group)]
        if worked is not None and worked > group[-1].at:
            evidence.append(Evidence(What.WORKED_SINCE, last=worked))
        finding = Finding(
            rule.kind,
            max(certainty, rule.most, key=list(Certainty).index),
            tuple(evidence),
            rule.remedies,
            (Link(To.PROBLEM, rule.problem),),
            group[-1].at,
        )
        yield finding
        if rule.kind is Kind.WRONG_PASSWORD:
            yield from _of_logins(group, finding, facts.ways, card)


def _certainty(last: float, worked: float | None, now: float, *, shared: bool) -> Certainty | None:
    """Return how sure a failure that was last seen then is the present trouble; None when it is none any more."""
    age = now - last
    if shared:
        return Certainty.LIKELY if age <= FRESH else Certainty.POSSIBLE if age <= DAY else None
    if worked is not None and worked > last:
        return Certainty.POSSIBLE if age <= PAST else None
    return Certainty.SURE if age <= DAY else Certainty.LIKELY


def _of_logins(group: Sequence[Seen], finding: Finding, ways: Ways, card: Card) -> Iterator[Finding]:
    """Yield what the form of the name and the mechanism of refused logins say, whoever was meant."""
    forms = [each.name for each in group]
    wants_address = all("@" in audience.user_name for audience in card.audiences)
    for form, what, remedy in (
        (NameForm.ODD, What.NAME_ODD, Remedy.RETYPE_PASSWORD),
        (NameForm.ELSEWHERE, What.NAME_ELSEWHERE, Remedy.ASK_OTHER_PROVIDER),
        (NameForm.BARE, What.NAME_WITHOUT_AT, Remedy.WHOLE_ADDRESS),
    ):
        if form not in forms or (form is NameForm.BARE and not wants_address):
            continue
        of_form = [each for each in group if each.name is form]
        links = (Link(To.PAGE, "provider"),) if form is NameForm.ELSEWHERE else finding.links
        is_last = group[-1].name is form
        certainty = finding.certainty if is_last else Certainty.POSSIBLE
        if form is NameForm.BARE and certainty is Certainty.SURE:
            certainty = Certainty.LIKELY  # a bare name is understood where it is unambiguous
        yield Finding(
            Kind.USER_NAME_FORM,
            certainty,
            (_evidence(what, of_form),),
            (remedy, Remedy.OPEN_GUIDE),
            links,
            of_form[-1].at,
        )
    proving = [each for each in group if each.mechanism not in PASSWORD_MECHANISMS]
    if not proving:
        return
    evidence = (replace(_evidence(What.MECHANISM_USED, proving), text=proving[-1].mechanism),)
    if "operator.account_migration_date" in card.parameters:
        renewed = Evidence(What.RENEWED_SINCE, text=card.parameters["operator.account_migration_date"])
        yield Finding(
            Kind.RENEWAL_NEEDED,
            Certainty.POSSIBLE,
            (*evidence, renewed),
            (*_renewal(ways), Remedy.NORMAL_PASSWORD),
            (Link(To.PROBLEM, "auth_failed_after_migration"),),
            proving[-1].at,
        )
    else:
        yield Finding(
            Kind.MECHANISM,
            Certainty.POSSIBLE,
            evidence,
            (Remedy.NORMAL_PASSWORD, Remedy.OPEN_GUIDE),
            (Link(To.PROBLEM, "mechanism_unsupported"),),
            proving[-1].at,
        )


def _renewal(ways: Ways) -> tuple[Remedy, ...]:
    """Return the ways to a new password that are open from here: never the page that does not open."""
    if ways.password_page:
        return (Remedy.CHANGE_PASSWORD,)
    meanwhile = (Remedy.USE_WEBMAIL,) if ways.webmail else ()
    return (*((Remedy.JOIN_VPN,) if ways.vpn else ()), Remedy.COME_TO_CAMPUS, Remedy.ASK_TOKEN, *meanwhile)


def _evidence(what: What, group: Sequence[Seen]) -> Evidence:
    return Evidence(what, len(group), group[0].at, group[-1].at)


# ------------------------------------------------------------------ the service and the gate


def _of_service(line: LineFacts) -> Iterator[Finding]:
    if line.service in (Service.FULL, Service.AWAY):
        yield Finding(
            Kind.SERVER_TROUBLE,
            Certainty.SURE,
            (Evidence(What.SERVER_AWAY, last=line.now),),
            (Remedy.WAIT, *((Remedy.USE_WEBMAIL,) if line.ways.webmail else ()), Remedy.ASK_US),
            (Link(To.PROBLEM, "server_unavailable"),),
            line.now,
        )


def _of_gate(line: LineFacts) -> Iterator[Finding]:
    edge = line.edge
    if edge is None:
        return
    if edge.held_until is not None:
        yield Finding(
            Kind.LINE_HELD,
            Certainty.SURE,
            (Evidence(What.HELD_UNTIL, last=edge.held_until), *_looks(edge)),
            (Remedy.LOOK_FOR_MALWARE, Remedy.ASK_US),
            (),
            edge.last_attempt,
        )
    if edge.closed:
        yield _blocked(edge, line.now)
    elif edge.closes_on is not None:
        uses = edge.attempts > 0 or edge.last_attempt is not None
        yield Finding(
            Kind.PORT_25_CLOSES,
            Certainty.LIKELY if uses else Certainty.POSSIBLE,
            (Evidence(What.CLOSES_ON, text=edge.closes_on), *_tries(edge)),
            (Remedy.CHANGE_PORT, Remedy.OPEN_GUIDE),
            (),
            edge.last_attempt,
        )


def _blocked(edge: EdgeFacts, now: float) -> Finding:
    """Port 25 is closed on this line: sure when the line tried it lately, else one thing that may be."""
    last = max((each for each in (edge.last_attempt, edge.last_explained) if each is not None), default=None)
    evidence = (*_tries(edge), Evidence(What.NETWORK_CLOSED, first=edge.closed_since))
    certainty = Certainty.POSSIBLE
    if last is not None and not edge.shared:
        certainty = Certainty.SURE if now - last <= DAY else Certainty.LIKELY
    remedies = [Remedy.CHANGE_PORT, Remedy.OPEN_GUIDE, Remedy.ASK_OTHER_PROVIDER]
    if edge.verdict is VerdictKind.MAIL_SERVER:
        remedies = [Remedy.USE_SMARTHOST, *remedies]
    elif edge.verdict is VerdictKind.WORM_LIKE:
        remedies = [Remedy.LOOK_FOR_MALWARE, *remedies]
    return Finding(
        Kind.PORT_25_BLOCKED,
        certainty,
        evidence,
        tuple(remedies),
        (Link(To.PROBLEM, "timeout_25"), Link(To.PAGE, "provider")),
        last,
    )


def _tries(edge: EdgeFacts) -> Iterator[Evidence]:
    if edge.explained and edge.last_explained is not None:
        yield Evidence(What.EXPLAINED, edge.explained, edge.first_explained, edge.last_explained)
    elif edge.last_attempt is not None:
        yield Evidence(What.BLOCKED, max(edge.attempts, 1), last=edge.last_attempt)
    if edge.destinations:
        yield Evidence(What.DESTINATION, len(edge.destinations), text=", ".join(edge.destinations[:2]))
    if edge.program:
        yield Evidence(What.CALLED_ITSELF, text=edge.program)
    yield from _looks(edge)


def _looks(edge: EdgeFacts) -> Iterator[Evidence]:
    if edge.verdict is VerdictKind.MAIL_SERVER:
        yield Evidence(What.LOOKS_LIKE_SERVER)
    elif edge.verdict is VerdictKind.WORM_LIKE:
        yield Evidence(What.LOOKS_LIKE_WORM)


# ------------------------------------------------------------------ the account


def _of_account(account: AccountFacts, line: LineFacts, card: Card) -> Iterator[Finding]:
    yield from _of_state(account, line)
    for finding in _of_seen(account.seen, line, card, shared=False):
        if finding.kind is Kind.WRONG_PASSWORD:
            changed = account.password_changed
            last_good = max((each.at for each in account.seen if _has_logged_in(each)), default=0.0)
            if changed is not None and changed > last_good and finding.when is not None and finding.when >= changed:
                finding = replace(finding, evidence=(*finding.evidence, Evidence(What.PASSWORD_CHANGED, last=changed)))
            if account.second_factor:
                finding = replace(finding, remedies=(Remedy.APP_PASSWORD, *finding.remedies))
        elif finding.kind is Kind.SENDER:
            tried = tuple(Evidence(What.OWN_ADDRESS_TRIED, text=each) for each in account.refused_senders[:3])
            finding = replace(finding, evidence=(*finding.evidence, *tried))
        yield finding
    yield from _of_mails(account.mails or ())


def _has_logged_in(seen: Seen) -> bool:
    return seen.step in (Step.ACCEPTED, Step.LOGGED_IN)


def _of_state(account: AccountFacts, line: LineFacts) -> Iterator[Finding]:
    if account.suspended:
        yield Finding(
            Kind.SUSPENDED,
            Certainty.SURE,
            (Evidence(What.SUSPENDED),),
            (Remedy.ASK_US,),
            (Link(To.PROBLEM, "blocked_account"),),
        )
    if account.renewal_needed:
        yield Finding(
            Kind.RENEWAL_NEEDED,
            Certainty.SURE,
            (Evidence(What.RENEWAL_STATE),),
            _renewal(line.ways),
            (Link(To.PAGE, "password"), Link(To.PROBLEM, "auth_failed_after_migration")),
        )
    for used in (account.messages, account.recipients):
        if used is not None and used.is_reached:
            yield Finding(
                Kind.HOURLY_LIMIT,
                Certainty.SURE,
                (Evidence(What.LIMIT_USED, used.used, last=line.now, number=used.limit),),
                (Remedy.WAIT, Remedy.ASK_US),
                (Link(To.PROBLEM, "too_many"),),
                line.now,
            )


def _of_mails(mails: Iterable[Mail]) -> Iterator[Finding]:
    waiting: list[Mail] = []
    returned: list[Mail] = []
    listed: list[Mail] = []
    for mail in mails:
        (returned if mail.next_attempt is None else waiting).append(mail)
        if any(mark in mail.reply.casefold() for mark in BLOCKLIST_MARKS):
            listed.append(mail)
    if waiting:
        soonest = min(each.next_attempt or 0.0 for each in waiting)
        yield Finding(
            Kind.MAIL_WAITS,
            Certainty.SURE,
            (_span(What.DEFERRED, waiting), Evidence(What.NEXT_ATTEMPT, last=soonest)),
            (Remedy.NOTHING,),
            (),
            max(each.at for each in waiting),
        )
    if returned:
        yield Finding(
            Kind.MAIL_RETURNED,
            Certainty.SURE,
            (_span(What.RETURNED, returned),),
            (Remedy.CORRECT_RECIPIENT, Remedy.ASK_US),
            (Link(To.PROBLEM, "recipient_rejected"),),
            max(each.at for each in returned),
        )
    if listed:
        yield Finding(
            Kind.BLOCKLISTED,
            Certainty.LIKELY,
            (_span(What.LISTED, listed),),
            (Remedy.ASK_US,),
            (),
            max(each.at for each in listed),
        )


def _span(what: What, mails: Sequence[Mail]) -> Evidence:
    times = [each.at for each in mails]
    return Evidence(what, len(mails), min(times), max(times))


# ------------------------------------------------------------------ clients, silence, what to add


def _of_clients(clients: Sequence[str], card: Card, catalog: Catalog) -> Iterator[Finding]:
    for name in clients:
        version = catalog.versions.get(name)
        if version is None:
            continue
        choice = choose(catalog, card, version)
        if choice.way is not None and version.status != "legacy":
            continue
        known = version.tls in TLS_ORDER and choice.reason == "tls"
        what = What.CLIENT_TLS if known else What.CLIENT_ENDED
        yield Finding(
            Kind.CLIENT_RETIRED,
            Certainty.LIKELY if choice.way is None else Certainty.POSSIBLE,
            (Evidence(what, number=version.end, text=version.id),),
            (Remedy.REPLACE_CLIENT, Remedy.OPEN_GUIDE),
            tuple(Link(To.GUIDE, each.id) for each in (version, *choice.replace_by[:1])),
        )


def _of_silence(line: LineFacts, account: AccountFacts | None, found: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what it means that sending works, or that nothing was heard at all."""
    own = line.seen if account is None and not line.is_shared else account.seen if account is not None else ()
    worked = max((each.at for each in own if has_worked(each)), default=None)
    failed = max((each.at for each in own if rule_of(each) is not None), default=0.0)
    if worked is not None and worked > failed and line.now - worked <= DAY:
        yield Finding(
            Kind.ALL_WELL, Certainty.SURE, (Evidence(What.ACCEPTED, last=worked),), (Remedy.NOTHING,), (), worked
        )
    if any(each.certainty is not Certainty.POSSIBLE for each in found) or worked is not None:
        return
    last = line.seen[-1].at if line.seen else line.since
    reached = bool(line.seen) and line.now - line.seen[-1].at <= DAY
    nothing = line.log is Log.READ and not reached
    evidence = (Evidence(What.NONE_SEEN, first=last),) if nothing and last is not None else ()
    if line.place is Place.OUTSIDE and not reached:
        yield Finding(
            Kind.PORT_25_ELSEWHERE,
            Certainty.LIKELY if nothing else Certainty.POSSIBLE,
            evidence,
            (Remedy.CHANGE_PORT, Remedy.OPEN_GUIDE, Remedy.TRY_NOW, Remedy.FLOW_CHART),
            (Link(To.PROBLEM, "timeout_25"), Link(To.PAGE, "provider")),
        )
    yield Finding(
        Kind.NOTHING_SEEN,
        Certainty.POSSIBLE,
        evidence,
        (Remedy.RIGHT_NAME, Remedy.TRY_NOW, Remedy.FLOW_CHART),
        (Link(To.PROBLEM, "timeout_587"), Link(To.PAGE, "provider")),
    )


def _with_login(finding: Finding) -> Finding:
    """Without login, offer it where the account would tell more."""
    if finding.kind not in (Kind.WRONG_PASSWORD, Kind.THROTTLED, Kind.HOURLY_LIMIT, Kind.SENDER):
        return finding
    return replace(finding, remedies=(*finding.remedies, Remedy.LOG_IN_HERE))


def _with_guide(finding: Finding, own: tuple[Link, ...]) -> Finding:
    """Where a guide helps, lead to the one for the person's own client, or to the choice of all."""
    if Remedy.OPEN_GUIDE not in finding.remedies or any(each.to is To.GUIDE for each in finding.links):
        return finding
    return replace(finding, links=(*(own or (Link(To.GUIDE),)), *finding.links))


# ------------------------------------------------------------------ what is missing


class Unknown(StrEnum):
    """What the page cannot know now, and says so."""

    LOG_AWAY = "log-away"
    LOG_WITHOUT_ADDRESSES = "log-without-addresses"
    NOBODY = "nobody"
    EDGE_AWAY = "edge-away"
    SHARED = "shared"
    SERVICE = "service"
    MAILS = "mails"


def unknown(line: LineFacts, account: AccountFacts | None) -> tuple[Unknown, ...]:
    """Return what could not be looked at."""
    found = {
        Unknown.LOG_AWAY: line.log is Log.AWAY,
        Unknown.LOG_WITHOUT_ADDRESSES: line.log is Log.WITHOUT_ADDRESSES,
        Unknown.NOBODY: line.log is Log.NOBODY,
        Unknown.EDGE_AWAY: line.edge_away,
        Unknown.SHARED: line.is_shared and account is None,
        Unknown.SERVICE: line.service is Service.UNKNOWN,
        Unknown.MAILS: account is not None and account.mails is None,
    }
    return tuple(each for each, holds in found.items() if holds)
