"""A Postfix of its own for a node: somebody's MX, a hosting company's submission server, a customer's mail server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from .namespaces import run
from .place import START_SECONDS, Place, environment
from .processes import wait_for

MAIL_UID = 5000  # owns the mailboxes; needs no entry in /etc/passwd

MASTER = """\
{listeners}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

SUBMISSION = """
submission inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
submissions inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject"""


class Postfix:
    """One instance; mail for *domain* ends in one Maildir whatever its local-part."""

    def __init__(self, place: Place, hostname: str, domain: str, *, submission: bool = False) -> None:
        self._place = place
        self._hostname = hostname
        self._domain = domain
        self._has_submission = submission

    @property
    def mailbox(self) -> Path:
        """Where what arrived is."""
        return self._place.directory / "mail/all/new"

    def start(self, settings: Mapping[str, str]) -> None:
        """Start it with *settings* besides those that every instance has; it is ready when this returns."""
        directory = self._place.directory
        for name in ("etc", "spool", "data", "log", "mail"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        os.chown(directory / "mail", MAIL_UID, MAIL_UID)
        shutil.chown(directory / "data", "postfix", "postfix")
        boxes = directory / "etc/boxes"
        boxes.write_text("/./ all/\n")
        main = {**self._settings(boxes), **settings}
        (directory / "etc/main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main.items()))
        listeners = "smtp inet n - n - - smtpd" + (SUBMISSION if self._has_submission else "")
        (directory / "etc/master.cf").write_text(MASTER.format(listeners=listeners))
        command = self._place.namespaces.command(self._place.node, ["postfix", "-c", directory / "etc", "start"])
        run(command, seconds=START_SECONDS, env=environment())
        pid_file = directory / "spool/pid/master.pid"
        wait_for(
            f"the Postfix of {self._hostname}", lambda: pid_file.exists() and pid_file.stat().st_size > 0, seconds=10
        )
        name = f"postfix-{self._place.node}"
        self._place.processes.adopt(name, int(pid_file.read_text()))
        self._place.wait_until_it_listens(name, 25, *((587, 465) if self._has_submission else ()))

    def _settings(self, boxes: Path) -> dict[str, str]:
        directory = self._place.directory
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(directory / "spool"),
            "data_directory": str(directory / "data"),
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "maillog_file": str(directory / "log/maillog"),
            "maillog_file_prefixes": str(directory),
            "myhostname": self._hostname,
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "mynetworks": "127.0.0.0/8 [::1]/128",
            "inet_interfaces": "all",
            "inet_protocols": "all",
            "smtpd_peername_lookup": "no",
            "in_flow_delay": "0",
            "minimal_backoff_time": "2s",
            "queue_run_delay": "2s",
            "smtp_connect_timeout": "3s",
            "smtp_address_preference": "any",
            "virtual_mailbox_domains": self._domain,
            "virtual_mailbox_base": str(directory / "mail"),
            "virtual_mailbox_maps": f"regexp:{boxes}",
            "virtual_uid_maps": f"static:{MAIL_UID}",
            "virtual_gid_maps": f"static:{MAIL_UID}",
            "virtual_minimum_uid": "100",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
            "smtpd_client_connection_count_limit": "0",
        }


def tls_settings(certificate: Path, key: Path) -> dict[str, str]:
    """Return the settings of a server that offers STARTTLS."""
    return {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(certificate),
        "smtpd_tls_key_file": str(key),
    }


def login_settings(auth: Path) -> dict[str, str]:
    """Return the settings of a server where the Dovecot behind the socket *auth* knows who may send."""
    return {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": str(auth),
        "smtpd_sasl_security_options": "noanonymous",
    }
