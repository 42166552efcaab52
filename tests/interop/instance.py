"""Sekisho itself, as an operator runs it: a file, `sekisho init`, `sekisho account add`, `sekisho serve`.

The names of the settings that the tests use stand in this module alone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import sekisho

from .certificates import Pair
from .letter import Submission
from .maildir import Maildir
from .processes import Daemon, free_port, run, wait_for

__all__ = ["Instance", "Settings", "merged", "toml"]

Settings = Mapping[str, object]

SOURCE = Path(sekisho.__file__).parent.parent


def merged(settings: Settings, changes: Settings) -> dict[str, object]:
    """Return *settings* with *changes* in it, table by table."""
    result = dict(settings)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def toml(settings: Settings, prefix: str = "") -> str:
    """Write *settings* as TOML: values first, then each table under its whole name."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not _is_table(value)]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{prefix}{key}]", toml(value, f"{prefix}{key}.")]
        elif isinstance(value, list) and _is_table(value):
            for each in value:
                lines += ["", f"[[{prefix}{key}]]", toml(each, f"{prefix}{key}.")]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


class Instance:
    """One installation below *directory*, on loopback ports of its own.

    *domain* is local, with a Maildir for each account; *changes* are merged into the settings.
    """

    def __init__(
        self,
        directory: Path,
        pair: Pair,
        authority: Path,
        *,
        domain: str = "home.test",
        mx_port: int | None = None,
        changes: Settings | None = None,
    ) -> None:
        self.directory = directory
        self.domain = domain
        self.hostname = f"mail.{domain}"
        self.config = directory / "sekisho.toml"
        self.data = directory / "data"
        self.submission_port, self.submissions_port = free_port(), free_port()
        self.mx_port = mx_port or free_port()
        self._authority = authority
        self._daemon: Daemon | None = None
        self._starts = 0
        self._is_wrapped = False
        ports = {"submission": self.submission_port, "submissions": self.submissions_port, "mx": self.mx_port}
        settings: dict[str, object] = {
            "hostname": self.hostname,
            "language": "en",
            "service": {"directory": str(self.data), "workers": 2, "drain_timeout": "3s"},
            "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
            "listener": {kind: {"addresses": [f"127.0.0.1:{port}"]} for kind, port in ports.items()},
            "policy": {"messages_per_hour": 0, "recipients_per_hour": 0, "auth_delay": "50ms"},
            "queue": {"minimum_free": "1MiB"},
            "local": {"domains": [domain]},
        }
        if os.geteuid() == 0:
            settings = merged(settings, {"service": {"user": _service_user()}})
        self.settings = merged(settings, changes or {})
        self.write()

    def write(self, changes: Settings | None = None) -> None:
        """Write the configuration file, with *changes* for good."""
        self.settings = merged(self.settings, changes or {})
        self.config.write_text(toml(self.settings))

    def cli(self, *words: str | Path, text: str = "", wrapper: Sequence[str] = ()) -> CompletedProcess[bytes]:
        """Run a subcommand with this configuration and *text* on its standard input; the status is unjudged."""
        command = [*wrapper, *_PROGRAM, *words, "--config", self.config]
        return run(command, octets=text.encode(), env=_ENVIRONMENT, cwd=self.directory)

    def did(self, *words: str | Path, text: str = "") -> str:
        """Run a subcommand that has to succeed, and return what it printed."""
        done = self.cli(*words, text=text)
        assert done.returncode == 0, f"sekisho {words}: {done.stderr.decode()}"
        return done.stdout.decode()

    def initialize(self) -> None:
        """Make directories and keys, as `sekisho init` does beside a configuration that is there already."""
        user = ["--user", str(_service_user())] if os.geteuid() == 0 else []
        self.did("init", "--hostname", self.hostname, "--domain", self.domain, "--no-account", *user)

    def add_account(self, login: str, password: str, *options: str) -> Submission:
        """Add an account, and return how it submits."""
        self.did("account", "add", login, *options, text=password + "\n")
        return Submission(self.submission_port, self.submissions_port, self._authority, login, password)

    def start(self, *, wrapper: Sequence[str | Path] = (), seconds: float = 30.0) -> None:
        """Start the service and wait until it says READY, the way it tells systemd."""
        self._starts += 1
        self._is_wrapped = bool(wrapper)
        path = self.directory / f"notify-{self._starts}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            path.chmod(0o666)
            notify.settimeout(0.1)
            env = {**_ENVIRONMENT, "NOTIFY_SOCKET": str(path), "SSL_CERT_FILE": str(self._authority)}
            command = [*wrapper, *_PROGRAM, "serve", "--config", self.config]
            self._daemon = daemon = Daemon(command, self.directory / "output", env=env, cwd=self.directory)

            def is_ready() -> bool:
                assert daemon.is_running(), f"sekisho serve ended with {daemon.process.poll()}:\n{daemon.output()}"
                try:
                    return b"READY=1" in notify.recv(4096)
                except TimeoutError:
                    return False

            try:
                wait_for("sekisho to be ready", is_ready, seconds=seconds)
            except BaseException:
                daemon.kill()
                raise

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None, "not started"
        return self._daemon

    @property
    def supervisor(self) -> int:
        """The process id of the service's first process, also when a wrapper such as strace started it."""
        return _children(self.daemon.pid)[0] if self._is_wrapped else self.daemon.pid

    def stop(self) -> int:
        """End it as systemd does, and return its status."""
        if self.daemon.is_running():
            os.kill(self.supervisor, signal.SIGTERM)
        return self.daemon.wait(seconds=20)

    def kill(self) -> None:
        """Kill every process of the service in one instant."""
        self.daemon.kill()

    def reload(self) -> None:
        os.kill(self.supervisor, signal.SIGHUP)

    def workers(self) -> list[int]:
        """Return the process ids of the mail processes."""
        return _children(self.supervisor)

    def mailbox(self, login: str) -> Maildir:
        """Return the local Maildir of an account."""
        return Maildir(self.data / "mail" / login)

    def events(self, *, about: str = "", **facts: object) -> list[dict[str, object]]:
        """Return the events logged so far that have all of *facts* and the text *about* somewhere in them."""
        found = []
        for file in sorted((self.data / "log").glob("events-*.jsonl")):
            for line in file.read_text().splitlines():
                if about not in line:
                    continue
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # cut off where the disk was full
                if all(event.get(name) == value for name, value in facts.items()):
                    found.append(event)
        return found

    def mechanism_used(self, recipient: str) -> object:
        """Return the mechanism of the session in which a message for *recipient* was accepted, once it is logged."""

        def logged() -> list[object]:
            sessions = {each["session"] for each in self.events(event="message.accepted", about=recipient)}
            return [each["mechanism"] for each in self.events(event="auth.accepted") if each["session"] in sessions]

        return wait_for(f"the login of the letter for {recipient}", logged)[-1]

    def wait_for_event(self, *, about: str = "", **facts: object) -> dict[str, object]:
        """Return the last event that `events` finds, once there is one."""
        return wait_for(f"an event {facts} {about}", lambda: self.events(about=about, **facts))[-1]


_PROGRAM = (sys.executable, "-m", "sekisho")
_ENVIRONMENT = {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}


def _service_user() -> str:
    """Return whom the service becomes: nobody, unless nobody may not even read the interpreter and the source."""
    for path in (Path(sys.executable).resolve(), Path(sys.prefix), SOURCE):
        for each in (path, *path.parents):
            if not each.stat().st_mode & stat.S_IXOTH:
                return "root"
    return "nobody"


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.name))
    return sorted(found)
