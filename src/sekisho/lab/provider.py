"""The provider's mail server: Sekisho itself, configured and started as an operator does it."""

from __future__ import annotations

import contextlib
import json
import pwd
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sekisho.supervise.init import Answers, initialize
from sekisho.supervise.privileges import Identity
from sekisho.supervise.stores import open_accounts

from .errors import LabFailed
from .place import START_SECONDS, Place, program
from .processes import wait_for


class Provider:
    """`sekisho serve` on 25, 587 and 465 for *domain*, with an account for each of *users* (address → password)."""

    def __init__(self, place: Place, hostname: str, domain: str, users: Mapping[str, str]) -> None:
        self._place = place
        self._hostname = hostname
        self._domain = domain
        self._users = users

    @property
    def certificate(self) -> Path:
        """The certificate that its clients have to trust."""
        return self._place.directory / "tls/certificate.pem"

    def mailbox(self, login: str) -> Path:
        """Where what arrived for *login* is."""
        return self._place.directory / "data/mail" / login / "new"

    def start(self, resolvers: Sequence[str], relayed: Sequence[str]) -> None:
        """Start it; it is ready when this returns.

        Args:
            resolvers: where it looks names up, as address:port.
            relayed: networks whose hosts may send through port 25 without AUTH.
        """
        directory = self._place.directory
        directory.mkdir(parents=True, exist_ok=True)
        identity = _service_user()
        key = self.certificate.with_name("key.pem")
        changes = {
            "language": json.dumps("en"),
            "service.user": json.dumps(identity.name),
            "service.workers": "1",
            "service.drain_timeout": json.dumps("2s"),
            "tls.certificate": json.dumps(str(self.certificate)),
            "tls.key": json.dumps(str(key)),
            "dns.servers": json.dumps(list(resolvers)),
            "relay.networks": json.dumps(list(relayed)),
            "policy.messages_per_hour": "0",
            "policy.recipients_per_hour": "0",
            "delivery.first_retry": json.dumps("2s"),
            "delivery.connect_timeout": json.dumps("3s"),
        }
        config = directory / "sekisho.toml"
        written = initialize(Answers(config, self._hostname, self._domain, str(directory / "data"), changes), identity)
        with open_accounts(written.settings, written.where) as store:
            for login, password in self._users.items():
                store.add(login, password)
        self._start_and_wait(config)

    def _start_and_wait(self, config: Path) -> None:
        """Start it as an init system does, and wait until it says that it is ready."""
        heard = self._place.directory / "notify"
        heard.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(heard))
            heard.chmod(0o666)
            notify.setblocking(False)
            self._place.start("sekisho", program("serve", "--config", config), {"NOTIFY_SOCKET": str(heard)})

            def is_ready() -> bool:
                if self._place.processes.pid("sekisho") is None:
                    raise LabFailed(["Sekisho did not start:", *self._place.processes.last_words("sekisho")])
                with contextlib.suppress(BlockingIOError):
                    return b"READY=1" in notify.recv(4096)
                return False

            wait_for("Sekisho to be ready", is_ready, seconds=START_SECONDS)


def _service_user() -> Identity:
    """Return whom it becomes: nobody, if nobody can reach the interpreter and the source; else it keeps root."""
    nobody = pwd.getpwnam("nobody")
    needed = [*Path(__file__).resolve().parents, *Path(sys.executable).parents, *Path(sys.prefix).parents]
    if all(directory.stat().st_mode & 0o001 for directory in needed):
        return Identity("nobody", nobody.pw_uid, nobody.pw_gid)
    return Identity("root", 0, 0)
