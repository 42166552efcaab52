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
from sekisho.edge.batch import Present, batch
from sekisho.edge.listing import compare, foreign, tables
from sekisho.edge.nft import Absent, KernelLacks, Nft, NftError, NftMissing, NoPrivilege, explained
from sekisho.edge.nftables import OWN, Backend, Candidate

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
		tcp dport 25 drop
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


def test_the_whole_text_is_given_in_one_transaction_after_a_check(tmp_path: Path) -> None:
    script = Script()
    candidate = made()
    backend(tmp_path, script).apply(candidate, who="rin", confirm_within=None)
    changes = [(list(arguments), text) for arguments, text in script.asked if "-f" in arguments]
    assert [arguments for arguments, _ in changes] == [["-c", "-f", "-"], ["-f", "-"]]
    assert changes[1][1] == f"{RULES}add chain inet sekisho_edge edge_version_{candidate.id}\n"


def test_nobody_elses_table_is_ever_named(tmp_path: Path) -> None:
    script = Script({"inet sekisho_count": [{"chain": {"name": "old", "table": "sekisho_count"}},
                                            {"set": {"name": "older", "table": "sekisho_count"}}]})  # fmt: skip
    one = backend(tmp_path, script)
    one.apply(made(), who="rin", confirm_within=None, force_drift=True)
    one.rollback(who="rin")
    for text in script.committed():
        assert "flush ruleset" not in text
        for line in text.splitlines():
            if line.startswith(("add", "delete", "flush", "table")):
                assert " inet sekisho_edge" in line or " inet sekisho_count" in line, line
    assert script.committed()[0].startswith("flush chain inet sekisho_count old\n")
    assert script.committed()[1] == "delete set inet sekisho_count older\ndelete chain inet sekisho_count old\n"


def test_what_both_versions_have_is_emptied_and_filled_in_place() -> None:
    """A packet under way in a map of a deleted table would find nothing there, and leave."""
    objects = {"chain": {"verdict", "old", "edge_version_0"}, "set": {"exempt4"}, "map": {"lines", "gone"}}
    made = batch(RULES, {"inet sekisho_edge": objects})
    assert "delete table" not in made.replace
    lines = made.replace.splitlines()
    assert set(lines[: lines.index("add table inet sekisho_edge")]) == {
        "flush map inet sekisho_edge lines",
        "flush set inet sekisho_edge exempt4",
        "flush chain inet sekisho_edge verdict",
        "flush chain inet sekisho_edge old",
    }
    assert "delete chain inet sekisho_edge edge_version_0" in lines, "one version at a time says that it holds"
    assert made.tidy == "delete map inet sekisho_edge gone\ndelete chain inet sekisho_edge old\n"


def test_the_first_apply_has_nothing_to_empty_and_nothing_to_tidy() -> None:
    made = batch(RULES, {})
    assert made.tidy == ""
    assert made.replace.startswith(RULES)


def test_the_name_of_a_version_does_not_depend_on_what_was_there() -> None:
    presents: list[Present] = [{}, {"inet sekisho_edge": {"chain": {"x"}}}]
    names = {line for present in presents
             for line in batch(RULES, present).replace.splitlines() if "edge_version" in line}  # fmt: skip
    assert names == {f"add chain inet sekisho_edge edge_version_{made().id}"}


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
