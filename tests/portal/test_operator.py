"""The operator's pages: who may open them, what they tell, what they cannot know, and what may be done there."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.portal.conftest import MakeParts, get, visiting

from sekisho.portal.health import Check, Checkup, State, is_well
from sekisho.portal.parts import Parts
from sekisho.portal.views.operator_people import _csv
from sekisho.queue import Arrival, Outcome, Queue, QueuedMessage, QueueSettings
from sekisho.queue import State as RecipientState
from sekisho.smtp import Envelope, Mailbox, Recipient
from sekisho.supervise import control
from sekisho.supervise.queues import perform, report

OPERATOR = "mika@example.test"
INSIDE = "127.0.0.1"
PAGES = ("", "queue", "failures", "old", "old/clients", "old/port25", "renewal", "health.json", "old/names.csv")
NOW = time.time()

Visit = Callable[[httpx.AsyncClient], Awaitable[Any]]


def as_account(
    parts: Parts,
    visit: Visit,
    *,
    login: str = OPERATOR,
    operator: bool = True,
    second_factor: bool = False,
    address: str = INSIDE,
) -> Any:
    """Run *visit* with the browser of somebody who has logged in."""

    async def go(browser: httpx.AsyncClient) -> Any:
        def account(store: Any) -> Any:
            found = store.get(login) or store.add(login, None)
            return store.change(login, operator=operator) if operator else found

        token = await parts.sessions.open(
            (await parts.accounts.call(account)).id, client=address, second_factor=second_factor
        )
        browser.cookies.set("__Host-sekisho", token, domain="mail.example.test")
        return await visit(browser)

    return visiting(parts, go, address=address)


def fetched(parts: Parts, path: str, **who: Any) -> httpx.Response:
    answer: httpx.Response = as_account(parts, lambda browser: browser.get(path), **who)
    return answer


def write_log(parts: Parts, *events: tuple[float, str, dict[str, str]]) -> None:
    """Write events of *ago* seconds before now, and let the pages know them."""
    for ago, event, fields in events:
        parts.events._now = lambda ago=ago: NOW - ago  # type: ignore[misc]
        parts.events.emit(event, **fields)
    parts.events.flush()
    while parts.recall.refresh():
        pass


def fill_queue(parts: Parts) -> list[str]:
    """Put three messages into the queue: one deferred at slow.example, one held, one that waits."""

    async def fill() -> list[str]:
        taken: asyncio.Queue[QueuedMessage] = asyncio.Queue()
        queue = Queue.open(parts.where.queue, QueueSettings(minimum_free=0), number=0, now=lambda: NOW)  # type: ignore[arg-type]
        queue.listener = taken.put_nowait
        queue.start()
        ids = []
        for account, domain in (
            ("rin@example.test", "slow.example"),
            ("rin@example.test", "held.example"),
            ("kei@example.test", "<b>.example"),
        ):
            sender = Mailbox.parse(account)
            envelope = Envelope(sender, (Recipient(Mailbox("aoi", domain)),))
            writer = queue.new_content()
            writer.write(b"Subject: x\r\n\r\nx\r\n")
            arrival = Arrival(envelope, account, "s1", "192.0.2.7", "submission", NOW - 60, domain.startswith("held"))
            ids.append(str(await queue.commit(arrival, writer)))
        while (message := await taken.get()).queue_id != ids[0]:
            queue.done_with(message)
        outcome = Outcome(0, RecipientState.DEFERRED, "451 4.7.1 <Greylisted>", "mx.slow.example", NOW, NOW + 300)
        queue.record(message, [outcome])
        queue.done_with(message)
        await queue.close()
        return ids

    return asyncio.run(fill())


# Who may open them


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["ja", "en"])
def test_an_operator_opens_every_page_in_both_languages(make_parts: MakeParts, path: str, language: str) -> None:
    answer = fetched(make_parts(), f"/{language}/operator/{path}")
    assert answer.status_code in (200, 503)  # health.json: no mail process runs here
    assert answer.headers["cache-control"] == "no-store"
    if answer.headers["content-type"].startswith("text/html"):
        assert f'<html lang="{language}">' in answer.text
        assert "style=" not in answer.text
        assert "<script" not in answer.text


@pytest.mark.parametrize("path", [*PAGES, "queue/XYZ", "queue/confirm", "queue/change"])
def test_nobody_else_opens_any_of_them(make_parts: MakeParts, path: str) -> None:
    parts = make_parts()
    url = f"/en/operator/{path}"
    method = "POST" if path in ("queue/confirm", "queue/change") else "GET"

    def visit(browser: httpx.AsyncClient) -> Awaitable[httpx.Response]:
        return browser.request(method, url)

    outside = as_account(parts, visit, address="198.51.100.7")
    assert outside.status_code == 403
    assert "do not open from here" in outside.text
    ordinary = as_account(parts, visit, login="rin@example.test", operator=False)
    assert ordinary.status_code == 403
    assert "for operators" in ordinary.text
    stranger = visiting(parts, lambda browser: browser.request(method, url), address=INSIDE)
    assert stranger.status_code == 303
    assert stranger.headers["location"].startswith("/en/account/login")
    for answer in (outside, ordinary, stranger):
        assert answer.headers["cache-control"] == "no-store"


def test_words_of_refusal_are_there_in_both_languages(make_parts: MakeParts) -> None:
    parts = make_parts()
    assert "ここからは開けません" in fetched(parts, "/ja/operator/", address="198.51.100.7").text
    assert "管理者だけ" in fetched(parts, "/ja/operator/", login="rin@example.test", operator=False).text


def test_a_header_does_not_bring_anybody_inside(make_parts: MakeParts) -> None:
    parts = make_parts()
    forged = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1", "x-real-ip": "127.0.0.1"}
    answer = as_account(parts, lambda browser: browser.get("/en/operator/", headers=forged), address="198.51.100.7")
    assert answer.status_code == 403


def test_an_operator_with_a_second_factor_has_to_have_given_it(
    make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from sekisho.portal.stores import Logins

    parts = make_parts()
    find = Logins.find

    async def with_factor(self: Logins, token: str) -> Any:
        found = await find(self, token)
        return replace(found, account=replace(found.account, second_factor=True)) if found else None

    monkeypatch.setattr(Logins, "find", with_factor)
    assert "log in with your code" in fetched(parts, "/en/operator/").text
    assert fetched(parts, "/en/operator/", second_factor=True).status_code == 200


# Health


def checks(parts: Parts) -> dict[str, Check]:
    async def look() -> dict[str, Check]:
        return {check.name: check for check in await Checkup(parts).look()}

    return asyncio.run(look())


def test_without_mail_processes_the_service_is_not_well_and_a_monitor_hears_it(make_parts: MakeParts) -> None:
    parts = make_parts()
    answer = get(parts, "/health", address="198.51.100.7")
    assert (answer.status_code, answer.json()) == (503, {"status": "failing"})
    told = fetched(parts, "/en/operator/health.json")
    assert told.status_code == 503
    assert {each["name"]: each["state"] for each in told.json()["checks"]}["mail"] == "bad"
    assert "None answers" in fetched(parts, "/en/operator/").text


def test_with_its_mail_process_the_service_is_well(make_parts: MakeParts) -> None:
    parts = make_parts(queue__minimum_free="1KiB")
    fill_queue(parts)
    with answering(parts):
        answer = get(parts, "/health", address="198.51.100.7")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        found = checks(parts)
        assert (found["mail"].state, found["mail"].values["alive"]) == (State.GOOD, 1)
        assert found["queue"].values["messages"] == 3
        assert found["oldest"].state is State.GOOD
        assert found["disk"].state is State.GOOD
        assert found["certificate"].state is State.GOOD
        assert found["edge"].state is State.UNKNOWN
        page = fetched(parts, "/ja/operator/").text
    assert "メールを受け付けています" in page
    assert "3通" in page


def test_what_is_wrong_is_told(make_parts: MakeParts) -> None:
    later = NOW + 400 * 86400
    parts = make_parts(now=lambda: later, queue__minimum_free="900000GiB", portal__edge="/nonexistent")
    fill_queue(parts)
    found = checks(parts)
    assert found["disk"].state is State.BAD
    assert found["certificate"].verdict in ("over", "ends")
    assert found["oldest"].state is State.WARN
    assert found["edge"].verdict == "none"
    assert found["log"].verdict == "none"
    assert not is_well(tuple(found.values()))


def test_many_monitors_cost_one_look(make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch) -> None:
    from sekisho.portal import health

    looks = []

    def look(parts: Parts) -> tuple[Check, ...]:
        looks.append(parts)
        return ()

    monkeypatch.setattr(health, "_look", look)

    async def ask_often(browser: httpx.AsyncClient) -> None:
        await asyncio.gather(*(browser.get("/health") for _ in range(20)))

    visiting(make_parts(), ask_often)
    assert len(looks) == 1


# Failures and charts

RIN = {"client": "192.0.2.7", "account": "rin@example.test"}
FAILED: tuple[tuple[float, str, dict[str, str]], ...] = (
    (7200, "auth.refused", RIN | {"reason": "bad-credentials", "detail": "<i>"}),
    (3600, "tls.failed", {"client": "192.0.2.8", "reason": "version", "problem": "UNSUPPORTED_PROTOCOL"}),
    (60, "message.refused", {"client": "192.0.2.9", "reply": "550 5.7.1 This server", "reason": "relay-denied"}),
)


def test_failures_are_drawn_and_listed_and_can_be_filtered(make_parts: MakeParts) -> None:
    parts = make_parts()
    write_log(parts, *FAILED)
    page = fetched(parts, "/en/operator/failures").text
    for words in ("wrong name or password", "TLS too old", "relay without login", "UNSUPPORTED_PROTOCOL", "&lt;i&gt;"):
        assert words in page
    assert "<i>" not in page
    assert re.search(
        r'<title id="failures-t">Failures by hour and reason</title><desc id="failures-d">[^<]*3 in 48', page
    )
    only = fetched(parts, "/en/operator/failures?reason=tls.version&line=192.0.2.8").text
    assert "192.0.2.8" in only
    assert "192.0.2.7" not in only
    assert "No failure fits" in fetched(parts, "/en/operator/failures?account=nobody").text


def test_a_log_that_is_away_is_told(make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make_parts()
    write_log(parts, *FAILED)
    parts.recall._problem = "Input/output error"
    for path in ("", "failures"):
        page = fetched(parts, f"/en/operator/{path}").text
        assert "The event log cannot be read" in page
        assert "Input/output" not in page


# Old ways


def test_who_sends_the_old_way_is_counted_listed_and_put_into_a_spreadsheet(make_parts: MakeParts) -> None:
    parts = make_parts(portal__own_lines=["203.0.113.0/24"])
    common = {"listener": "submission", "tls": "TLSv1.3", "mechanism": "PLAIN"}
    old = {"client": "192.0.2.7", "account": "rin@example.test", "agent": "Microsoft Outlook Express 6.00.2900.5931"}
    new = {"client": "192.0.2.9", "account": "kei@example.test", "agent": "Mozilla Thunderbird"}
    write_log(
        parts,
        (90, "message.accepted", common | old),
        (80, "message.accepted", common | new),
        (70, "auth.accepted", common | new | {"name": "old.example.test"}),
        (65, "auth.accepted", common | new | {"name": parts.card.hostname}),
        (60, "session.closed", {"client": "203.0.113.5", "listener": "mx", "tried": "relay"}),
        (50, "session.closed", {"client": "198.51.100.9", "listener": "mx", "tried": "auth"}),
        (40, "auth.accepted", {"client": "192.0.2.7", "account": "=cmd@example.test", "mechanism": "CRAM-MD5"}),
    )
    page = fetched(parts, "/en/operator/old").text
    counts = re.findall(r'operator/old/([a-z0-9-]+)">.*?<td class="number">(\d+)</td>', page, re.DOTALL)
    seen = dict.fromkeys(("port25", "cleartext", "names", "cram-md5", "clients"), "1")
    assert dict(counts) == {**seen, "tls": "0", "relay": "0"}
    assert "Thunderbird" in page
    clients = fetched(parts, "/en/operator/old/clients").text
    assert "rin@example.test" in clients
    assert "kei@example.test" not in clients
    assert "/en/clients/oe-6.html" in clients
    port25 = fetched(parts, "/en/operator/old/port25").text
    assert "203.0.113.5" in port25
    assert "198.51.100.9" not in port25
    assert "further addresses (1)" in port25
    answer = fetched(parts, "/en/operator/old/cram-md5.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="cram-md5.csv"'
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert rows[0][0] == "Account"
    assert rows[1][0] == "'=cmd@example.test"
    assert fetched(parts, "/en/operator/old/nothing").status_code == 404
    assert fetched(parts, "/en/operator/old/nothing.csv").status_code == 404


@pytest.mark.parametrize("language", ["ja", "en"])
def test_no_page_with_very_much_on_it_is_heavier_than_60_kb_with_its_styles(
    make_parts: MakeParts, language: str
) -> None:
    parts = make_parts()
    agent = "Microsoft Outlook Express 6.00.2900.5931"
    accounts = [f"a.person.with.a.long.name.{number}@example.test" for number in range(300)]
    sent = {"listener": "submission", "tls": "TLSv1.3", "mechanism": "PLAIN", "agent": agent}
    refused = {"listener": "submission", "mechanism": "PLAIN", "reason": "bad-credentials"}
    write_log(
        parts,
        *((9000 - each, "message.accepted", sent | {"account": account}) for each, account in enumerate(accounts)),
        *((900 - each, "auth.refused", refused | {"account": account}) for each, account in enumerate(accounts)),
    )
    for path in ("", "failures", "old", "old/clients", "queue", "renewal"):
        page = fetched(parts, f"/{language}/operator/{path}")
        styles = re.findall(r'rel="stylesheet" href="([^"]+)"', page.text)
        weight = len(page.content) + sum(len(fetched(parts, style).content) for style in styles)
        assert page.status_code == 200
        assert weight <= 60_000, f"{path}: {weight}"


@pytest.mark.parametrize("cell", ["=1+1", "＝1+1", "＋1", "－1", "＠SUM(1)", " =1+1", "\u3000=1+1", "\t1", "\r1"])
def test_no_cell_of_a_table_is_a_formula_in_a_spreadsheet(cell: str) -> None:
    """A Japanese Excel takes the full-width characters for the others."""
    answer = _csv("x.csv", ["head"], [[cell, "a=b", "２１"]])
    row = list(csv.reader(io.StringIO(bytes(answer.body).decode("utf-8-sig"), newline="")))[1]
    assert row == [f"'{cell}", "a=b", "２１"]


def test_accounts_that_need_a_new_password_are_listed(make_parts: MakeParts) -> None:
    parts = make_parts()

    def prepare(store: Any) -> None:
        store.add("rin@example.test", "plum rain 4711 x")
        store.change("rin@example.test", renewal=True)
        store.add("kei@example.test", "plum rain 4711 y")

    asyncio.run(parts.accounts.call(prepare))
    page = fetched(parts, "/en/operator/renewal").text
    assert "rin@example.test" in page
    assert "an operator asks for it" in page
    assert "kei@example.test" not in page
    rows = fetched(parts, "/ja/operator/renewal.csv").content.decode("utf-8-sig").splitlines()
    assert any(row.startswith("rin@example.test,管理者が求めた") for row in rows)


# The queue


class answering:
    """A mail process that answers on its control socket in a thread, over the real queue."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __enter__(self) -> None:
        import threading

        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    async def _serve(self) -> None:
        queue = Queue.open(self._parts.where.queue, QueueSettings(minimum_free=0), number=0, now=lambda: NOW)  # type: ignore[arg-type]
        queue.start()

        async def ping(_: object) -> object:
            return {"worker": 0, "workers": 1, "since": time.time() - 3600, "spools": [0]}

        async def change(request: Any) -> object:
            done = await perform(queue, request["do"], request["ids"])
            report(self._parts.events, request["do"], done, request["by"])
            self._parts.events.flush()
            return done

        self._parts.where.run.mkdir(parents=True, exist_ok=True)
        server = control.ControlServer(self._parts.where.control_socket(0), {"ping": ping, "queue": change})
        await server.start()
        self._ready.set()
        while not self._stop.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        server.close()
        await queue.close()


