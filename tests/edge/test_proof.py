"""The proof in a process beside: the same answer, nothing kept without one, and no process left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from sekisho.edge.compile import compile_policy
from sekisho.edge.load import load_policy
from sekisho.edge.nftables import Backend, Candidate, Unproven
from sekisho.edge.policy import Policy
from sekisho.edge.proof import proven_beside
from sekisho.edge.ruleset import Ruleset

TODAY = date(2026, 12, 1)


@pytest.fixture
def policy() -> Policy:
    return load_policy(Path(__file__).parent / "example.toml", today=TODAY)


@pytest.fixture
def rules(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Ruleset:
    monkeypatch.setattr("sekisho.edge.proof.WORTH_A_PROCESS", 0)
    return compile_policy(policy, TODAY)


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")


def test_what_is_proven_is_proven_beside_too(policy: Policy, rules: Ruleset) -> None:
    before = children()
    with proven_beside(policy, rules, TODAY) as proof:
        assert children() != before
        proof()
        proof()
    assert children() == before


def test_what_is_not_proven_is_told_in_the_same_words(
    policy: Policy, rules: Ruleset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.edge.checker.prove", lambda *anything: ["a packet gets through"])
    with proven_beside(policy, rules, TODAY) as proof:
        for _ in range(2):
            with pytest.raises(Unproven, match="a packet gets through"):
                proof()


def test_a_proof_that_fails_or_dies_proves_nothing(
    policy: Policy, rules: Ruleset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*anything: object) -> list[str]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    for prove, words in ((lambda *anything: 1 / 0, "ZeroDivisionError"), (killed, "without a result")):
        monkeypatch.setattr("sekisho.edge.checker.prove", prove)
        with proven_beside(policy, rules, TODAY) as proof, pytest.raises(Unproven, match=words):
            proof()


def test_the_process_goes_with_the_block(policy: Policy, rules: Ruleset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.edge.checker.prove", lambda *anything: time.sleep(60))
    before, began = children(), time.monotonic()
    with pytest.raises(ValueError, match="drift"), proven_beside(policy, rules, TODAY):
        raise ValueError("drift")
    assert time.monotonic() - began < 10
    assert children() == before


def test_nothing_unproven_is_kept_or_given_to_the_kernel(tmp_path: Path) -> None:
    given: list[Sequence[str]] = []

    def run(arguments: Sequence[str], text: str = "", /) -> str:
        given.append(arguments)
        return '{"nftables": []}'

    def proof() -> None:
        raise Unproven("not so")

    rules = "add table inet sekisho_edge\ndelete table inet sekisho_edge\ntable inet sekisho_edge {\n}\n"
    candidate = Candidate(rules, "test", 1, "2026-12-01", proof=proof)
    backend = Backend(tmp_path / "state", run=run, names=dict)
    with pytest.raises(Unproven, match="not so"):
        backend.apply(candidate, who="rin", confirm_within=None)
    assert not [arguments for arguments in given if "-f" in arguments and "-c" not in arguments]
    assert list((tmp_path / "state" / "versions").iterdir()) == []
    assert backend.state.pending() is None
