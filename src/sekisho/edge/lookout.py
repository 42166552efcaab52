"""The watch at the gate: counters, samples and the explainer's word go in, changed verdicts come out; no rule is here.

`Lookout.run` is the loop of `sekisho edge watch`. The kernel's sets are read every so often in a thread, NFLOG packets
come as they come, the explainer's sightings by a local socket; whatever is missing of these is told and done without.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sekisho.store import write_atomically

from .counters import Differences, documents, sighting_of
from .feed import receive_sightings
from .follow import write_proposals
from .nflog import NflogReader, SampleError
from .nft import NftError, Run
from .outputs.metrics import metrics
from .policy import Policy
from .sightings import Sighting
from .state import SHARED
from .watcher import Verdict, Watcher

__all__ = ["Lookout"]

LOOK_EVERY: Final = 1.0  # seconds between two looks for changed verdicts
SAVE_EVERY: Final = 60.0
PROPOSE_EVERY: Final = 5.0
MAX_RECORD: Final = 1 << 30  # octets of one file of sightings

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Lookout:
    """What is watched, and what is done with it.

    Fields:
        load: reads the policy, at the start and on SIGHUP.
        run_nft: how the counters are read.
        watcher: judges.
        on_verdict: hears of each changed verdict.
        read_every: seconds between two readings of the counters.
        feed: where the explainer sends its sightings; None: nowhere.
        memory: where what the watcher knows survives a restart; None: it does not.
        record: directory to which sightings are added, one file a day; None: they are not kept.
        metrics_file: replaced every few seconds, for Prometheus' text file collector; None: none.
        proposals: replaced every few seconds with the lines for the quarantine set, for `follow`; None: none.
    """

    load: Callable[[], Policy]
    run_nft: Run
    watcher: Watcher
    on_verdict: Callable[[Verdict], None]
    read_every: float = 10.0
    feed: Path | None = None
    memory: Path | None = None
    record: Path | None = None
    metrics_file: Path | None = None
    proposals: Path | None = None
    samples_lost: int = 0
    _policy: Policy = field(init=False)
    _differences: Differences = field(init=False)

    async def run(self) -> None:
        """Watch until SIGTERM or SIGINT."""
        self._policy = self.load()
        self._differences = Differences()
        if self.memory is not None and self.memory.exists():
            with self.memory.open(encoding="utf-8") as lines:
                self.watcher.restore(lines)
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, over.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        with contextlib.ExitStack() as stack:
            self._open_samples(loop, stack)
            if self.feed is not None:
                transport = await receive_sightings(self.feed, self._saw)
                stack.callback(transport.close)
                _give_to_owner_of_directory(self.feed)
            tasks = [asyncio.create_task(self._count()), asyncio.create_task(self._tell())]
            ended = asyncio.create_task(over.wait())
            await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, ended):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        self._save()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _open_samples(self, loop: asyncio.AbstractEventLoop, stack: contextlib.ExitStack) -> None:
        try:
            reader = stack.enter_context(NflogReader(self._policy.log_group))
        except SampleError as error:
            log.warning("samples are done without; the counters suffice for verdicts: %s", error)
            return
        loop.add_reader(reader, self._take_samples, reader)
        stack.callback(loop.remove_reader, reader)

    def _take_samples(self, reader: NflogReader) -> None:
        for sample in reader.read(limit=2000):
            sighting = sighting_of(sample, self._policy)
            if sighting is not None:
                self._saw(sighting)
        self.samples_lost = reader.lost

    def _saw(self, sighting: Sighting) -> None:
        self.watcher.saw(sighting)

    async def _count(self) -> None:
        """Read the counters again and again; a failure is told and tried again."""
        while True:
            began = time.monotonic()
            try:
                listings = await asyncio.to_thread(documents, self.run_nft)
                sightings = self._differences.read(listings, self._policy, time.time())
            except NftError as error:
                log.warning("the counters could not be read: %s", error)
            else:
                for number, sighting in enumerate(sightings):
                    self.watcher.saw(sighting)
                    if number % 2000 == 1999:
                        await asyncio.sleep(0)
                if self.record is not None and sightings:
                    await asyncio.to_thread(_append, self.record, sightings)
            await asyncio.sleep(max(LOOK_EVERY, self.read_every - (time.monotonic() - began)))

    async def _tell(self) -> None:
        saved = time.monotonic()
        proposed = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = time.time()
            for verdict in self.watcher.changes(now):
                self.on_verdict(verdict)
            if self.metrics_file is not None:
                write_atomically(self.metrics_file, metrics(self.watcher, None, now).encode(), mode=0o644)
            if self.proposals is not None and time.monotonic() - proposed >= PROPOSE_EVERY:
                proposed = time.monotonic()
                write_proposals(self.proposals, self.watcher.proposals(now), now)
            if time.monotonic() - saved >= SAVE_EVERY:
                saved = time.monotonic()
                self._save()

    def _save(self) -> None:
        if self.memory is not None:
            rows = "".join(f"{line}\n" for line in self.watcher.snapshot())
            write_atomically(self.memory, rows.encode(), mode=SHARED)

    def _reload(self) -> None:
        try:
            self._policy = self.load()
        except Exception as error:  # the words of whatever it is; the old policy goes on
            log.warning("the policy was not read again: %s", error)


def _append(directory: Path, sightings: list[Sighting]) -> None:
    path = directory / f"sightings-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl"
    if path.exists() and path.stat().st_size > MAX_RECORD:
        return
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{sighting.to_json()}\n" for sighting in sightings)


def _give_to_owner_of_directory(path: Path) -> None:
    """The explainer, which writes to the socket, runs as the owner of its directory."""
    found = path.parent.stat()
    with contextlib.suppress(OSError):
        os.chown(path, found.st_uid, found.st_gid)
