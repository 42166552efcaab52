"""The supervisor: one single-threaded process that starts the workers, replaces them, reloads them and ends them.

It touches no mail and has no event loop: it waits for signals, for words from the workers and for its own timers. It
owns the listening sockets, so that a connection waiting behind a worker that died is served by the replacement.

Signals:
    SIGHUP            read and check the configuration again; on any mistake say so and keep the old one.
    SIGTERM, SIGINT   drain: accept nothing more, finish what is under way, end. A second one ends at once.

States: *starting* until every worker is ready (a failure ends the service: an operator is watching), *running*
(a worker that dies is replaced, at first at once, then ever more slowly), *draining*.
"""

from __future__ import annotations

import enum
import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sekisho import kernel

from . import notify
from .channel import Channel, Configuration, Drain, Failed, Ready, Reload, Reloaded
from .errors import StartError
from .sockets import Bound, close_all

FIRST_DELAY = 0.1  # seconds until a dead worker is replaced; doubled for each early death
LONGEST_DELAY = 30.0
STEADY = 30.0  # seconds; a worker that lived so long starts again with the first delay
START_TIMEOUT = 120.0  # recovery of a large spool comes before readiness
KILL_AFTER = 5.0  # seconds beyond the drain time before SIGKILL
PORTAL = -3  # number of the portal's process; -1 and -2 are the supervisor's and a command's
HANDLED = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Seat:
    """The place a worker fills: its number, how many mail workers there are, and the sockets it accepts on.

    Fields:
        number: of a mail process from 0 on, or `PORTAL`.
        listening: kind of listener and socket; open in the supervisor as well.
    """

    number: int
    workers: int
    listening: tuple[tuple[str, socket.socket], ...]


RunWorker = Callable[[Seat, Configuration, Channel], int]
"""Body of a worker process: returns its exit status."""


@dataclass(slots=True)
class Worker:
    """One running worker as the supervisor sees it; *pid* None while its replacement waits.

    Fields:
        body: what it does; returns its exit status.
    """

    seat: Seat
    body: RunWorker
    pid: int | None = None
    channel: Channel | None = None
    started: float = 0.0
    ready: bool = False
    early_deaths: int = 0
    start_again_at: float | None = None

    @property
    def is_portal(self) -> bool:
        """It carries no mail: nothing waits for it, and its failure is nobody else's."""
        return self.seat.number == PORTAL

    @property
    def name(self) -> str:
        """What it is called in words to the operator."""
        return "the portal" if self.is_portal else f"worker {self.seat.number}"


@dataclass(frozen=True, slots=True)
class Portal:
    """The process for the web pages, beside the mail workers.

    Fields:
        bound: its addresses, with one socket each.
    """

    run: RunWorker
    bound: Sequence[Bound]


class Phase(enum.Enum):
    """What the supervisor is doing."""

    STARTING = enum.auto()
    RUNNING = enum.auto()
    DRAINING = enum.auto()


@dataclass(slots=True)
class Reporter:
    """Where the supervisor's words go: a line for the person, an event for the log."""

    say: Callable[[str], None]
    emit: Callable[..., None] = field(default=lambda name, **fields: None)


