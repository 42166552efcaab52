"""The self-check's pages: in both languages, from real stores, hostile input, and with parts of what they read away."""

from __future__ import annotations

import html
import re
import shutil
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.edge.test_lookups import NOW as EDGE_NOW
from tests.edge.test_lookups import TODAY, Gate

from sekisho.edge.load import load_policy
from sekisho.edge.policy import Phase
from sekisho.guide.diagnose import Unknown
from sekisho.guide.findings import Kind, say
from sekisho.guide.lookup import Answer, Finder, Outgoing, Published, Reached, Source
from sekisho.guide.lookup.document import SECURITY, USER_NAMES
from sekisho.guide.situation import Place
from sekisho.guide.story import Change
from sekisho.portal.errors import Unavailable
from sekisho.portal.health import Check, State
from sekisho.portal.parts import Parts
from sekisho.portal.words import word

from .conftest import MakeParts, get, visiting

LANGUAGES = ("ja", "en")
LEAD = len(word("check.likeliest", "en")) + 1
HERE = "198.51.100.7"


def log(parts: Parts, *events: tuple[str, Mapping[str, object]]) -> None:
    for name, fields in events:
        parts.events.emit(name, **{"client": HERE, "listener": "submission", **fields})
    parts.events.flush()


def refused_login(**changes: object) -> tuple[str, dict[str, object]]:
    fields = {
        "account": "rin@example.test",
        "mechanism": "PLAIN",
        "reason": "bad-credentials",
        "detail": "wrong password",
    }
    return "auth.refused", {**fields, **changes}


