"""The backend and its reading of nft's words, without a kernel: a scripted nft on the port."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.edge import listing as listings
from sekisho.edge.batch import batch, garbage, held
from sekisho.edge.listing import compare, foreign, tables
from sekisho.edge.nft import Absent, KernelLacks, Nft, NftError, NftMissing, NoPrivilege, explained
from sekisho.edge.nftables import OWN, Backend, Candidate
from sekisho.edge.state import digest

RULES = """\
add table inet sekisho_edge
delete table inet sekisho_edge
table inet sekisho_edge {
	set exempt4 {
		type ipv4_addr
		flags interval
		elements = {
			192.0.2.1, 192.0.2.2,
			198.51.100.0/24,
		}
	}
	map lines {
		type ifname : verdict
		elements = {
			"ppp*" : goto line_0,
		}
	}
	chain verdict {
		type filter hook prerouting priority -288; policy accept;
		iifname vmap @lines
		tcp dport 25 drop
	}
	chain line_0 {
		ip saddr @exempt4 return
	}
}
add table inet sekisho_count
add set inet sekisho_count seen { type ipv4_addr; flags dynamic; }
add chain inet sekisho_count count { type filter hook prerouting priority -289; policy accept; }
"""


class Script:
    """An nft that says what the test wants, and remembers what it was asked."""

    commits: ClassVar[list[str]] = []

    def __init__(self, listings: dict[str, list[dict[str, object]]] | None = None) -> None:
        self.listings = listings or {}
        self.asked: list[tuple[Sequence[str], str]] = []
        self.refuse: list[NftError] = []

    def __call__(self, arguments: Sequence[str], text: str = "", /) -> str:
        self.asked.append((arguments, text))
        if "-f" in arguments and self.refuse:
            raise self.refuse.pop(0)
        if list(arguments) == ["-f", "-"]:
            self.commits.append(text)
        if "list" in arguments:
            name = " ".join(arguments[arguments.index("list") + 2 :])
            if name and name not in self.listings:
                raise Absent("no such table")
            return json.dumps({"nftables": self.listings.get(name, [])})
        return ""

    def committed(self) -> list[str]:
        return self.commits


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else changes rules: the kernel counts our changes alone."""
    monkeypatch.setattr("sekisho.edge.nftables.generation", lambda: 1 + len(Script.commits))
    Script.commits.clear()


@contextlib.contextmanager
def no_guard(directory: Path) -> Iterator[None]:
    yield


def backend(tmp_path: Path, script: Script) -> Backend:
    return Backend(tmp_path / "state", run=script, start_guard=no_guard)


def made(text: str = RULES) -> Candidate:
    return Candidate(text, "test", 1, "2027-01-01")


def test_the_first_version_is_given_in_one_transaction_after_a_check(tmp_path: Path) -> None:
    script = Script()
    candidate = made()
    backend(tmp_path, script).apply(candidate, who="rin", confirm_within=None)
    changes = [(list(arguments), text) for arguments, text in script.asked if "-f" in arguments]
    assert [arguments for arguments, _ in changes] == [["-c", "-f", "-"], ["-f", "-"]]
    assert changes[1][1].endswith(f"add chain inet sekisho_edge edge_version_{candidate.id}\n")


def test_nobody_elses_table_is_ever_named(tmp_path: Path) -> None:
    script = Script({"inet sekisho_edge": [], "inet sekisho_count": []})
    one = backend(tmp_path, script)
    one.apply(made(), who="rin", confirm_within=None, force_drift=True)
    one.rollback(who="rin")
    for text in script.committed():
        assert "flush ruleset" not in text
        for line in text.splitlines():
            if line.startswith(("add", "delete", "flush", "table")):
                assert " inet sekisho_edge" in line or " inet sekisho_count" in line, line


OLD = {"chain": {"verdict", "gone", "lines_0_11112222a", "edge_version_1111222233334444"},
       "set": {"exempt4_11112222a"}, "map": {"lines_11112222a"}}  # fmt: skip


def suffix(text: str = RULES) -> str:
    return f"_{digest(text)[:8]}a"


