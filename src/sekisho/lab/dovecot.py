"""Dovecot: the hosting company's POP and IMAP, and the passwords of its Postfix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .place import Place
from .postfix import MAIL_UID

PORTS = (110, 143, 993, 995)

CONFIGURATION = """\
base_dir = {d}/run
state_dir = {d}/state
log_path = {d}/dovecot.log
protocols = imap pop3
listen = *, ::
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:{d}/mail/%Lu
first_valid_uid = 100
passdb {{
  driver = passwd-file
  args = {d}/users
}}
userdb {{
  driver = passwd-file
  args = {d}/users
  default_fields = uid={uid} gid={uid} home={d}/mail/%Lu
}}
service auth {{
  unix_listener {d}/auth {{
    mode = 0666
  }}
}}
service stats {{
  chroot =
}}
"""


class Dovecot:
    """One instance with a mailbox for each of *users* (address → password)."""

    def __init__(self, place: Place, users: Mapping[str, str]) -> None:
        self._place = place
        self._users = users

    @property
    def auth_socket(self) -> Path:
        """Where Postfix asks who may send."""
        return self._place.directory / "dovecot/auth"

    def start(self, certificate: Path, key: Path) -> None:
        """Start it; it is ready when this returns."""
        directory = self._place.directory / "dovecot"
        (directory / "mail").mkdir(parents=True, exist_ok=True)
        os.chown(directory / "mail", MAIL_UID, MAIL_UID)
        users = "".join(f"{name}:{{PLAIN}}{word}::::::\n" for name, word in self._users.items())
        (directory / "users").write_text(users)
        configuration = CONFIGURATION.format(d=directory, certificate=certificate, key=key, uid=MAIL_UID)
        (directory / "dovecot.conf").write_text(configuration)
        self._place.start("dovecot", ["dovecot", "-F", "-c", directory / "dovecot.conf"])
        self._place.wait_until_it_listens("dovecot", *PORTS)