def mail_is(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.portal.health._mail", lambda parts: Check("mail", state, "all"))


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail service answers, unless a test says otherwise."""
    mail_is(State.GOOD, monkeypatch)


def main_of(answer: httpx.Response) -> str:
    """Return the text of a page between header and footer, without markup."""
    assert answer.status_code == 200, answer.text
    text = answer.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_way_in_asks_the_question_of_the_seed_and_has_two_doors(make_parts: MakeParts, language: str) -> None:
    """S-111."""
    answer = get(make_parts(), f"/{language}/check/")
    assert f"<h1>{word('check.sudden', language)}</h1>" in answer.text
    assert f'href="/{language}/check/line"' in answer.text
    assert f'href="/{language}/check/b_client.html"' in answer.text
    assert language == "en" or word("check.sudden", "ja") == "突然メールが送れなくなった"
    assert get(make_parts(), f"/{language}/check/index.html").headers["location"] == f"/{language}/check/"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refused_login_of_the_line_is_found_without_a_name(make_parts: MakeParts, language: str) -> None:
    parts = make_parts()
    log(parts, refused_login())
    answer = get(parts, f"/{language}/check/line")
    text = main_of(answer)
    assert {"ja": "ユーザー名かパスワードが受け付けられませんでした", "en": "User name or password was not accepted"}[
        language
    ] in text
    assert "rin" not in text
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert "style=" not in answer.text


def title(kind: Kind, language: str = "en") -> str:
    return say(f"title.{kind}", language)


COMPOSED = (
    [f"check.unknown.{each}" for each in Unknown]
    + [f"check.change.{each}" for each in Change]
    + [f"check.place.{each}" for each in Place]
    + [f"check.probe.{each}" for each in Reached]
    + [f"check.provider.source.{each}" for each in Source]
    + [f"check.provider.security.{each}" for each in SECURITY.values()]
    + [f"check.provider.user_name.{each}" for each in USER_NAMES.values()]
    + ["check.known.yes", "check.known.no"]
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_that_is_put_together_exists(language: str) -> None:
    assert all(word(key, language) for key in COMPOSED)


# What it must never tell

WORLDS = (
    {"reason": "bad-credentials", "detail": "wrong password"},
    {"reason": "bad-credentials", "detail": "unknown account"},
    {"reason": "suspended", "detail": "sends junk"},
    {"reason": "renewal", "detail": "wrong password; asked"},
)


def test_pages_do_not_differ_by_whether_an_account_exists(make_parts: MakeParts) -> None:
    now = time.time()
    pages = []
    for number, world in enumerate(WORLDS):
        parts = make_parts(now=lambda: now, log__directory=f"log{number}")
        log(parts, refused_login(**world))
        texts = [get(parts, path).text for path in ("/en/check/line", "/en/check/report")]
        pages.append([re.sub(r'name="form_token" value="[^"]+"', "", text) for text in texts])
    assert title(Kind.WRONG_PASSWORD) in pages[0][0]
    assert pages == pages[:1] * len(pages)


def test_a_line_is_not_told_about_another(make_parts: MakeParts) -> None:
    parts = make_parts()
    log(parts, refused_login(client="198.51.100.8"))
    text = main_of(get(parts, "/en/check/line"))
    assert title(Kind.WRONG_PASSWORD) not in text
    assert title(Kind.PORT_25_ELSEWHERE) in text


def test_where_many_share_an_address_it_says_so_and_tells_no_story(make_parts: MakeParts) -> None:
    parts = make_parts(portal__campus_networks=["198.51.100.0/24"])
    accepted = {"account": "rin@example.test", "agent": "Becky! ver. 2.81", "sender": "rin@example.test"}
    log(parts, ("message.accepted", accepted), refused_login())
    text = main_of(get(parts, "/en/check/line"))
    assert word("check.unknown.shared", "en") in text
    assert word("check.story.title", "en") not in text
    assert "Becky" not in text
    assert "rin" not in text


# Links and the account


def test_the_guide_of_the_program_that_sent_from_the_line_is_linked(make_parts: MakeParts) -> None:
    parts = make_parts()
    log(
        parts,
        ("message.accepted", {"account": "rin@example.test", "agent": "Becky! ver. 2.81.05 [ja]"}),
        ("command.refused", {"reply": "530 5.7.0 Authentication required: switch on SMTP authentication for the "
        "outgoing server in your mail program"}),
    )  # fmt: skip
    answer = get(parts, "/ja/check/line")
    assert title(Kind.NO_AUTH, "ja") in main_of(answer)
    assert 'href="/ja/clients/becky-current.html"' in answer.text
    assert get(parts, "/ja/clients/becky-current.html").status_code == 200


def logged_in(parts: Parts, path: str, *events: tuple[str, Mapping[str, object]]) -> httpx.Response:
    """Fetch a page as somebody whose account was changed, and after that did *events*."""

    async def visit(browser: httpx.AsyncClient) -> httpx.Response:
        account = await parts.accounts.call(lambda store: store.add("rin@example.test", "correct horse battery"))
        await parts.accounts.call(lambda store: store.change("rin@example.test", renewal=True))
        log(parts, *events)
        token = await parts.sessions.open(account.id, client=HERE, second_factor=False)
        browser.cookies.set("__Host-sekisho", token, domain="mail.example.test")
        return await browser.get(path)

    return visiting(parts, visit)


def test_a_change_of_the_account_is_no_change_of_the_password(make_parts: MakeParts) -> None:
    changed = say("evidence.password-changed", "en", last="").partition(" at ")[0]
    set_anew = ("account.password_set", {"account": "rin@example.test", "by": "token"})
    for directory, events, is_told in (("a", (), False), ("b", (set_anew,), True)):
        parts = make_parts(log__directory=directory, service__directory=f"data-{directory}")
        text = main_of(logged_in(parts, "/en/check/line", *events, refused_login()))
        assert title(Kind.WRONG_PASSWORD) in text
        assert (changed in text) is is_told


def test_after_login_the_state_of_the_account_stands_first(make_parts: MakeParts) -> None:
    parts = make_parts()
    answer = logged_in(parts, "/en/check/line")
    text = main_of(answer)
    assert text.index(title(Kind.RENEWAL_NEEDED)) == text.index(word("check.likeliest", "en")) + LEAD
    assert "rin@example.test" in text
    assert say("remedy.change-password", "en") in text
    assert answer.headers["cache-control"] == "no-store"


def test_the_way_to_a_new_password_is_one_that_opens(make_parts: MakeParts) -> None:
    """S-X6: from outside there is the VPN, the premises, or a token; never the page that would refuse."""
    log_line = refused_login(mechanism="CRAM-MD5", reason="renewal")
    for networks, opens in (([], True), (["203.0.113.0/24"], False), (["198.51.100.0/24"], True)):
        parts = make_parts(
            portal__campus_networks=networks,
            guide__accounts_renewed="2026-04-01",
            guide__vpn_url="https://vpn.example.test/",
            log__directory=f"log-{len(networks)}-{opens}",
        )
        log(parts, log_line)
        text = get(parts, "/en/check/line").text
        assert title(Kind.RENEWAL_NEEDED) in text
        assert (say("remedy.change-password", "en") in text) is opens
        assert (say("remedy.ask-token", "en") in text) is not opens
        assert ("https://vpn.example.test/" in text) is not opens


# The chart


def test_the_chart_is_answered_beforehand_where_the_line_tells(make_parts: MakeParts) -> None:
    """S-97, S-99: and both answers stay links."""
    parts = make_parts(portal__own_lines=["198.51.100.0/24"])
    for address, answer in ((HERE, "yes"), ("203.0.113.9", "no")):
        for language in LANGUAGES:
            page = get(parts, f"/{language}/check/b_network.html", address=address)
            assert word(f"check.known.{answer}", language) in page.text
            assert 'href="b_address.html"' in page.text
            assert 'href="change_recommended.html"' in page.text
    assert word("check.known.yes", "en") not in get(parts, "/en/check/b_client.html").text
    untold = get(make_parts(), "/en/check/b_network.html").text
    assert word("check.known.no", "en") not in untold, "nobody told which networks are which"
    assert word("check.place.outside", "en") not in main_of(get(make_parts(), "/en/check/line"))
    assert word("check.place.outside", "en") in main_of(get(parts, "/en/check/line", address="203.0.113.9"))


def test_the_gate_knows_lines_that_the_settings_do_not_name(make_parts: MakeParts, tmp_path: Path) -> None:
    gate, _ = gate_of(tmp_path)
    parts = make_parts(now=lambda: EDGE_NOW, portal__edge=str(gate.path))
    assert word("check.known.yes", "en") in get(parts, "/en/check/b_network.html").text
    assert word("check.place.line", "en") in main_of(get(parts, "/en/check/line"))


def test_the_ends_of_the_chart_lead_on(make_parts: MakeParts) -> None:
    """S-X7: who is told that it works today can try at once; S-91: who needs another provider can look it up."""
    parts = make_parts()
    assert 'href="line"' in get(parts, "/ja/check/change_recommended.html").text
    assert 'href="provider"' in get(parts, "/ja/check/change_required_other.html").text


def test_every_way_through_the_chart_comes_to_an_end(make_parts: MakeParts) -> None:
    parts = make_parts()
    waiting = ["b_client.html", "questions.html"]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in (seen | {"index.html"}):
            continue
        seen.add(name)
        answer = get(parts, f"/en/check/{name}")
        assert answer.status_code == 200, name
        waiting += re.findall(r'href="([a-z_0-9]+\.html)"', answer.text)
    ends = {
        "no_change_webmail.html",
        "change_recommended.html",
        "change_required_other.html",
        "change_required_own.html",
    }
    assert ends <= seen
    assert get(parts, "/en/check/nonsense.html").status_code == 404


# The explainer's link


def gate_of(tmp_path: Path) -> tuple[Gate, str]:
    """A gate that explains on the network "home", and the code of the line that the tests ask from."""
    directory = tmp_path / "gate"
    directory.mkdir()
    policy = load_policy(Path(__file__).parent.parent / "edge" / "example.toml", today=TODAY)
    networks = tuple(replace(each, phase=Phase.EXPLAIN) if each.name == "home" else each for each in policy.networks)
    gate = Gate(directory, replace(policy, networks=networks, waves=()))
    return gate, gate.explained(HERE, "home", name="rin-no-<b>PC</b>")


def test_the_code_tells_its_own_line_what_was_stopped_and_nobody_else(make_parts: MakeParts, tmp_path: Path) -> None:
    gate, code = gate_of(tmp_path)
    parts = make_parts(now=lambda: EDGE_NOW, portal__edge=str(gate.path))
    assert get(parts, f"/c/{code}").headers["location"] == f"/ja/check/code?c={code}"
    own = get(parts, f"/en/check/code?c={code.lower()}")
    assert "203.0.113.25" in main_of(own)
    assert "rin-no-&lt;b&gt;PC" in own.text
    others = [get(parts, f"/en/check/code?c={typed}", address="198.51.100.9") for typed in (code, "0000-0000")]
    assert "203.0.113.25" not in others[0].text
    assert others[0].text.replace(code, "") == others[1].text.replace("0000-0000", "")


def test_the_gate_makes_the_line_page_sure(make_parts: MakeParts, tmp_path: Path) -> None:
    gate, _ = gate_of(tmp_path)
    parts = make_parts(now=lambda: EDGE_NOW, portal__edge=str(gate.path), portal__own_lines=["198.51.100.0/24"])
    text = main_of(get(parts, "/en/check/line"))
    assert text.index(title(Kind.PORT_25_BLOCKED)) == text.index(word("check.likeliest", "en")) + LEAD
    assert "203.0.113.25" in text


def test_guessing_codes_is_limited(make_parts: MakeParts, tmp_path: Path) -> None:
    gate, _ = gate_of(tmp_path)
    parts = make_parts(now=lambda: EDGE_NOW, portal__edge=str(gate.path))

    async def visit(browser: httpx.AsyncClient) -> list[int]:
        return [(await browser.get(f"/en/check/code?c=0000-000{number}")).status_code for number in range(10)]

    assert visiting(parts, visit).count(429) == 4


# Parts that are away


def test_each_part_that_is_away_is_said_and_the_rest_goes_on(make_parts: MakeParts, tmp_path: Path) -> None:
    parts = make_parts(portal__edge=str(tmp_path / "nowhere"))
    log(parts, refused_login())
    text = main_of(get(parts, "/en/check/line"))
    assert word("check.unknown.edge-away", "en") in text
    assert title(Kind.WRONG_PASSWORD) in text
    shutil.rmtree(parts.where.log)
    assert word("check.unknown.log-away", "en") in main_of(get(parts, "/en/check/line"))


def test_a_log_without_addresses_is_told_as_that(make_parts: MakeParts) -> None:
    parts = make_parts(log__client_addresses="network")
    log(parts, refused_login())
    text = main_of(get(parts, "/en/check/line"))
    assert word("check.unknown.log-without-addresses", "en") in text
    assert title(Kind.WRONG_PASSWORD) not in text


def test_without_mail_processes_the_server_is_said_to_be_the_reason(
    make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_is(State.BAD, monkeypatch)
    text = main_of(get(make_parts(), "/ja/check/line"))
    assert f"{word('check.likeliest', 'ja')} {title(Kind.SERVER_TROUBLE, 'ja')}" in text


def test_with_the_accounts_away_the_line_is_looked_at_all_the_same(
    make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts()
    log(parts, refused_login())

    async def call(accounts: object, work: object) -> None:
        raise Unavailable("accounts", "no such file")

    monkeypatch.setattr("sekisho.portal.stores.Accounts.call", call)
    answer = get(parts, "/en/check/line", headers={"cookie": "__Host-sekisho=" + "x" * 43})
    assert word("check.unknown.accounts", "en") in main_of(answer)
    assert title(Kind.WRONG_PASSWORD) in main_of(answer)


def test_behind_an_unknown_web_server_no_line_is_looked_up(make_parts: MakeParts) -> None:
    parts = make_parts()
    log(parts, refused_login(client="127.0.0.1"))
    answer = get(parts, "/en/check/line", headers={"x-forwarded-for": "127.0.0.1"}, address="127.0.0.1")
    assert word("check.unknown.nobody", "en") in main_of(answer)
    assert title(Kind.WRONG_PASSWORD) not in answer.text


# Other providers

FOUND = Published("Other <i>Co</i>", (Outgoing("smtp.other.test", 587, "starttls", "address"),), "https://other.test/")


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer from a table, and note which domains were asked about."""
    asked: list[str] = []

    async def find(finder: Finder, domain: str) -> Answer:
        asked.append(domain)
        return Answer(domain, Source.DOMAIN, FOUND) if domain == "other.test" else Answer(domain)

    monkeypatch.setattr(Finder, "find", find)
    return asked


def test_another_providers_settings_are_shown_and_escaped(make_parts: MakeParts, lookups: list[str]) -> None:
    """S-91."""
    parts = make_parts()
    for language in LANGUAGES:
        answer = get(parts, f"/{language}/check/provider?address=other.test")
        text = main_of(answer)
        assert "smtp.other.test" in text
        assert "587" in text
        assert "STARTTLS" in text
        assert "Other &lt;i&gt;Co" in answer.text
        assert 'rel="noopener noreferrer nofollow"' in answer.text
    assert word("check.provider.ask_port", "en") in main_of(get(parts, "/en/check/provider?address=silent.test"))


def test_of_a_typed_address_only_the_domain_goes_on(make_parts: MakeParts, lookups: list[str]) -> None:
    parts = make_parts()
    answer = get(parts, "/en/check/provider?address=rin%40Other.test")
    assert (answer.status_code, answer.headers["location"]) == (303, "/en/check/provider?address=other.test")
    assert lookups == []


@pytest.mark.parametrize(
    "typed",
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "x" * 300,
        "<script>alert(1)</script>",
        "a b",
        "%00",
        "other.test/..",
        "日本語",
    ],
)
def test_what_is_no_domain_is_asked_about_nowhere(make_parts: MakeParts, lookups: list[str], typed: str) -> None:
    answer = get(make_parts(), f"/en/check/provider?address={urllib.parse.quote(typed)}")
    assert answer.status_code == 200
    assert lookups == []
    assert "<script" not in answer.text