def test_a_version_is_added_under_its_own_names_then_led_to_then_the_old_one_is_removed() -> None:
    """A packet under way must find the old maps filled, and the new ones only by way of the new rules."""
    change = batch(RULES, {"inet sekisho_edge": OLD, "inet sekisho_count": {}})
    assert change.clean == ""
    assert f"add set inet sekisho_edge exempt4{suffix()} {{" in change.prepare
    assert f"map lines{suffix()} {{" in change.prepare
    assert f'"ppp*" : goto line_0{suffix()},' in change.prepare
    assert "hook" not in change.prepare
    assert "chain verdict {" in change.switch
    assert f"iifname vmap @lines{suffix()}" in change.switch
    assert "flush chain inet sekisho_edge verdict\n" in change.switch
    assert "flush chain inet sekisho_edge gone\n" in change.switch, "a hook that only the old version has"
    assert "delete chain inet sekisho_edge edge_version_1111222233334444\n" in change.switch
    assert f"add chain inet sekisho_edge edge_version_{digest(RULES)}\n" in change.switch
    assert "exempt4_1111" not in change.switch
    assert "delete table" not in change.prepare + change.switch + change.tidy
    assert change.tidy.splitlines() == [
        "flush chain inet sekisho_edge gone",
        "flush chain inet sekisho_edge lines_0_11112222a",
        "delete map inet sekisho_edge lines_11112222a",
        "delete set inet sekisho_edge exempt4_11112222a",
        "delete chain inet sekisho_edge gone",
        "delete chain inet sekisho_edge lines_0_11112222a",
    ]
    assert change.count() == 3


def test_addresses_and_other_words_are_not_taken_for_names() -> None:
    text = RULES.replace("tcp dport 25 drop", 'tcp dport 25 log prefix "lines" goto line_0')
    change = batch(text, {"inet sekisho_edge": OLD})
    assert f'log prefix "lines" goto line_0{suffix(text)}' in change.switch
    assert "192.0.2.1, 192.0.2.2," in change.prepare


def test_what_a_killed_change_left_is_removed_first() -> None:
    present = {**OLD, "set": {"exempt4_11112222a", "exempt4_99998888a"}, "chain": {*OLD["chain"], "x_99998888b"}}
    change = batch(RULES, {"inet sekisho_edge": present})
    assert change.clean.splitlines() == [
        "flush chain inet sekisho_edge x_99998888b",
        "delete set inet sekisho_edge exempt4_99998888a",
        "delete chain inet sekisho_edge x_99998888b",
    ]
    assert "99998888" not in change.tidy
    assert garbage({"inet sekisho_edge": OLD}) == ""
    assert garbage({}) == ""


def test_the_version_in_force_is_given_again_under_other_names() -> None:
    """Somebody changed it by hand; what is there must not be mixed with what should be."""
    present = {"chain": {"verdict", f"edge_version_{digest(RULES)}"}, "set": {f"exempt4{suffix()}"}}
    change = batch(RULES, {"inet sekisho_edge": present})
    assert f"add set inet sekisho_edge exempt4{suffix()[:-1]}b {{" in change.prepare
    assert f"delete set inet sekisho_edge exempt4{suffix()}\n" in change.tidy
    assert held({"inet sekisho_edge": present}) == digest(RULES)


def test_strange_things_in_the_count_table_are_removed_and_counters_are_not() -> None:
    present = {"inet sekisho_edge": OLD, "inet sekisho_count": {"set": {"seen", "theirs"}, "chain": {"count"}}}
    change = batch(RULES, present)
    assert "delete set inet sekisho_count theirs\n" in change.tidy
    assert "seen\n" not in change.tidy
    assert "flush set" not in change.switch


@pytest.mark.parametrize("text", ["", "flush ruleset\n", RULES.replace("\tset", "\tflowtable")])
def test_a_text_in_another_form_is_not_given_to_nft(text: str) -> None:
    with pytest.raises(NftError):
        batch(text, {})


