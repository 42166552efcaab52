"""A private Postfix: its own configuration, queue and ports, as somebody's MX or as a server behind a smarthost."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from .certificates import Pair
from .maildir import Maildir
from .processes import free_port, run, wait_for, wait_for_port
from .programs import need, need_file, need_root

__all__ = ["MAIL_UID", "Postfix", "loopback_addresses", "next_hop_settings", "smarthost_client_settings"]

MAIL_UID = 5000  # owns the mailboxes; needs no entry in /etc/passwd

MASTER = """\
{listeners}
127.0.0.1:{submission_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
127.0.0.1:{submissions_port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
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
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance below *directory*; `start` it, and `stop` it by the process id it wrote itself."""

    def __init__(self, directory: Path, hostname: str, settings: Mapping[str, str]) -> None:
        need_root("Postfix starts as root")
        self._program = need("postfix")
        need_file("/usr/lib/postfix/sbin/master")
        self.directory = directory
        self.hostname = hostname
        self.port, self.submission_port, self.submissions_port = free_port(), free_port(), free_port()
        self._settings = settings

    def start(self) -> None:
        for name in ("etc", "spool", "data", "log"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "mail").mkdir(exist_ok=True)
        os.chown(self.directory / "mail", MAIL_UID, MAIL_UID)
        shutil.chown(self.directory / "data", "postfix", "postfix")
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": str(self.directory / "spool"),
            "data_directory": str(self.directory / "data"),
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "maillog_file": str(self.directory / "log/maillog"),
            "maillog_file_prefixes": str(self.directory),
            "myhostname": self.hostname,
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "all",
            "smtpd_peername_lookup": "no",
            "smtp_dns_support_level": "disabled",
            "in_flow_delay": "0",
            "minimal_backoff_time": "5s",
            "queue_run_delay": "5s",
            "message_size_limit": "60000000",
            "virtual_mailbox_limit": "0",
            "mailbox_size_limit": "0",
            **self._settings,
        }
        main = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.directory / "etc/main.cf").write_text(main)
        listeners = [f"{address}:{self.port} inet n - n - - smtpd" for address in loopback_addresses()]
        master = MASTER.format(
            listeners="\n".join(listeners),
            submission_port=self.submission_port,
            submissions_port=self.submissions_port,
        )
        (self.directory / "etc/master.cf").write_text(master)
        self._command("start")
        wait_for_port(self.port)

    def stop(self) -> None:
        self._command("stop")

    def sendmail(self, *arguments: str, message: bytes) -> None:
        """Hand a message to the instance as a local program would."""
        done = run([need("sendmail"), "-C", self.directory / "etc", "-i", *arguments], octets=message)
        assert done.returncode == 0, done.stderr.decode()

    def mailbox(self, name: str) -> Maildir:
        """Return what came for ``box-NAME@`` one of the domains that end here."""
        return Maildir(self.directory / "mail/all", delivered_to=f"box-{name}@")

    def log(self) -> str:
        return (self.directory / "log/maillog").read_text(errors="replace")

    def wait_for_log(self, text: str, *, seconds: float = 15.0) -> str:
        """Return the log's first line with *text* in it."""
        return wait_for(
            f"{text!r} in the log of {self.hostname}",
            lambda: next((line for line in self.log().splitlines() if text in line), None),
            seconds=seconds,
        )

    def _command(self, verb: str) -> None:
        done = run([self._program, "-c", self.directory / "etc", verb], seconds=60)
        assert done.returncode == 0, f"postfix {verb}: {done.stderr.decode()}{done.stdout.decode()}"


def loopback_addresses() -> list[str]:
    """Return the loopback addresses that this machine has, as Postfix writes them."""
    try:
        with socket.socket(socket.AF_INET6) as six:
            six.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "[::1]"]


def next_hop_settings(directory: Path, domains: str, pair: Pair, *, outward: int, auth: Path) -> dict[str, str]:
    """Return the settings of a server at which mail for *domains* ends.

    ``box-NAME@`` is delivered; ``late-NAME@`` is accepted and then found undeliverable, so that
    Postfix itself sends a DSN; ``slow@`` is refused for now; any other local-part is unknown. Content with a field
    ``X-Refuse:`` is refused after the final dot. What leaves this server goes to the port *outward*. On the two
    submission ports, the Dovecot behind the socket *auth* knows who may send.
    """
    (directory / "etc").mkdir(parents=True, exist_ok=True)
    boxes = directory / "etc/boxes"
    boxes.write_text("/^box-/ all/\n")  # virtual(8) refuses substitutions from expressions
    late = directory / "etc/late"
    late.write_text(f"/^late-/ moved-away@{domains.split(',')[0]}\n")
    access = directory / "etc/access"
    access.write_text("/^slow@/ 450 4.2.1 Try again later\n")
    checks = directory / "etc/checks"
    checks.write_text("/^X-Refuse:/ REJECT We do not take this content\n")
    return {
        "virtual_mailbox_domains": domains,
        "virtual_mailbox_base": str(directory / "mail"),
        "virtual_mailbox_maps": f"regexp:{boxes}",
        "virtual_uid_maps": f"static:{MAIL_UID}",
        "virtual_gid_maps": f"static:{MAIL_UID}",
        "virtual_minimum_uid": "100",
        "virtual_alias_maps": f"regexp:{late}",
        "header_checks": f"regexp:{checks}",
        "mynetworks": "127.0.0.255/32",
        "relayhost": f"[127.0.0.1]:{outward}",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        "smtpd_recipient_restrictions": f"check_recipient_access regexp:{access}",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(pair.certificate),
        "smtpd_tls_key_file": str(pair.key),
        "smtpd_tls_received_header": "yes",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": str(auth),
        "smtpd_sasl_security_options": "noanonymous",
        "smtpd_sasl_authenticated_header": "yes",
        "smtpd_tls_loglevel": "1",
    }


def smarthost_client_settings(
    directory: Path, port: int, login: str, password: str, authority: Path, server_name: str
) -> dict[str, str]:
    """Return the settings of a server that sends everything through the smarthost on *port*, TLS verified.

    Mail for ``closed.test`` fails in the server itself, which then sends its own DSN through the smarthost.
    """
    (directory / "etc").mkdir(parents=True, exist_ok=True)
    passwords = directory / "etc/passwords"
    passwords.touch(mode=0o600)
    passwords.write_text(f"[127.0.0.1]:{port} {login}:{password}\n")
    transport = directory / "etc/transport"
    transport.write_text("closed.test error:5.1.2 This domain is closed\n")
    return {
        "mynetworks": "127.0.0.0/8",
        "relayhost": f"[127.0.0.1]:{port}",
        "transport_maps": f"texthash:{transport}",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": f"texthash:{passwords}",
        "smtp_sasl_security_options": "noanonymous",
        "smtp_tls_security_level": "secure",
        "smtp_tls_secure_cert_match": server_name,
        "smtp_tls_CAfile": str(authority),
        "smtp_tls_loglevel": "1",
    }