def test_the_queue_is_summed_up_listed_and_searched(make_parts: MakeParts) -> None:
    parts = make_parts()
    ids = fill_queue(parts)
    page = fetched(parts, "/en/operator/queue").text
    for words in (*ids, "slow.example", "451 4.7.1 &lt;Greylisted&gt;", "&lt;b&gt;.example"):
        assert words in page
    assert "<b>.example" not in page
    assert "<Greylisted>" not in page
    held = fetched(parts, "/en/operator/queue?state=held").text
    assert f'name="m-{ids[1]}"' in held
    assert f'name="m-{ids[0]}"' not in held
    mine = fetched(parts, "/en/operator/queue?account=KEI@example.test").text
    assert f'name="m-{ids[2]}"' in fetched(parts, "/en/operator/queue?account=kei").text
    assert f'name="m-{ids[2]}"' in mine
    assert f'name="m-{ids[1]}"' not in mine
    assert "No message fits" in fetched(parts, "/en/operator/queue?domain=nowhere.example").text
    led = fetched(parts, f"/en/operator/queue?id={ids[0]}")
    assert (led.status_code, led.headers["location"]) == (303, f"/en/operator/queue/{ids[0]}")


@pytest.mark.parametrize("query", ["after=x", "after=<>", "state=nothing", "id=../../etc", "account=" + "x" * 1500])
def test_hostile_queries_end_in_words(make_parts: MakeParts, query: str) -> None:
    parts = make_parts()
    fill_queue(parts)
    assert fetched(parts, f"/en/operator/queue?{query}").status_code in (200, 400, 404)