def test_a_long_list_of_elements_is_checked_by_its_beginning_and_committed_whole(tmp_path: Path) -> None:
    rows = "".join(f"\t\t\t10.0.{n // 256}.{n % 256},\n" for n in range(500))
    script = Script()
    text = RULES.replace("\t\t\t192.0.2.1, 192.0.2.2,\n", rows)
    backend(tmp_path, script).apply(made(text), who="rin", confirm_within=None)
    check, commit = (text for arguments, text in script.asked if "-f" in arguments)
    assert "10.0.0.7" in check
    assert "10.0.0.8," not in check
    assert "tcp dport 25 drop" in check
    assert "10.0.1.243" in commit


def test_a_refusal_by_the_kernel_clears_the_pending_change(tmp_path: Path) -> None:
    script = Script()
    one = backend(tmp_path, script)
    script.refuse = [NftError("refused")]
    script.refuse.insert(0, NftError("refused"))
    with pytest.raises(NftError):
        one.apply(made(), who="rin", confirm_within=None)
    assert script.committed() == []
    assert one.state.pending() is None
    assert one.state.current().id == ""


def test_a_plan_tells_elements_by_set_and_rules_by_line(tmp_path: Path) -> None:
    one = backend(tmp_path, Script())
    plan = one.plan(made())
    assert plan.first
    assert {(change.name, len(change.added)) for change in plan.sets} == {("exempt4", 3), ("lines", 1)}
    one.apply(made(), who="rin", confirm_within=None)
    changed = RULES.replace("192.0.2.2,", "192.0.2.3,").replace("25 drop", "25 reject")
    plan = one.plan(made(changed))
    assert [(c.table, c.name, c.added, c.removed) for c in plan.sets] == [
        ("inet sekisho_edge", "exempt4", ("192.0.2.3",), ("192.0.2.2",))
    ]
    assert [line for line in plan.rules if line[0] in "+-" and line[1:3] != "++" and line[1:3] != "--"] == [
        "-\t\ttcp dport 25 drop",
        "+\t\ttcp dport 25 reject",
    ]


@pytest.mark.parametrize(
    ("words", "kind", "remedy"),
    [
        ("Operation not permitted (you must be root)\nnetlink: Error: cache", NoPrivilege, "run as root"),
        ("Error: No such file or directory\nlist table inet x\n ^^", Absent, ""),
        ("-:2:40-45: Error: Could not process rule: No such file or directory\nx", KernelLacks, "modprobe nft_log"),
        ("Unable to initialize Netlink socket: Protocol not supported", KernelLacks, "modprobe nf_tables"),
        ("-:1:1-3: Error: syntax error, unexpected string", NftError, "syntax error"),
        ("", NftError, "without a word"),
    ],
)
def test_what_nft_says_becomes_words_with_a_remedy(words: str, kind: type[NftError], remedy: str) -> None:
    error = explained(words, "add table inet x\nadd rule inet x c log group 5\n")
    assert type(error) is kind
    assert remedy in str(error)


def test_a_missing_nft_is_told_with_its_package() -> None:
    with pytest.raises(NftMissing, match="apt install nftables"):
        Nft(["/nonexistent/nft"])(["list", "tables"])


def listing(*objects: dict[str, object]) -> str:
    return json.dumps({"nftables": [{"metainfo": {}}, *objects]})


def _ranges(document: str) -> list[listings.Range]:
    return listings._comparable(tables(document)[("inet", "t")].elements["s"])[1]


