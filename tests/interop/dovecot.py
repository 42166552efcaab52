"""A private Dovecot: takes mail by LMTP, gives it back by POP3, and checks passwords for a Postfix."""

from __future__ import annotations

import os
import poplib
import ssl
from collections.abc import Mapping
from pathlib import Path

from .certificates import Pair
from .postfix import MAIL_UID
from .processes import Daemon, free_port, wait_for_port
from .programs import need, need_file, need_root

__all__ = ["Dovecot"]

CONFIGURATION = """\
base_dir = {d}/run
state_dir = {d}/state
log_path = {d}/dovecot.log
protocols = lmtp pop3
listen = 127.0.0.1
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
auth_mechanisms = plain login cram-md5 scram-sha-256
auth_username_format = %Lu
mail_location = maildir:{d}/mail/%Lu
first_valid_uid = 100
recipient_delimiter = +
lmtp_save_to_detail_mailbox = no
passdb {{
  driver = passwd-file
  args = {d}/users
}}
userdb {{
  driver = passwd-file
  args = {d}/users
  default_fields = uid={uid} gid={uid} home={d}/mail/%Lu
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
  unix_listener {d}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener {d}/auth {{
    mode = 0666
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service stats {{
  chroot =
}}
"""


class Dovecot:
    """One instance below *directory* with a mailbox for each of *users* (address → password)."""

    def __init__(self, directory: Path, users: Mapping[str, str], pair: Pair, authority: Path) -> None:
        need_root("Dovecot starts as root")
        self._program = need("dovecot")
        for part in ("lmtp", "pop3"):
            need_file(f"/usr/lib/dovecot/{part}")
        self.directory = directory
        self.lmtp_port = free_port()
        self.lmtp_socket = directory / "lmtp"
        self.auth_socket = directory / "auth"
        self.pop3_port = free_port()
        self._users = users
        self._authority = authority
        (directory / "mail").mkdir(parents=True)
        os.chown(directory / "mail", MAIL_UID, MAIL_UID)
        (directory / "users").write_text("".join(f"{name}:{{PLAIN}}{word}::::::\n" for name, word in users.items()))
        (directory / "dovecot.conf").write_text(
            CONFIGURATION.format(
                d=directory,
                certificate=pair.certificate,
                key=pair.key,
                uid=MAIL_UID,
                lmtp=self.lmtp_port,
                pop3=self.pop3_port,
            )
        )

    def start(self) -> None:
        log = self.directory / "output"
        self._daemon = Daemon([self._program, "-F", "-c", self.directory / "dovecot.conf"], log)
        wait_for_port(self.lmtp_port)
        wait_for_port(self.pop3_port)

    def stop(self) -> None:
        self._daemon.stop()

    def fetch(self, user: str) -> list[bytes]:
        """Return the messages in the mailbox of *user*, as POP3 gives them."""
        client = poplib.POP3("127.0.0.1", self.pop3_port, timeout=10)
        try:
            client.stls(ssl.create_default_context(cafile=str(self._authority)))
            client.user(user)
            client.pass_(self._users[user])
            count = client.stat()[0]
            return [b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(count)]
        finally:
            client.quit()