class Supervisor:
    """Runs the workers until told to stop. Call `run` once, after binding and after giving up root."""

    def __init__(
        self,
        configuration: Configuration,
        bound: Sequence[Bound],
        workers: int,
        *,
        run_worker: RunWorker,
        read_configuration: Callable[[], tuple[Configuration, Sequence[str]]],
        reporter: Reporter,
        portal: Portal | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            read_configuration: reads the file again; returns the new configuration and the keys whose change waits for
                a restart; raises what `problems_of` explains.
            portal: started once the mail workers are ready, so that mail never waits for it.
        """
        self._configuration = configuration
        self._bound = [*bound, *(portal.bound if portal is not None else ())]
        self._read_configuration = read_configuration
        self._reporter = reporter
        self._phase = Phase.STARTING
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wakeup_writer = socket.socketpair()
        self._wakeup.setblocking(False)
        self._wakeup_writer.setblocking(False)
        self._problems: list[str] = []
        self._deadline: float | None = None
        self._reloads_pending = 0
        self._mail = [Worker(_seat(number, number, workers, bound), run_worker) for number in range(workers)]
        self._portal = Worker(_seat(PORTAL, 0, workers, portal.bound), portal.run) if portal is not None else None
        self._workers = [*self._mail, *([self._portal] if self._portal is not None else [])]

    def run(self) -> int:
        """Run until every worker has ended. Returns the exit status.

        Raises:
            StartError: a worker could not start; everything is stopped again.
        """
        previous = {number: signal.signal(number, _noticed) for number in HANDLED}
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._take_signals)
        try:
            gc.collect()
            gc.freeze()  # what is loaded by now stays shared with the workers: no collection writes to its pages
            self._deadline = time.monotonic() + START_TIMEOUT
            for worker in self._mail:
                self._start(worker)
            while not self._ended():
                for key, _ in self._selector.select(self._seconds_to_next_timer()):
                    key.data()
                self._run_timers(time.monotonic())
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._close()
        if self._problems:
            raise StartError(self._problems)
        return 0

    # Workers

    def _start(self, worker: Worker) -> None:
        ours, theirs = Channel.pair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os._exit(self._become(worker, ours, theirs))
        theirs.close()
        worker.pid, worker.channel = pid, ours
        worker.started, worker.ready, worker.start_again_at = time.monotonic(), False, None
        self._selector.register(ours.socket, selectors.EVENT_READ, lambda: self._take_words(worker))
        self._reporter.emit("worker.started", number=worker.seat.number, pid=pid)

    def _become(self, worker: Worker, parents_end: Channel, own_end: Channel) -> int:
        """The child's side of the fork: forget the supervisor's belongings, be the worker, and return its status."""
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the supervisor decides
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._selector.close()
            self._wakeup.close()
            self._wakeup_writer.close()
            parents_end.close()
            for other in self._workers:
                if other.channel is not None:
                    other.channel.close()
            own = {listening.fileno() for _, listening in worker.seat.listening}
            for address in self._bound:
                for listening in address.sockets:
                    if listening.fileno() not in own:
                        listening.close()
            return worker.body(worker.seat, self._configuration, own_end)
        except BaseException:
            traceback.print_exc()
            return 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def _take_words(self, worker: Worker) -> None:
        if worker.channel is None:
            return
        messages = worker.channel.receive()
        if messages is None:
            self._forget_channel(worker)  # it is ending; SIGCHLD tells how
            return
        for message in messages:
            if isinstance(message, Ready):
                worker.ready = True
                self._all_ready()
            elif isinstance(message, Failed):
                self._note_failure(worker, message.problem)
            elif isinstance(message, Reloaded):
                self._note_reloaded(worker, message.problem)

    def _all_ready(self) -> None:
        if self._phase is not Phase.STARTING or not all(worker.ready for worker in self._mail):
            return
        self._phase, self._deadline = Phase.RUNNING, None
        if self._portal is not None:
            self._start(self._portal)
        where = ", ".join(f"{address.endpoint} ({address.kind})" for address in self._bound)
        self._reporter.say(f"listening on {where}")
        self._reporter.emit("service.started", listening=where, workers=len(self._mail), kernel=kernel.presence())
        notify.ready(f"listening on {where}")

    def _note_failure(self, worker: Worker, problem: str) -> None:
        if self._phase is Phase.STARTING:
            if problem not in self._problems:
                self._problems.append(problem)
        else:
            self._reporter.say(f"{worker.name}: {problem}")

    def _note_reloaded(self, worker: Worker, problem: str | None) -> None:
        if problem is not None:
            self._reporter.say(f"{worker.name} keeps the old configuration: {problem}")
        if worker.is_portal:
            return
        self._reloads_pending -= 1
        if self._reloads_pending == 0:
            notify.ready("reloaded")
            self._reporter.say("reloaded")

    def _reap(self) -> None:
        for worker in self._workers:
            if worker.pid is None:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid != 0:
                self._buried(worker, os.waitstatus_to_exitcode(status))

    def _buried(self, worker: Worker, status: int) -> None:
        if worker.channel is not None:
            self._take_words(worker)  # what it said last
        self._forget_channel(worker)
        number, pid, lived = worker.seat.number, worker.pid, time.monotonic() - worker.started
        worker.pid, worker.ready = None, False
        if self._phase is Phase.DRAINING:
            return
        self._reporter.emit("worker.died", number=number, pid=pid, status=status)
        if self._phase is Phase.STARTING:
            if not self._problems:
                self._problems.append(f"worker {number} {_how_it_ended(status)} before it was ready")
            self._drain(0)
            return
        worker.early_deaths = 0 if lived >= STEADY else worker.early_deaths + 1
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** max(0, min(worker.early_deaths, 16) - 1))
        worker.start_again_at = time.monotonic() + delay
        self._reporter.say(f"{worker.name} (process {pid}) {_how_it_ended(status)}; replaced in {delay:.1f} s")

    def _forget_channel(self, worker: Worker) -> None:
        if worker.channel is not None:
            self._selector.unregister(worker.channel.socket)
            worker.channel.close()
            worker.channel = None

    # Signals and timers

    def _take_signals(self) -> None:
        try:
            numbers = set(self._wakeup.recv(4096))
        except BlockingIOError:
            return
        if signal.SIGCHLD in numbers:
            self._reap()
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            if self._phase is Phase.DRAINING:
                self._end_now()
            else:
                self._reporter.say("stopping: finishing what is under way (once more to stop at once)")
                self._drain(float(self._configuration.settings.service.drain_timeout))
        elif signal.SIGHUP in numbers and self._phase is Phase.RUNNING:
            self._reload()

    def _reload(self) -> None:
        notify.reloading()
        try:
            configuration, waiting = self._read_configuration()
        except StartError as error:
            for problem in error.problems:
                self._reporter.say(problem)
            self._reporter.say("nothing was reloaded: the old configuration stays in use until these are mended")
            self._reporter.emit("service.reloaded", ok=False, problems=list(error.problems))
            notify.ready("the configuration on disk has mistakes; the old one is in use")
            return
        if waiting:
            self._reporter.say(f"these take effect with the next restart: {', '.join(waiting)}")
        self._configuration = configuration
        self._reloads_pending = 0
        for worker in self._workers:
            if worker.channel is not None and worker.channel.send(Reload(configuration)) and not worker.is_portal:
                self._reloads_pending += 1
        self._reporter.emit("service.reloaded", ok=True)

    def _drain(self, seconds: float) -> None:
        self._phase = Phase.DRAINING
        self._deadline = time.monotonic() + seconds + KILL_AFTER
        notify.stopping("draining")
        self._reporter.emit("service.stopping", seconds=seconds)
        close_all(self._bound)
        for worker in self._workers:
            worker.start_again_at = None
            if worker.channel is not None:
                worker.channel.send(Drain(seconds))

    def _end_now(self) -> None:
        self._deadline = time.monotonic() + KILL_AFTER
        for worker in self._workers:
            if worker.channel is not None:
                worker.channel.send(Drain(0))

    def _seconds_to_next_timer(self) -> float | None:
        times = [worker.start_again_at for worker in self._workers if worker.start_again_at is not None]
        if self._deadline is not None:
            times.append(self._deadline)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _run_timers(self, now: float) -> None:
        for worker in self._workers:
            if worker.start_again_at is not None and worker.start_again_at <= now:
                self._start(worker)
        if self._deadline is None or now < self._deadline:
            return
        if self._phase is Phase.STARTING:
            slow = [str(worker.seat.number) for worker in self._mail if not worker.ready]
            self._problems.append(f"worker {', '.join(slow)} was not ready within {START_TIMEOUT:.0f} s")
            self._drain(0)
            return
        for worker in self._workers:
            if worker.pid is not None:
                os.kill(worker.pid, signal.SIGKILL)
        self._deadline = now + KILL_AFTER

    def _ended(self) -> bool:
        return self._phase is Phase.DRAINING and all(worker.pid is None for worker in self._workers)

    def _close(self) -> None:
        for worker in self._workers:
            self._forget_channel(worker)
        self._selector.close()
        self._wakeup.close()
        self._wakeup_writer.close()


def _seat(number: int, position: int, workers: int, bound: Sequence[Bound]) -> Seat:
    return Seat(number, workers, tuple((address.kind, address.sockets[position]) for address in bound))


def _noticed(number: int, frame: object) -> None:
    """Do nothing: the wake-up descriptor carries the signal into the loop."""


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