def test_our_own_domain_and_a_switched_off_lookup_ask_nobody(make_parts: MakeParts, lookups: list[str]) -> None:
    assert word("check.provider.own", "en") in main_of(get(make_parts(), "/en/check/provider?address=example.test"))
    answer = get(make_parts(portal__lookup=False), "/en/check/provider?address=other.test")
    assert word("check.provider.off", "en") in main_of(answer)
    assert lookups == []


def test_lookups_are_limited_for_each_visitor(make_parts: MakeParts, lookups: list[str]) -> None:
    async def visit(browser: httpx.AsyncClient) -> list[int]:
        return [(await browser.get(f"/en/check/provider?address=d{number}.test")).status_code for number in range(8)]

    assert visiting(make_parts(now=lambda: 1e9), visit).count(429) == 2
    assert len(lookups) == 6


def test_a_server_is_tried_only_from_our_own_form_and_only_where_one_was_found(
    make_parts: MakeParts, lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-121."""
    tried: list[str] = []

    async def probe(fetcher: object, host: str, *, hello: str) -> tuple[object, ...]:
        tried.append(host)
        return ()

    monkeypatch.setattr("sekisho.portal.views.check.probe", probe)

    async def visit(browser: httpx.AsyncClient) -> list[int]:
        page = await browser.get("/en/check/provider?address=other.test")
        token = re.search(r'name="form_token" value="([^"]+)"', page.text)
        assert token is not None
        statuses = []
        for fields in (
            {"address": "other.test"},
            {"address": "other.test", "form_token": token[1]},
            {"address": "silent.test", "form_token": token[1], "host": "10.0.0.1"},
        ):
            statuses.append((await browser.post("/en/check/provider", data=fields)).status_code)
        return statuses

    assert visiting(make_parts(), visit) == [403, 200, 200]
    assert tried == ["smtp.other.test"]


# The report


def test_the_ports_that_are_told_are_those_of_the_service(make_parts: MakeParts) -> None:
    parts = make_parts(
        listener__submission__addresses=["127.0.0.1:5870"], listener__submissions__addresses=["127.0.0.1:4650"]
    )
    log(parts, ("session.closed", {"listener": "mx", "tried": "relay"}))
    text = get(parts, "/en/check/line").text
    assert "5870 (STARTTLS) or 4650 (SSL/TLS)" in text


def test_the_report_holds_what_was_found_and_what_the_person_wrote(make_parts: MakeParts) -> None:
    """S-106, S-131."""
    parts = make_parts(guide__contact_en="help desk, help@example.test", guide__contact_ja="窓口 help@example.test")
    log(parts, refused_login())
    typed = urllib.parse.quote('Becky! <b>"2.81"</b>\r\nBcc: x@y.test')
    answer = get(parts, f"/en/check/report?program={typed}&page=clients/x.html")
    text = answer.text.partition("<pre>")[2].partition("</pre>")[0]
    assert "! wrong-password login-refused=1@" in text
    assert f"from: {HERE} (outside)" in text
    assert "program: Becky! &lt;b&gt;" in text
    link = re.search(r'href="(mailto:[^"]+)"', answer.text)
    assert link is not None
    assert link[1].startswith("mailto:help@example.test?subject=")
    assert "\r" not in urllib.parse.unquote(link[1].partition("&")[0])
    assert answer.headers["cache-control"] == "no-store"


def test_a_long_report_still_fits_into_a_link(make_parts: MakeParts) -> None:
    async def visit(browser: httpx.AsyncClient) -> httpx.Response:
        page = await browser.get("/ja/check/report")
        token = re.search(r'name="form_token" value="([^"]+)"', page.text)
        assert token is not None
        fields = {"program": "メ" * 500, "message": "ル" * 600, "form_token": token[1]}
        assert (await browser.post("/ja/check/report", data={**fields, "form_token": "x"})).status_code == 403
        return await browser.post("/ja/check/report", data=fields)

    answer = visiting(make_parts(), visit)
    link = re.search(r'href="(mailto:[^"]+)"', answer.text)
    assert answer.status_code == 200
    assert "ル" * 500 in answer.text
    assert "ル" * 501 not in answer.text
    assert link is not None
    assert len(link[1].replace("&amp;", "&")) <= 1800
