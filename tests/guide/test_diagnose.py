"""The self-check's judgment: a table of situations, and what it must never tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.guide.samples import card

from sekisho.edge.lookups import LineRecord
from sekisho.edge.verdicts import VerdictKind
from sekisho.guide.diagnose import Unknown, diagnose, unknown
from sekisho.guide.facts import catalog
from sekisho.guide.findings import Certainty, Finding, Kind, Link, Remedy, To, What
from sekisho.guide.seen import NameForm, Step, name_form, read_entries, step_of_reply
from sekisho.guide.situation import (
    AccountFacts,
    EdgeFacts,
    LineFacts,
    Log,
    Mail,
    Place,
    Service,
    Used,
    Ways,
    account_seen,
    edge_facts,
)
from sekisho.guide.story import Change, Timeline, timeline
from sekisho.server.session import NO_LONGER, PASSWORD_CHANGED, SUSPENDED
from sekisho.smtp import replies
from sekisho.telemetry import Entry

NOW = 1_800_000_000.0
HOUR = 3600.0
DOMAINS = ("johoku.invalid",)
WAYS = Ways(password_page=False, vpn=True, webmail=True)
FACTS = LineFacts(now=NOW, place=Place.OUTSIDE, ways=WAYS, since=NOW - 14 * 24 * HOUR, service=Service.WELL)

Told = tuple[Kind, Certainty]


def event(name: str, ago: float = 60.0, **fields: object) -> Entry:
    return Entry(NOW - ago, name, {"listener": "submission", "client": "198.51.100.7", **fields})


def line(*entries: Entry, **changes: object) -> LineFacts:
    return replace(FACTS, seen=read_entries(entries, DOMAINS), **changes)  # type: ignore[arg-type]


def told(facts: LineFacts, account: AccountFacts | None = None) -> tuple[Finding, ...]:
    return diagnose(facts, account, card(), catalog())


def first(facts: LineFacts, account: AccountFacts | None = None) -> Told:
    finding = told(facts, account)[0]
    return finding.kind, finding.certainty


def refused_login(ago: float = 60.0, name: str = "rin@johoku.invalid", **fields: object) -> Entry:
    return event("auth.refused", ago, account=name, **{"reason": "bad-credentials", "mechanism": "PLAIN", **fields})


SENT = event("message.accepted", 2 * HOUR, account="rin@johoku.invalid", mechanism="PLAIN", tls="TLSv1.3")
CLOSED = EdgeFacts(closed=True, closed_since=NOW - 9 * HOUR)
TRIED = replace(CLOSED, explained=3, first_explained=NOW - 2 * HOUR, last_explained=NOW - 60)

SITUATIONS: Mapping[str, tuple[LineFacts, Told]] = {
    "explained on port 25": (line(place=Place.LINE, edge=TRIED), (Kind.PORT_25_BLOCKED, Certainty.SURE)),
    "blocked two days ago": (
        line(place=Place.LINE, edge=replace(CLOSED, attempts=2, last_attempt=NOW - 48 * HOUR)),
        (Kind.PORT_25_BLOCKED, Certainty.LIKELY),
    ),
    "closed, and nothing tried": (line(place=Place.LINE, edge=CLOSED), (Kind.PORT_25_BLOCKED, Certainty.POSSIBLE)),
    "held in quarantine": (
        line(place=Place.LINE, edge=replace(TRIED, held_until=NOW + HOUR, verdict=VerdictKind.WORM_LIKE)),
        (Kind.LINE_HELD, Certainty.SURE),
    ),
    "closes soon": (
        line(place=Place.LINE, edge=EdgeFacts(closes_on="2027-04-01", last_attempt=NOW - 60)),
        (Kind.PORT_25_CLOSES, Certainty.LIKELY),
    ),
    "relay refused on 25": (
        line(event("message.refused", listener="mx", reply=str(replies.RELAY_DENIED))),
        (Kind.STILL_PORT_25, Certainty.SURE),
    ),
    "login tried on 25": (
        line(event("command.refused", listener="mx", reply=str(replies.AUTH_NOT_OFFERED))),
        (Kind.STILL_PORT_25, Certainty.SURE),
    ),
    "no login": (line(event("command.refused", reply=str(replies.AUTH_REQUIRED))), (Kind.NO_AUTH, Certainty.SURE)),
    "wrong password": (line(refused_login()), (Kind.WRONG_PASSWORD, Certainty.SURE)),
    "wrong password, and it worked before": (line(SENT, refused_login()), (Kind.WRONG_PASSWORD, Certainty.SURE)),
    "wrong password a week ago": (line(refused_login(7 * 24 * HOUR)), (Kind.WRONG_PASSWORD, Certainty.LIKELY)),
    "name of another provider": (
        line(refused_login(name="rin@elsewhere.invalid")),
        (Kind.USER_NAME_FORM, Certainty.SURE),
    ),
    "name in full-width characters": (
        line(refused_login(name="\uff52\uff49\uff4e@johoku.invalid")),
        (Kind.USER_NAME_FORM, Certainty.SURE),
    ),
    "throttled": (line(refused_login(reason="throttled")), (Kind.THROTTLED, Certainty.SURE)),
    "TLS too old": (line(event("tls.failed", problem="UNSUPPORTED_PROTOCOL")), (Kind.TLS_TOO_OLD, Certainty.SURE)),
    "certificate not trusted": (
        line(event("tls.failed", problem="TLSV1_ALERT_UNKNOWN_CA")),
        (Kind.CERTIFICATE, Certainty.SURE),
    ),
    "TLS at once where STARTTLS is spoken": (
        line(event("tls.failed", problem="TLS was spoken at once, after the greeting in the clear")),
        (Kind.WRONG_SECURITY, Certainty.SURE),
    ),
    "mechanism refused": (
        line(event("command.refused", reply=str(replies.BAD_MECHANISM))),
        (Kind.MECHANISM, Certainty.SURE),
    ),
    "password before TLS": (
        line(event("command.refused", reply=str(replies.ENCRYPTION_REQUIRED))),
        (Kind.CLEARTEXT, Certainty.SURE),
    ),
    "letter before TLS": (
        line(event("command.refused", reply=str(replies.TLS_REQUIRED))),
        (Kind.CLEARTEXT, Certainty.SURE),
    ),
    "sender not allowed": (
        line(event("message.refused", reply="550 5.7.1 You may not send as x@y.invalid: it does not belong")),
        (Kind.SENDER, Certainty.SURE),
    ),
    "no From": (
        line(event("message.refused", reply="550 5.6.0 The message has no From field")),
        (Kind.SENDER, Certainty.SURE),
    ),
    "too big": (line(event("message.refused", reply=str(replies.MESSAGE_TOO_BIG))), (Kind.TOO_BIG, Certainty.SURE)),
    "recipient refused": (
        line(event("message.refused", reply=str(replies.MAILBOX_UNKNOWN))),
        (Kind.RECIPIENT, Certainty.SURE),
    ),
    "hourly limit": (
        line(event("message.refused", reply="450 4.7.1 Your account has sent its 5 messages")),
        (Kind.HOURLY_LIMIT, Certainty.SURE),
    ),
    "no room": (line(event("message.refused", problem="disk full")), (Kind.SERVER_TROUBLE, Certainty.SURE)),
    "service away": (line(service=Service.AWAY), (Kind.SERVER_TROUBLE, Certainty.SURE)),
    "too many connections": (line(event("session.refused")), (Kind.CROWDED, Certainty.SURE)),
    "left inside TLS": (line(event("session.closed", tls="TLSv1.3")), (Kind.CERTIFICATE, Certainty.POSSIBLE)),
    "nothing seen from elsewhere": (line(), (Kind.PORT_25_ELSEWHERE, Certainty.LIKELY)),
    "nothing seen from a line of ours": (line(place=Place.LINE), (Kind.NOTHING_SEEN, Certainty.POSSIBLE)),
    "sent a moment ago": (line(SENT), (Kind.ALL_WELL, Certainty.SURE)),
    "failed, then sent": (line(refused_login(3 * HOUR), SENT), (Kind.ALL_WELL, Certainty.SURE)),
    "a failure at a shared address": (
        line(refused_login(), place=Place.CAMPUS),
        (Kind.WRONG_PASSWORD, Certainty.LIKELY),
    ),
    "an old failure at a shared address": (
        line(refused_login(HOUR), place=Place.CAMPUS),
        (Kind.WRONG_PASSWORD, Certainty.POSSIBLE),
    ),
    "log away": (line(log=Log.AWAY), (Kind.PORT_25_ELSEWHERE, Certainty.POSSIBLE)),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_first_finding_of_a_situation(name: str) -> None:
    facts, wanted = SITUATIONS[name]
    assert first(facts) == wanted


ACCOUNTS: Mapping[str, tuple[AccountFacts, Told]] = {
    "suspended": (AccountFacts(suspended=True), (Kind.SUSPENDED, Certainty.SURE)),
    "renewal needed": (AccountFacts(renewal_needed=True), (Kind.RENEWAL_NEEDED, Certainty.SURE)),
    "limit reached": (AccountFacts(messages=Used(500, 500)), (Kind.HOURLY_LIMIT, Certainty.SURE)),
    "mail waits": (AccountFacts(mails=(Mail(NOW - 60, NOW + 60),)), (Kind.MAIL_WAITS, Certainty.SURE)),
    "mail came back": (
        AccountFacts(mails=(Mail(NOW - 60, None, "550 no such user"),)),
        (Kind.MAIL_RETURNED, Certainty.SURE),
    ),
    "an old program": (AccountFacts(clients=("oe-6",)), (Kind.CLIENT_RETIRED, Certainty.LIKELY)),
}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_the_first_finding_of_an_account(name: str) -> None:
    account, wanted = ACCOUNTS[name]
    assert first(FACTS, account) == wanted


def kinds(findings: tuple[Finding, ...]) -> set[Kind]:
    return {each.kind for each in findings}


def test_an_answer_about_a_block_list_is_told_as_not_the_readers_fault() -> None:
    found = told(FACTS, AccountFacts(mails=(Mail(NOW, None, "554 5.7.1 blocked using zen.spamhaus.org"),)))
    assert Kind.BLOCKLISTED in kinds(found)
    assert Kind.BLOCKLISTED not in kinds(told(FACTS, AccountFacts(mails=(Mail(NOW, None, "550 user unknown"),))))


def test_every_situation_has_an_answer_and_every_answer_a_remedy() -> None:
    facts = [(situation, None) for situation, _ in SITUATIONS.values()]
    for situation, account in [*facts, *((FACTS, account) for account, _ in ACCOUNTS.values())]:
        for finding in told(situation, account):
            assert finding.remedies
            for link in finding.links:
                if link.to is To.PROBLEM:
                    assert link.name in catalog().selfcheck.symptoms
                elif link.to is To.GUIDE and link.name:
                    assert link.name in catalog().versions


def test_the_guide_of_the_persons_own_client_is_linked() -> None:
    found = told(line(event("command.refused", reply=str(replies.AUTH_REQUIRED)), clients=("becky-current",)))
    assert Link(To.GUIDE, "becky-current") in found[0].links
    found = told(line(event("command.refused", reply=str(replies.AUTH_REQUIRED))))
    assert Link(To.GUIDE) in found[0].links


@given(st.booleans(), st.booleans(), st.booleans())
def test_nobody_is_sent_to_a_password_page_that_does_not_open(page: bool, vpn: bool, webmail: bool) -> None:
    """S-X6: the page opens on the premises alone, and who cannot send is often elsewhere."""
    ways = Ways(password_page=page, vpn=vpn, webmail=webmail)
    for facts, account in (
        (replace(FACTS, ways=ways), AccountFacts(renewal_needed=True)),
        (replace(line(refused_login(mechanism="CRAM-MD5")), ways=ways), None),
    ):
        remedies = {remedy for each in told(facts, account) for remedy in each.remedies}
        assert (Remedy.CHANGE_PASSWORD in remedies) is page
        assert (Remedy.JOIN_VPN in remedies) is (vpn and not page)
        assert page or Remedy.ASK_TOKEN in remedies


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("rin@johoku.invalid", NameForm.ADDRESS),
        ("Rin@JOHOKU.invalid ", NameForm.ADDRESS),
        ("rin", NameForm.BARE),
        ("rin@other.invalid", NameForm.ELSEWHERE),
        ("rin hayashi@johoku.invalid", NameForm.ODD),
        ("\uff52in@johoku.invalid", NameForm.ODD),
        ("", NameForm.ODD),
        (None, None),
        (7, None),
    ],
)
def test_of_a_user_name_its_form_alone_is_kept(name: object, form: NameForm | None) -> None:
    assert name_form(name, DOMAINS) is form


def test_replies_are_told_apart_by_their_text() -> None:
    assert step_of_reply(str(PASSWORD_CHANGED)) is Step.LOGIN_REFUSED
    assert step_of_reply(str(NO_LONGER)) is Step.LOGIN_REFUSED
    assert step_of_reply(str(SUSPENDED)) is None  # an answer to AUTH: the event is auth.refused
    assert step_of_reply(str(replies.TOO_MANY_ERRORS)) is None
    assert step_of_reply(str(replies.TOO_MANY_CONNECTIONS)) is Step.CROWDED
    assert step_of_reply("nonsense") is None


def test_the_end_of_a_session_of_which_something_was_told_says_nothing_more() -> None:
    entries = [refused_login(61, session="s1"), event("session.closed", 60, session="s1", tls="TLSv1.3")]
    assert [each.step for each in read_entries(entries, DOMAINS)] == [Step.LOGIN_REFUSED]


# What it must never tell

NAMES = st.sampled_from(["rin@johoku.invalid", "ken@johoku.invalid", "nobody@johoku.invalid", "rin", "a@b.invalid"])
EXISTS = {"reason": "bad-credentials", "detail": "wrong password"}
EXISTS_NOT = {"reason": "bad-credentials", "detail": "unknown account"}
SUSPENDED_ACCOUNT = {"reason": "suspended", "detail": "sends spam"}
RENEWAL = {"reason": "renewal", "detail": "wrong password; asked"}
NO_VERIFIER = {"reason": "bad-credentials", "detail": "no CRAM-MD5 verifier"}


@settings(max_examples=60)
@given(
    st.lists(st.tuples(NAMES, st.floats(1, 10 * 24 * HOUR), st.sampled_from(["PLAIN", "CRAM-MD5", "SCRAM-SHA-256"]))),
    st.sampled_from(Place),
)
def test_two_worlds_that_differ_in_whether_an_account_exists_look_the_same(
    tries: list[tuple[str, float, str]], place: Place
) -> None:
    worlds = [
        line(*(refused_login(ago, name, mechanism=how, **world) for name, ago, how in tries), place=place)
        for world in (EXISTS, EXISTS_NOT, SUSPENDED_ACCOUNT, RENEWAL, NO_VERIFIER)
    ]
    canonical = [  # the log has the account's own name where there is one, and beside it what was typed
        refused_login(ago, "rin@johoku.invalid", mechanism=how, claimed=name, **EXISTS) for name, ago, how in tries
    ]
    worlds.append(line(*canonical, place=place))
    assert worlds[1:] == worlds[:-1]
    assert len({told(world) for world in worlds}) == 1
    assert len({timeline(world, None) for world in worlds}) == 1


SECRETS = ("hayashi@johoku.invalid", "friend@elsewhere.invalid", "hayashi", "Kobayashi-PC")


@settings(max_examples=40)
@given(
    st.lists(
        st.sampled_from(
            [
                "auth.refused",
                "auth.accepted",
                "message.accepted",
                "message.refused",
                "command.refused",
                "session.closed",
            ]
        )
    ),
    st.sampled_from(Place),
)
def test_no_name_and_no_address_of_anybody_gets_into_what_a_line_is_told(events: list[str], place: Place) -> None:
    entries = [
        event(
            name,
            account=SECRETS[0],
            sender=SECRETS[0],
            recipients=[SECRETS[1]],
            hello=SECRETS[3],
            command=f"MAIL FROM:<{SECRETS[0]}>",
            reply=f"550 5.7.1 You may not send as {SECRETS[1]}: it does not belong to the account",
            reason="bad-credentials",
            mechanism=SECRETS[2],
            tls=SECRETS[2],
        )
        for name in events
    ]
    facts = line(*entries, place=place)
    shown = repr((facts, told(facts), timeline(facts, None)))
    assert not [secret for secret in SECRETS if secret in shown]


def test_of_an_address_that_many_share_no_destination_and_no_program_is_told() -> None:
    record = LineRecord(line="203.0.113.9", network="cgn", shared=True, closed=True)
    facts = edge_facts(record)
    assert (facts.closed, facts.destinations, facts.program, facts.explained) == (True, (), None, 0)
    shared = replace(FACTS, place=Place.LINE, edge=facts)
    assert shared.is_shared
    assert first(shared) == (Kind.PORT_25_BLOCKED, Certainty.POSSIBLE)
    assert timeline(shared, None) is None


def test_strangers_who_try_the_name_of_an_account_do_not_worry_its_owner() -> None:
    entries = [refused_login(client="192.0.2.66"), refused_login(50, client="203.0.113.1"), SENT]
    seen = account_seen(entries, lambda client: client == "203.0.113.1", DOMAINS)
    assert [(each.step, each.here) for each in seen] == [(Step.ACCEPTED, False), (Step.LOGIN_REFUSED, True)]


# The story


def test_the_story_says_until_when_it_worked_and_what_was_new() -> None:
    facts = line(SENT, event("tls.failed", problem="UNSUPPORTED_PROTOCOL", listener="submissions"))
    assert timeline(facts, None) == Timeline(SENT.time, NOW - 60, (Change.LISTENER, Change.TLS))
    assert timeline(line(SENT, refused_login(mechanism="LOGIN")), None) == Timeline(
        SENT.time, NOW - 60, (Change.MECHANISM,)
    )
    assert timeline(line(SENT, refused_login()), None) == Timeline(SENT.time, NOW - 60, (Change.NONE,))
    assert timeline(line(SENT), None) == Timeline(SENT.time, None)
    assert timeline(line(), None) is None


def test_a_password_changed_meanwhile_is_part_of_the_story_and_of_the_finding() -> None:
    seen = account_seen([SENT, refused_login()], lambda client: True, DOMAINS)
    account = AccountFacts(seen=seen, password_changed=NOW - HOUR)
    assert timeline(FACTS, account) == Timeline(SENT.time, NOW - 60, (Change.PASSWORD,))
    finding = told(FACTS, account)[0]
    assert finding.kind is Kind.WRONG_PASSWORD
    assert What.PASSWORD_CHANGED in [each.what for each in finding.evidence]


def test_with_a_second_factor_an_app_password_is_the_first_remedy() -> None:
    seen = account_seen([SENT, refused_login(reason="app-password-required")], lambda client: True, DOMAINS)
    first = told(FACTS, AccountFacts(seen=seen, second_factor=True))[0]
    assert (first.kind, first.remedies[0]) == (Kind.WRONG_PASSWORD, Remedy.APP_PASSWORD)
    without = told(FACTS, AccountFacts(seen=seen))[0]
    assert Remedy.APP_PASSWORD not in without.remedies


def test_a_gate_that_closed_meanwhile_is_part_of_the_story() -> None:
    edge = replace(TRIED, closed_since=NOW - 1.5 * HOUR, first_explained=NOW - HOUR)
    assert timeline(line(SENT, place=Place.LINE, edge=edge), None) == Timeline(SENT.time, NOW - HOUR, (Change.GATE,))


def test_what_could_not_be_looked_at_is_said() -> None:
    facts = line(log=Log.AWAY, edge_away=True, service=Service.UNKNOWN, place=Place.CAMPUS)
    assert unknown(facts, AccountFacts(mails=None)) == (
        Unknown.LOG_AWAY,
        Unknown.EDGE_AWAY,
        Unknown.SERVICE,
        Unknown.MAILS,
    )
    assert Unknown.SHARED in unknown(facts, None), "only a login tells the person's own attempts from those of others"
    assert unknown(FACTS, None) == ()
