"""The watch without a kernel: counters by a scripted nft, the explainer's word by a real socket, SIGTERM at the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import pytest

from sekisho.edge import lookout as module
from sekisho.edge.feed import SightingSender
from sekisho.edge.load import load_policy
from sekisho.edge.lookout import Lookout
from sekisho.edge.nflog import SampleError
from sekisho.edge.nft import Absent, NftError
from sekisho.edge.policy import Policy
from sekisho.edge.sightings import Kind, Sighting
from sekisho.edge.verdicts import Verdict, VerdictKind
from sekisho.edge.watcher import Watcher, WatcherSettings

WORM = "198.51.100.7"


def policy() -> Policy:
    return load_policy(Path(__file__).parent / "example.toml", today=date(2026, 12, 1))


class Kernel:
    """Sets that grow with each reading, as an infected line lets them."""

    def __init__(self) -> None:
        self.readings = 0
        self.broken = False

    def __call__(self, arguments: Sequence[str], text: str = "", /) -> str:
        name = arguments[-1]
        if self.broken:
            raise NftError("no nft today")
        if name == "packets4":
            self.readings += 1
        elif name != "attempts4":
            raise Absent("no such set")
        rows = [
            {"elem": {"val": {"concat": [WORM, 0, f"203.0.113.{n}"]}, "counter": {"packets": 2, "bytes": 120}}}
            for n in range(1, min(40 * (self.readings - 1), 250) + 1)
        ]
        return json.dumps({"nftables": [{"set": {"name": name, "timeout": 86400, "elem": rows}}]})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_samples(group: int) -> None:
        raise SampleError("not here")

    monkeypatch.setattr(module, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(module, "PROPOSE_EVERY", 0.02)
    monkeypatch.setattr(module, "NflogReader", no_samples)


class Watched:
    """A lookout with everything it can write, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kernel = Kernel()
        self.verdicts: list[Verdict] = []
        self.loads = 0
        self.watcher = Watcher(WatcherSettings(quarantine_after=0))  # type: ignore[arg-type]  # seconds
        (directory / "record").mkdir(exist_ok=True)
        self.lookout = Lookout(
            load=self.load,
            run_nft=self.kernel,
            watcher=self.watcher,
            on_verdict=self.verdicts.append,
            read_every=0.02,
            feed=directory / "watcher.sock",
            memory=directory / "watcher.jsonl",
            record=directory / "record",
            metrics_file=directory / "gate.prom",
            proposals=directory / "proposals.json",
        )

    def load(self) -> Policy:
        self.loads += 1
        if (self.directory / "wrong").exists():
            raise ValueError("a policy with a mistake")
        return policy()

    def run(self, until: Callable[[], object], before: Callable[[], None] = lambda: None) -> None:
        """Watch until a condition holds, then be told to end."""

        async def watch() -> None:
            task = asyncio.create_task(self.lookout.run())
            await asyncio.sleep(0.05)
            before()
            end = time.monotonic() + 10
            while not until() and not task.done() and time.monotonic() < end:  # noqa: ASYNC110 - files and logs tell no event
                await asyncio.sleep(0.01)
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 5)
            assert until(), "nothing came of it"

        asyncio.run(watch())


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_counters_become_a_verdict_a_record_metrics_and_a_proposal(watched: Watched, tmp_path: Path) -> None:
    def all_there() -> bool:
        proposals = tmp_path / "proposals.json"
        return bool(watched.verdicts) and proposals.exists() and WORM in proposals.read_text()

    watched.run(all_there)
    assert [(one.line, one.kind) for one in watched.verdicts] == [(WORM, VerdictKind.WORM_LIKE)]
    (record,) = (tmp_path / "record").iterdir()
    seen = [Sighting.from_json(line) for line in record.read_text().splitlines()]
    assert {one.line for one in seen} == {WORM}
    assert all(one.kind is Kind.COUNTED for one in seen)
    assert "worm-like" in (tmp_path / "gate.prom").read_text()


def test_what_was_there_before_the_first_reading_is_not_counted(watched: Watched) -> None:
    watched.kernel.readings = 9  # 250 destinations stand in the sets already, and no more come
    watched.run(lambda: watched.kernel.readings > 14)
    assert watched.verdicts == []
    assert len(watched.watcher) == 0


def test_a_kernel_that_cannot_be_read_is_told_and_tried_again(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.kernel.broken = True

    def mended() -> bool:
        if "no nft today" in caplog.text:
            watched.kernel.broken = False
        return bool(watched.verdicts)

    watched.run(mended)


def test_the_explainers_word_comes_by_the_socket(watched: Watched, tmp_path: Path) -> None:
    watched.kernel.broken = True

    def tell() -> None:
        sender = SightingSender(tmp_path / "watcher.sock")
        sender.send(Sighting("198.51.100.8", "home", ip_address("192.0.2.99"), time.time(), kind=Kind.EXPLAINED))
        sender.close()

    watched.run(lambda: watched.watcher.verdict("198.51.100.8", time.time()), tell)


def test_memory_outlives_the_process(watched: Watched, tmp_path: Path) -> None:
    watched.run(lambda: watched.verdicts)
    assert (tmp_path / "watcher.jsonl").stat().st_mode & 0o777 == 0o640
    again = Watched(tmp_path)
    again.kernel.broken = True
    again.run(lambda: again.watcher.verdict(WORM, time.time()))
    found = again.watcher.verdict(WORM, time.time())
    assert found is not None
    assert found.kind is VerdictKind.WORM_LIKE
    assert again.verdicts == [], "what was told is not told again"


def test_a_policy_with_a_mistake_leaves_the_old_one(
    watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def reload() -> None:
        (tmp_path / "wrong").touch()
        os.kill(os.getpid(), signal.SIGHUP)

    watched.run(lambda: "a policy with a mistake" in caplog.text and watched.verdicts, reload)
    assert watched.loads == 2


def test_a_mistake_of_ours_ends_the_watch_and_is_told(watched: Watched) -> None:
    def wrong(verdict: Verdict) -> None:
        raise RuntimeError("a mistake of ours")

    watched.lookout.on_verdict = wrong
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        watched.run(lambda: False)