def exempt(*elements: object, **more: object) -> dict[str, object]:
    return {"set": {"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "elem": list(elements), **more}}


def test_elements_are_compared_as_ranges() -> None:
    one = tables(
        listing(exempt({"prefix": {"addr": "192.0.2.0", "len": 25}}, {"prefix": {"addr": "192.0.2.128", "len": 25}}))
    )
    other = tables(listing(exempt({"range": ["192.0.2.0", "192.0.2.255"]})))
    assert compare(one, other) == []
    less = tables(listing(exempt({"prefix": {"addr": "192.0.2.0", "len": 25}})))
    assert [str(one) for one in compare(one, less)] == ["table inet t set s: lacks 192.0.2.128-192.0.2.255"]
    assert [str(one) for one in compare(less, one)] == ["table inet t set s: has besides 192.0.2.128-192.0.2.255"]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6))),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6))),
)
@settings(max_examples=200, deadline=None)
def test_the_differences_told_are_the_addresses_that_differ(
    ours: list[tuple[int, int]], theirs: list[tuple[int, int]]
) -> None:
    def document(pairs: list[tuple[int, int]]) -> str:
        return listing(exempt(*({"range": [f"192.0.2.{a}", f"192.0.2.{a + n}"]} for a, n in pairs)))

    def addresses(pairs: list[tuple[int, int]]) -> set[int]:
        return {number for a, n in pairs for number in range(a, a + n + 1)}

    lacking = list(listings._without(_ranges(document(ours)), _ranges(document(theirs))))
    assert {n & 0xFF for _, first, last in lacking for n in range(first, last + 1)} == addresses(ours) - addresses(
        theirs
    )


def test_elements_that_packets_add_are_not_compared() -> None:
    one = tables(listing(exempt(flags=["timeout"])))
    other = tables(listing(exempt("192.0.2.1", flags=["timeout"])))
    assert compare(one, other) == []


def test_counters_handles_and_use_make_no_difference_but_a_verdict_does() -> None:
    def rule(packets: int, handle: int, verdict: str) -> str:
        expressions = [{"counter": {"packets": packets, "bytes": 9}}, {verdict: None}]
        return listing({"rule": {"family": "inet", "table": "t", "chain": "c", "handle": handle, "expr": expressions}},
                       {"chain": {"family": "inet", "table": "t", "name": "c", "handle": handle}})  # fmt: skip

    assert compare(tables(rule(1, 5, "drop")), tables(rule(9, 8, "drop"))) == []
    assert len(compare(tables(rule(1, 5, "drop")), tables(rule(1, 5, "accept")))) == 1


def base(table: str, name: str, hook: str, priority: int) -> dict[str, object]:
    return {"chain": {"family": "inet", "table": table, "name": name, "hook": hook, "prio": priority, "type": "filter"}}


def meets(table: str, chain: str, port: object, verdict: Mapping[str, object], op: str = "==") -> dict[str, object]:
    match = {"match": {"op": op, "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": port}}
    return {"rule": {"family": "inet", "table": table, "chain": chain, "handle": 4, "expr": [match, verdict]}}


@pytest.mark.parametrize(
    ("port", "op", "found"),
    [(25, "==", 1), (587, "==", 0), ({"set": [587, 25]}, "==", 1), ({"range": [20, 30]}, "==", 1),
     (25, "!=", 0), (80, "!=", 1), ("@ports", "==", 1)],
)  # fmt: skip
def test_rules_of_others_that_translate_port_25_before_ours_are_found(port: object, op: str, found: int) -> None:
    ours = base("sekisho_edge", "explain", "prerouting", -101)
    document = listing(ours, base("x", "pre", "prerouting", -110), meets("x", "pre", port, {"redirect": None}, op))
    assert sum(one.bypasses for one in foreign(document, OWN)) == found


def test_rules_of_others_behind_ours_are_not_our_concern() -> None:
    ours = base("sekisho_edge", "verdict", "prerouting", -288)
    document = listing(ours, base("x", "pre", "prerouting", -100), meets("x", "pre", 25, {"redirect": None}))
    assert foreign(document, OWN) == []


def test_a_change_of_our_mark_between_our_chains_is_a_bypass() -> None:
    ours = [base("sekisho_edge", "classify", "prerouting", -290), base("sekisho_edge", "verdict", "prerouting", -288)]
    mangle = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 0}}
    document = listing(*ours, base("x", "m", "prerouting", -289), meets("x", "m", 25, mangle))
    assert [one.bypasses for one in foreign(document, OWN)] == [True]


def test_a_listing_that_is_none_is_an_error_of_nft_and_not_of_ours() -> None:
    for text in ("", "[]", '{"nftables": 5}', '{"nftables": [5]}'):
        with pytest.raises(NftError):
            tables(text)
