"""`sekisho demo`: a real instance on unprivileged ports that sends real messages through itself and shows them.

It configures and starts the service exactly as an operator would (`initialize`, then ``sekisho serve`` in a process of
its own), then is a mail client: one message through submission with STARTTLS and AUTH, one through submissions.
"""

from __future__ import annotations

import contextlib
import email.policy
import email.utils
import json
import os
import pwd
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

from sekisho.store import write_atomically

from .errors import StartError, SuperviseError
from .init import Answers, initialize
from .privileges import Identity
from .sections import Places, Settings, listeners
from .stores import open_accounts

PORTS = {"submission": 5870, "submissions": 4650, "mx": 2525}
PORTAL_PORT = 8080
GUIDE = {
    "name_ja": "例示ネットワーク",
    "name_en": "Example Network",
    "contact_ja": "情報センター窓口 内線1234",
    "contact_en": "help desk, extension 1234",
}
HOST = "localhost"
HOSTNAME = "mail.example.test"
DOMAIN = "example.test"
SENDER, RECIPIENT = f"rin@{DOMAIN}", f"aoi@{DOMAIN}"
START_TIMEOUT = 60.0
ARRIVAL_TIMEOUT = 30.0
STOP_TIMEOUT = 40.0


class DemoFailed(SuperviseError):
    """The demonstration did not come to its end; the message says at which step and why."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message found where it was to arrive."""

    path: Path
    size: int
    header: str


@dataclass(frozen=True, slots=True)
class Instance:
    """A running demonstration: its configuration and the passwords of its two accounts."""

    config: Path
    settings: Settings
    where: Places
    passwords: dict[str, str]
    process: subprocess.Popen[bytes]

    def port(self, kind: str) -> int:
        """Return the port of one kind of listener."""
        return listeners(self.settings)[kind].addresses[0].port

    @property
    def portal(self) -> str | None:
        """Where a browser on this machine finds the portal; None when a configuration of before has none."""
        found = self.settings.portal.addresses
        return f"http://{HOST}:{found[0].port}/" if found else None


@contextlib.contextmanager
def running(directory: Path | None, passwords: Callable[[], str]) -> Iterator[Instance]:
    """Configure an instance in *directory* (None: a temporary one), start it, and stop it at the end.

    Args:
        passwords: makes a new password.

    Raises:
        StartError: it did not start.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sekisho-demo-")))
        else:
            base = directory.absolute()
            base.mkdir(parents=True, exist_ok=True)
        identity = _identity(base)
        if identity is not None and identity.uid:
            os.chown(base, identity.uid, identity.gid)
        heard = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        heard.bind("")  # the kernel picks an abstract name
        instance = _configure(base, identity, passwords, heard)
        stack.callback(_stop, instance.process)
        _wait_until_ready(instance.process, heard, base)
        yield instance


def _identity(base: Path) -> Identity | None:
    """Choose whom the service becomes when root starts the demonstration: nobody, if nobody can reach the files."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    own_code = Path(__file__).resolve()
    library = Path(os.__file__).resolve()  # the portal loads its part after root is given up
    programs = (own_code, Path(sys.executable), Path(sys.prefix), library)
    needed = {*base.resolve().parents, *(parent for path in programs for parent in path.parents)}
    if all(directory.stat().st_mode & 0o001 for directory in needed):
        return Identity("nobody", nobody.pw_uid, nobody.pw_gid)
    return Identity("root", 0, 0)


def _configure(
    base: Path, identity: Identity | None, new_password: Callable[[], str], heard: socket.socket
) -> Instance:
    config = base / "sekisho.toml"
    changes = {f"listener.{kind}.addresses": json.dumps([f"127.0.0.1:{_free(port)}"]) for kind, port in PORTS.items()}
    changes["portal.addresses"] = json.dumps([f"127.0.0.1:{_free(PORTAL_PORT)}"])
    changes |= {f"guide.{key}": json.dumps(text, ensure_ascii=False) for key, text in GUIDE.items()}
    changes["language"] = json.dumps("ja" if os.environ.get("LANG", "").startswith("ja") else "en")
    changes["local.postmaster"] = json.dumps(SENDER)
    if identity is not None:
        changes["service.user"] = json.dumps(identity.name)
    answers = Answers(config, HOSTNAME, DOMAIN, "data", changes, names=(HOST,))
    written = initialize(answers, identity)
    passwords = _accounts(written.settings, written.where, base / "passwords.json", new_password)
    process = _start(config, base, heard)
    return Instance(config, written.settings, written.where, passwords, process)