def test_a_message_is_told_with_its_life(make_parts: MakeParts) -> None:
    parts = make_parts()
    ids = fill_queue(parts)
    write_log(parts, (60, "message.accepted", {"queue_id": ids[0], "session": "s1", "agent": "<Becky!>"}))
    page = fetched(parts, f"/en/operator/queue/{ids[0]}").text
    for words in ("aoi@slow.example", "mx.slow.example", "message.accepted", "agent=&lt;Becky!&gt;", "Retry now"):
        assert words in page
    assert fetched(parts, "/en/operator/queue/NOID").status_code == 404
    unknown = ids[0][:-1] + ("0" if ids[0][-1] != "0" else "1")
    assert fetched(parts, f"/en/operator/queue/{unknown}").status_code == 404


def fields_of(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that is sent to *action*."""
    found = re.search(rf'<form [^>]*method="post" action="{re.escape(action)}">(.*?)</form>', page, re.DOTALL)
    assert found is not None, page
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', found[1]))


def test_a_verb_is_asked_for_confirmed_and_done_and_the_log_names_who(make_parts: MakeParts) -> None:
    parts = make_parts()
    ids = fill_queue(parts)

    async def visit(browser: httpx.AsyncClient) -> tuple[httpx.Response, ...]:
        listed = await browser.get("/en/operator/queue")
        fields = fields_of(listed.text, "/en/operator/queue/confirm")
        chosen = {**fields, f"m-{ids[0]}": "1", f"m-{ids[2]}": "1", "verb": "hold"}
        asked = await browser.post("/en/operator/queue/confirm", data=chosen)
        done = await browser.post("/en/operator/queue/change", data=fields_of(asked.text, "/en/operator/queue/change"))
        return asked, done, await browser.get(done.headers["location"])

    with answering(parts):
        before = fetched(parts, "/en/operator/queue?state=held").text
        asked, done, after = as_account(parts, visit)
    assert "Hold these messages (2)?" in asked.text
    assert before.count('name="m-') == 1  # nothing was done by asking
    assert done.headers["location"] == "/en/operator/queue?did=hold&count=2"
    assert "Held: 2." in after.text
    held = fetched(parts, "/en/operator/queue?state=held").text
    assert held.count('name="m-') == 3
    log = next(parts.where.log.glob("events-*.jsonl")).read_text()
    told = [json.loads(line) for line in log.splitlines() if "queue.held" in line]
    assert {each["queue_id"] for each in told} == {ids[0], ids[2]}
    assert {each["by"] for each in told} == {OPERATOR}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"verb": "explode", "m-ID": "1"}, 400),
        ({"verb": "hold"}, 400),
        ({"verb": "hold", "m-../x": "1"}, 400),
        ({"verb": "hold", "m-ID": "1", "form_token": "wrong"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["confirm", "change"])
def test_what_is_no_order_is_not_carried_out(
    make_parts: MakeParts, path: str, fields: dict[str, str], status: int
) -> None:
    parts = make_parts()
    ids = fill_queue(parts)

    async def visit(browser: httpx.AsyncClient) -> httpx.Response:
        page = await browser.get("/en/operator/queue")
        own = fields_of(page.text, "/en/operator/queue/confirm")
        sent = {name.replace("ID", ids[0]): value for name, value in fields.items()}
        return await browser.post(f"/en/operator/queue/{path}", data=own | sent)

    with answering(parts):
        assert as_account(parts, visit).status_code == status


def test_without_mail_processes_nothing_is_done_and_that_is_said(make_parts: MakeParts) -> None:
    parts = make_parts()
    ids = fill_queue(parts)

    async def visit(browser: httpx.AsyncClient) -> httpx.Response:
        page = await browser.get("/en/operator/queue")
        own = fields_of(page.text, "/en/operator/queue/confirm")
        return await browser.post("/en/operator/queue/change", data={**own, f"m-{ids[0]}": "1", "verb": "delete"})

    assert as_account(parts, visit).status_code == 503
    assert fetched(parts, f"/en/operator/queue/{ids[0]}").status_code == 200


def test_a_queue_that_is_away_is_told(make_parts: MakeParts) -> None:
    parts = make_parts()
    fill_queue(parts)
    database = next(Path(parts.where.queue).rglob("*.db"))
    database.write_bytes(b"no database at all" * 1000)
    answer = fetched(parts, "/ja/operator/queue")
    assert answer.status_code == 503
    assert "キューをいま読み取れません" in answer.text
    assert "読み取れません" in fetched(parts, "/ja/operator/").text
