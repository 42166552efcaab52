"""The quarantine set without a kernel: which lines may be held, what the helper takes, how proposals are followed."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.config import ConfigErrors
from sekisho.edge.client import HelperError, Request
from sekisho.edge.document import DocumentError, decode, encode
from sekisho.edge.follow import Follower, write_proposals
from sekisho.edge.helper import serve_one
from sekisho.edge.holding import elements, structure
from sekisho.edge.lines import Lines, NotALine
from sekisho.edge.load import load_policy
from sekisho.edge.nft import Absent, NftError
from sekisho.edge.nftables import Backend
from sekisho.edge.policy import Policy, Quarantine, QuarantineAction
from sekisho.edge.quarantine import NoQuarantine
from sekisho.edge.quarantine import Quarantine as QuarantineSet
from sekisho.edge.verdicts import Measure, Proposal

HERE = Path(__file__).parent
TODAY = date(2026, 12, 1)
LIMIT = Quarantine(action=QuarantineAction.LIMIT, most_lines=3)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return replace(load_policy(HERE / "example.toml", today=TODAY), quarantine=LIMIT)


@pytest.mark.parametrize(
    ("text", "line", "element"),
    [
        ("198.51.100.7", "198.51.100.7", "198.51.100.7"),
        ("2001:db8:100:712::1", "2001:db8:100:700::/56", "2001:db8:100:700::/56"),
        ("2001:db8:100:700::/56", "2001:db8:100:700::/56", "2001:db8:100:700::/56"),
        ("2001:db8:400:1:2::3", "2001:db8:400:1::/64", "2001:db8:400:1::/64"),
        ("100.64.0.9:4112-4127", "100.64.0.9:4112-4127", "100.64.0.9 . 16"),
    ],
)
def test_a_line_is_found_by_its_key_or_an_address_of_it(policy: Policy, text: str, line: str, element: str) -> None:
    found = Lines(policy, TODAY).find(text)
    assert (found.line, found.element) == (line, element)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("198.51.100.17", "is exempt"),
        ("198.51.100.140", "fixed"),
        ("192.0.2.25", "no access network"),
        ("192.0.2.241", "no access network"),
        ("198.51.100.0/25", "more than one line"),
        ("2001:db8:100::/40", "more than one line"),
        ("100.64.0.9", "name the ports"),
        ("100.64.0.9:4113-4128", "the port belongs to 100.64.0.9:4112-4127"),
        ("100.64.0.9:4112-9999", "the port belongs to"),
        ("198.51.100.7:1-2", "share no address"),
        ("", "no line"),
        ("198.51.100.7 }; flush ruleset", "no line"),
        ("999.1.1.1:1-2", "no line"),
    ],
)
def test_who_may_not_be_held_is_told_why(policy: Policy, text: str, words: str) -> None:
    with pytest.raises(NotALine, match=words):
        Lines(policy, TODAY).find(text)


def test_an_exemption_within_a_line_spares_the_whole_line_until_it_ends(policy: Policy) -> None:
    exemption = policy.exemptions[0]._replace(expires=date(2026, 12, 31))
    prefix = Lines(policy, TODAY).find("2001:db8:100:700::/56").prefix
    within = replace(
        policy, exemptions=(exemption._replace(prefix=prefix._replace(first=prefix.first + 5, length=128)),)
    )
    with pytest.raises(NotALine, match="is exempt"):
        Lines(within, TODAY).find("2001:db8:100:700::/56")
    Lines(within, TODAY).find("2001:db8:100:800::/56")
    Lines(within, date(2027, 1, 1)).find("2001:db8:100:700::/56")


@given(st.text(max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_text_becomes_an_element_but_numbers(text: str) -> None:
    policy = replace(load_policy(HERE / "example.toml", today=TODAY), quarantine=LIMIT)
    try:
        element = Lines(policy, TODAY).find(text).element
    except NotALine:
        return
    assert set(element) <= set("0123456789abcdef.:/ ")


def test_servers_management_and_portal_come_before_any_limit(policy: Policy) -> None:
    told = replace(LIMIT, action=QuarantineAction.GARDEN, garden_port=8025, reachable=(ip_network("203.0.113.80/32"),))
    text = structure(replace(policy, quarantine=told))
    (reach,) = [line for line in text.splitlines() if line.startswith("\tset reach4 ")]
    assert all(own in reach for own in ("192.0.2.24/29", "192.0.2.40", "192.0.2.240/28", "203.0.113.80"))
    for chain in ("held4", "held6", "held_0ff0", "send", "lose"):
        first = text.partition(f"\tchain {chain} {{\n")[2].splitlines()[0]
        assert first.strip() in ("ip daddr @reach4 return", "ip6 daddr @reach6 return"), chain
    assert "redirect to :8025" in text
    limited = structure(policy)
    assert "type nat" not in limited, "no connection tracking for limits"
    assert "fib" not in limited


def test_elements_replace_all_that_was_there(policy: Policy) -> None:
    lines = Lines(policy, TODAY)
    text = elements(policy, [(lines.find("198.51.100.7"), 60), (lines.find("100.64.0.9:4112-4127"), 0)])
    assert "add element inet sekisho_quarantine opens4 { 198.51.100.7 timeout 60s }" in text
    assert "add element inet sekisho_quarantine lines_0ff0 { 100.64.0.9 . 16 timeout 1s }" in text
    assert text.count("flush set") == 9


# ------------------------------------------------------------------ the policy file and the helper's input


def test_the_policy_says_what_happens(tmp_path: Path) -> None:
    text = (HERE / "example.toml").read_text(encoding="utf-8")
    (tmp_path / "exemptions.csv").write_bytes((HERE / "exemptions.csv").read_bytes())
    path = tmp_path / "policy.toml"
    path.write_text(text + '\n[quarantine]\naction = "limit"\nafter = "20m"\nreachable = ["192.0.2.80"]\n')
    told = load_policy(path, today=TODAY).quarantine
    assert (told.action, told.after, told.reachable) == ("limit", 1200.0, (ip_network("192.0.2.80"),))
    path.write_text(text + '\n[quarantine]\naction = "garden"\nreachable = ["0.0.0.0/0"]\n')
    with pytest.raises(ConfigErrors) as refused:
        load_policy(path, today=TODAY)
    assert {error.key for error in refused.value.errors} == {"quarantine.garden_port", "quarantine.reachable"}


def test_the_document_carries_it_and_is_trusted_in_nothing(policy: Policy) -> None:
    told = replace(LIMIT, garden_port=80, reachable=(ip_network("2001:db8::80/128"),))
    assert decode(encode(replace(policy, quarantine=told)), today=TODAY).quarantine == told
    for key, value in (
        ("connections_per_second", "1; accept"),
        ("packets_per_second", 0),
        ("garden_port", 70000),
        ("reachable", ["0.0.0.0/0; accept"]),
        ("action", "accept"),
        ("after", True),
        ("most_lines", 10**9),
        ("strange", 1),
    ):
        head, _, columns = encode(policy).partition(b"\n")
        row = json.loads(head)
        row["quarantine"][key] = value
        with pytest.raises(DocumentError):
            decode(json.dumps(row).encode() + b"\n" + columns, today=TODAY)


def test_a_request_is_read_as_it_was_written_and_nothing_else_is() -> None:
    request = Request(
        "quarantine", force=True, add=(("192.0.2.7", 60.0),), release=("192.0.2.8",), spare=5.0, by="watch"
    )
    assert Request.parse(request.render()) == request
    for row in (
        {"add": "192.0.2.7"},
        {"add": [["192.0.2.7"]]},
        {"add": [["192.0.2.7", -1]]},
        {"add": [["192.0.2.7", 1e12]]},
        {"add": [["192.0.2.7", True]]},
        {"add": [["x" * 65, 60]]},
        {"add": [["192.0.2.7", 60]] * 501},
        {"release": [5]},
        {"spare": "long"},
        {"by": "root"},
    ):
        with pytest.raises(HelperError):
            Request.parse(json.dumps({"verb": "quarantine", **row}).encode())


# ------------------------------------------------------------------ file and kernel


class Kernel:
    """Holds one table by its marker, or refuses."""

    def __init__(self) -> None:
        self.marker = ""
        self.given: list[str] = []
        self.refuses = False

    def __call__(self, arguments: Sequence[str], text: str = "", /) -> str:
        if "list" in arguments:
            if not self.marker:
                raise Absent("nothing there")
            chain = {"family": "inet", "table": "sekisho_quarantine", "name": self.marker}
            return json.dumps({"nftables": [{"chain": chain}]})
        if self.refuses:
            raise NftError("no")
        self.given.append(text)
        added = [line.split()[-1] for line in text.splitlines() if line.startswith("add chain")]
        self.marker = added[0] if added else ""
        return ""


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def hold(found: QuarantineSet, policy: Policy, *lines: str, by: str = "watch", **how: Any) -> Any:
    return found.change(policy, TODAY, add=[(line, 600.0) for line in lines], by=by, who="rin", **how)


def test_chains_are_touched_only_when_the_policy_made_others(policy: Policy, kernel: Kernel, tmp_path: Path) -> None:
    found = QuarantineSet(Backend(tmp_path, run=kernel))
    hold(found, policy, "198.51.100.7")
    hold(found, policy, "198.51.100.8")
    hold(found, policy)
    assert [("chain held4" in text, text.count("198.51.100.7 ")) for text in kernel.given] == [(True, 3), (False, 3)]
    found.suit(replace(policy, quarantine=replace(LIMIT, packets_per_second=9)), TODAY, who="rin")
    assert "rate over 9/second" in kernel.given[-1]
    found.suit(replace(policy, quarantine=Quarantine()), TODAY, who="rin")
    assert not kernel.marker
    assert found.listed().held == ()
    events = [json.loads(line) for path in (tmp_path / "log").iterdir() for line in path.read_text().splitlines()]
    assert [(row["event"], row["line"]) for row in events] == [
        ("edge.quarantined", "198.51.100.7"),
        ("edge.quarantined", "198.51.100.8"),
        ("edge.released", "198.51.100.7"),
        ("edge.released", "198.51.100.8"),
    ]


def test_a_refusal_of_the_kernel_leaves_the_set_as_it_was(policy: Policy, kernel: Kernel, tmp_path: Path) -> None:
    found = QuarantineSet(Backend(tmp_path, run=kernel))
    hold(found, policy, "198.51.100.7")
    kernel.refuses = True
    with pytest.raises(NftError):
        hold(found, policy, "198.51.100.8")
    assert [row.line for row in found.listed().held] == ["198.51.100.7"]
    assert found.listed().agrees


def test_the_set_is_bounded_and_off_by_default(policy: Policy, kernel: Kernel, tmp_path: Path) -> None:
    found = QuarantineSet(Backend(tmp_path, run=kernel))
    done = hold(found, policy, *(f"198.51.100.{n}" for n in range(1, 6)))
    assert (len(done.added), len(done.refused)) == (3, 2)
    with pytest.raises(NoQuarantine, match="Remedy"):
        hold(found, replace(policy, quarantine=Quarantine()), "198.51.100.9")


def test_what_an_operator_released_the_watcher_may_not_take_again_at_once(
    policy: Policy, kernel: Kernel, tmp_path: Path
) -> None:
    found = QuarantineSet(Backend(tmp_path, run=kernel))
    hold(found, policy, "198.51.100.7")
    assert hold(found, policy, by="operator", release=["198.51.100.7"], spare=3600.0).released == ("198.51.100.7",)
    assert "spared" in hold(found, policy, "198.51.100.7").refused[0][1]
    assert hold(found, policy, "198.51.100.7", by="operator").added == ("198.51.100.7",)
    assert found.listed().spared == {}


def test_after_a_rollback_the_watcher_holds_nothing_until_the_next_apply(
    policy: Policy, kernel: Kernel, tmp_path: Path
) -> None:
    def ask(request: Request, sent: Policy | None = None) -> dict[str, Any]:
        octets = request.render() + (b"" if sent is None else encode(sent))
        answer: dict[str, Any] = json.loads(serve_one(io.BytesIO(octets).read, Backend(tmp_path, run=kernel), "rin"))
        return answer

    today = replace(policy, exemptions=(), waves=())
    request = Request("quarantine", force=True, add=(("198.51.100.7", 600.0),), by="watch")
    assert ask(request, today)["result"]["added"] == ["198.51.100.7"]
    assert ask(Request("rollback"))["ok"]
    assert not kernel.marker
    assert "rolled back" in ask(request, today)["error"]
    QuarantineSet(Backend(tmp_path, run=kernel)).suit(today, TODAY, who="rin")
    assert ask(request, today)["ok"]


def test_a_line_exempted_meanwhile_is_let_go_by_the_apply(policy: Policy, kernel: Kernel, tmp_path: Path) -> None:
    found = QuarantineSet(Backend(tmp_path, run=kernel))
    hold(found, policy, "198.51.100.7")
    prefix = Lines(policy, TODAY).find("198.51.100.7").prefix
    found.suit(replace(policy, exemptions=(policy.exemptions[0]._replace(prefix=prefix),)), TODAY, who="rin")
    assert found.listed().held == ()
    assert not kernel.marker


# ------------------------------------------------------------------ following


class Following:
    """A follower with a set that needs no kernel."""

    def __init__(self, policy: Policy, directory: Path) -> None:
        self.path = directory / "proposals.json"
        self.policy = policy
        self.set = QuarantineSet(Backend(directory, run=Kernel()))
        self.told: list[str] = []
        self.changes = 0
        self.follower = Follower(self.path, load=lambda: self.policy, ask=self.ask, tell=self.told.append)

    def ask(self, request: Request, policy: Policy | None = None) -> dict[str, Any]:
        request = Request.parse(request.render())
        if request.verb == "quarantined":
            listed = self.set.listed()
            return {
                "held": [{"line": r.line, "until": r.until, "by": r.by} for r in listed.held],
                "spared": listed.spared,
            }
        assert policy is not None
        self.changes += 1
        done = self.set.change(
            policy, TODAY, add=request.add, release=request.release, spare=request.spare, by=request.by, who="watch"
        )
        return {"added": done.added, "released": done.released, "refused": done.refused}

    def step(self, *lines: str, until: float = 1800.0, age: float = 0.0) -> list[str]:
        now = time.time()
        rows = [
            Proposal(line, "home", ip_network("192.0.2.7"), None, Measure.RATE_LIMIT, now - 700, now + until)
            for line in lines
        ]
        write_proposals(self.path, rows, now - age)
        self.follower.step(now)
        return [row.line for row in self.set.listed().held]


@pytest.fixture
def following(policy: Policy, tmp_path: Path) -> Following:
    return Following(policy, tmp_path)


def test_lines_are_held_as_long_as_they_are_proposed(following: Following) -> None:
    assert following.step("198.51.100.7", "198.51.100.8") == ["198.51.100.7", "198.51.100.8"]
    assert following.step("198.51.100.7", "198.51.100.8") == ["198.51.100.7", "198.51.100.8"]
    assert following.changes == 1, "nothing is done when nothing changed"
    assert following.step("198.51.100.8") == ["198.51.100.8"]
    assert following.told == ["added 198.51.100.7", "added 198.51.100.8", "released 198.51.100.7"]
    following.step("198.51.100.8", until=7200.0)
    assert following.set.listed().held[0].until > time.time() + 7000, "renewed in time"


def test_what_an_operator_holds_is_the_operators(following: Following) -> None:
    hold(following.set, following.policy, "198.51.100.9", by="operator")
    assert following.step("198.51.100.7") == ["198.51.100.9", "198.51.100.7"]
    assert following.step() == ["198.51.100.9"]


def test_a_silent_watcher_changes_nothing(following: Following) -> None:
    following.step("198.51.100.7")
    assert following.step(age=600.0) == ["198.51.100.7"], "its time in the kernel runs out by itself"
    following.path.write_text("{")
    following.follower.step(time.time())
    following.path.unlink()
    following.follower.step(time.time())
    assert following.changes == 1


def test_exempt_lines_are_not_held_and_not_asked_for_again_at_once(following: Following) -> None:
    assert following.step("198.51.100.17") == []
    following.step("198.51.100.17")
    assert following.changes == 1
    assert following.told == ["not held: 198.51.100.17 is exempt, and is never put into quarantine"]


def test_a_policy_without_quarantine_is_followed_by_doing_nothing(following: Following) -> None:
    following.policy = replace(following.policy, quarantine=Quarantine())
    assert following.step("198.51.100.7") == []
    assert following.changes == 0