def _free(preferred: int) -> int:
    """Return *preferred*, or a port that the kernel finds free when it is taken."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StartError(["no free port on 127.0.0.1"])


def _accounts(settings: Settings, where: Places, kept: Path, new_password: Callable[[], str]) -> dict[str, str]:
    """Make the two accounts; their passwords are kept beside them, so that the same client works at the next start."""
    passwords: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    with open_accounts(settings, where) as store:
        for login in (SENDER, RECIPIENT):
            if login not in passwords:
                passwords[login] = new_password()
                store.add(login, passwords[login])
    write_atomically(kept, json.dumps(passwords, indent=2).encode())
    return passwords


def _start(config: Path, base: Path, heard: socket.socket) -> subprocess.Popen[bytes]:
    """Start the service as an init system would: it tells its state to *heard*."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SEKISHO_")}
    environment["NOTIFY_SOCKET"] = "@" + str(heard.getsockname()[1:], "ascii")
    with (base / "service.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "sekisho", "serve", "--config", str(config)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours: the service is told to drain
        )


def _wait_until_ready(process: subprocess.Popen[bytes], heard: socket.socket, base: Path) -> None:
    heard.settimeout(0.2)
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(TimeoutError):
            if b"READY=1" in heard.recv(4096):
                return
    words = (base / "service.log").read_text(errors="replace").strip()
    raise StartError(
        [f"the service did not start: {line}" for line in words.splitlines()] or ["the service did not start"]
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def trusting(certificate: Path) -> ssl.SSLContext:
    """Return a client's TLS context that trusts the instance's own certificate, and checks it and its name."""
    return ssl.create_default_context(cafile=str(certificate))


def send_through_submission(instance: Instance, message: EmailMessage) -> None:
    """Send as a mail client does on 587: STARTTLS, then AUTH."""
    with smtplib.SMTP(HOST, instance.port("submission"), timeout=ARRIVAL_TIMEOUT) as client:
        client.starttls(context=trusting(instance.where.certificate))
        client.login(SENDER, instance.passwords[SENDER])
        client.send_message(message)


def send_through_submissions(instance: Instance, message: EmailMessage) -> None:
    """Send as a mail client does on 465: TLS from the first octet, then AUTH."""
    context = trusting(instance.where.certificate)
    with smtplib.SMTP_SSL(HOST, instance.port("submissions"), timeout=ARRIVAL_TIMEOUT, context=context) as client:
        client.login(SENDER, instance.passwords[SENDER])
        client.send_message(message)


WAYS: dict[str, tuple[str, Callable[[Instance, EmailMessage], None]]] = {
    "submission": ("STARTTLS and AUTH", send_through_submission),
    "submissions": ("TLS from the first octet and AUTH", send_through_submissions),
}


def send(instance: Instance, kind: str) -> str:
    """Send one message through the listener *kind* and return its Message-ID.

    Raises:
        DemoFailed: it was not accepted; the server's words are in the message.
    """
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"] = f"Rin <{SENDER}>", f"Aoi <{RECIPIENT}>"
    message["Subject"] = f"Through port {instance.port(kind)} \N{EN DASH} 関所"
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = email.utils.make_msgid(domain=DOMAIN)
    message.set_content(f"This message was submitted with {WAYS[kind][0]} and kept safe before its 250.\n")
    try:
        WAYS[kind][1](instance, message)
    except (OSError, smtplib.SMTPException) as error:
        raise DemoFailed(f"port {instance.port(kind)} did not take the message: {error}") from error
    return str(message["Message-ID"])


def wait_for(instance: Instance, message_id: str) -> Arrived:
    """Wait until the message is in the recipient's Maildir.

    Raises:
        DemoFailed: it did not come in time; where to look is in the message.
    """
    end = time.monotonic() + ARRIVAL_TIMEOUT
    while time.monotonic() < end:
        for path in instance.where.maildir.glob("*/new/*"):
            with contextlib.suppress(FileNotFoundError):
                octets = path.read_bytes()
                if message_from_bytes(octets)["Message-ID"] == message_id:
                    header = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
                    return Arrived(path, len(octets), header.decode("utf-8", "replace"))
        time.sleep(0.05)
    raise DemoFailed(
        f"{message_id} was accepted but did not arrive within {ARRIVAL_TIMEOUT:.0f} s; "
        f"look at it with: sekisho queue list --config {instance.config}"
    )
