"""Building the lab and taking it down: namespaces, links, the programs in them, and what is kept between commands.

Everything that exists because of a lab carries its name: namespaces ``sklab-NAME-…`` (their links live and die with
them), directories ``/etc/netns/sklab-NAME-…``, and one state directory. `down` looks for these names, not for what an
earlier run remembers, and so also removes what a crash left.
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sekisho.supervise.certificate import make_self_signed

from .dovecot import Dovecot
from .errors import LabMissing, LabState
from .namespaces import Namespaces
from .nsd import Nsd
from .place import Place
from .postfix import Postfix, login_settings, tls_settings
from .processes import Processes
from .provider import Provider
from .rollout import PREFIXES
from .topology import (
    AOI,
    BY_NAME,
    DOMAIN,
    EDGE,
    FOREIGN_DOMAIN,
    HOSTING_DOMAIN,
    HOSTS,
    NODES,
    OFFICE_DOMAIN,
    RIN,
    ROUTERS,
    SERVER_NAMES,
    WITNESS,
    WORLD,
    link_commands,
    uplink_commands,
)

PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "sysctl": "procps",
    "postfix": "postfix",
    "dovecot": "dovecot-core",
    "nsd": "nsd",
}
FILES = {
    "/usr/lib/postfix/sbin/master": "postfix",
    "/usr/lib/dovecot/pop3": "dovecot-pop3d",
    "/usr/lib/dovecot/imap": "dovecot-imapd",
}
SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"
LONGEST_DIRECTORY = 60  # Unix sockets below it must fit into 108 octets

RELAYED = tuple(prefix for name in ("home", "mobile", "campus") for prefix in PREFIXES[name])
"""Networks whose old devices may hand mail to the provider's server on port 25 without AUTH."""

POSTFIXES = ("mx", "msa", "office")
STRAGGLER_SECONDS = 4.0

FORWARDING = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
)


@dataclass(frozen=True, slots=True)
class Lab:
    """The lab *name* with its state below *directory*."""

    name: str
    directory: Path
    namespaces: Namespaces
    processes: Processes

    @classmethod
    def named(cls, name: str, directory: Path | None = None) -> Lab:
        """Return the lab *name*, whether it is up or not."""
        base = directory or Path("/run") / f"sekisho-lab-{name}"
        return cls(name, base, Namespaces(name), Processes(base / "programs"))

    def place(self, node: str) -> Place:
        """Return where the programs of *node* are."""
        return Place(node, self.namespaces, self.processes, self.directory / node)

    @property
    def trusted(self) -> Path:
        """The certificates that the lab's mail clients trust."""
        return self.directory / "trusted.pem"

    def password(self, login: str) -> str:
        """Return the password of *login*, made up when the lab was built."""
        try:
            return str(json.loads((self.directory / "passwords.json").read_text())[login])
        except (OSError, KeyError) as error:
            raise LabState([f"lab {self.name} is not up; run: sekisho lab up"]) from error

    @property
    def is_up(self) -> bool:
        """Whether `up` came to its end."""
        return (self.directory / "up").exists()

    def arrivals(self, server: str) -> Path:
        """Return the Maildir directory in which mail arrives on the node *server*."""
        if server == "mail":
            return self.directory / "mail/data/mail" / RIN / "new"
        return self.directory / server / "mail/all/new"


def check_requirements() -> None:
    """See that everything is there before anything is touched.

    Raises:
        LabMissing: what is missing, all of it, with the Debian package that has it.
    """
    reasons = []
    if os.geteuid() != 0:
        reasons.append("the lab makes network namespaces and needs root; run it with sudo, or in a virtual machine")
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATHS])
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None}
    packages |= {package for file, package in FILES.items() if not Path(file).exists()}
    if packages:
        reasons.append(f"missing programs; on Debian: apt-get install {' '.join(sorted(packages))}")
    if reasons:
        raise LabMissing(reasons)


def up(lab: Lab) -> None:
    """Build the lab. After a failure everything is taken down again, but for the logs in its directory.

    Raises:
        LabMissing: something is not installed.
        LabState: there is a lab of this name already, or the rest of one.
        LabFailed: a program did not start.
    """
    check_requirements()
    if len(str(lab.directory)) > LONGEST_DIRECTORY:
        raise LabState([f"{lab.directory} is too long a path for Unix sockets below it; choose a shorter --directory"])
    if lab.namespaces.existing() or lab.is_up:
        raise LabState([f"lab {lab.name} is up, or was left by a crash; run: sekisho lab down --name {lab.name}"])
    shutil.rmtree(lab.directory, ignore_errors=True)
    lab.directory.mkdir(parents=True, mode=0o755)
    try:
        _lay_network(lab)
        _start_programs(lab)
    except BaseException:
        down(lab, keep_logs=True)
        raise
    (lab.directory / "up").touch()


def down(lab: Lab, *, keep_logs: bool = False) -> list[str]:
    """End the lab's programs, remove its namespaces and files; return the names of the namespaces that there were.

    What a killed `up` was just about to start is waited for. A shell that somebody opened in a namespace is let alone.
    """
    deadline = time.monotonic() + STRAGGLER_SECONDS
    while True:
        _adopt_postfix(lab)
        lab.processes.stop(*lab.processes.names())
        if not lab.namespaces.inhabitants() or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    gone = lab.namespaces.remove_all()
    (lab.directory / "up").unlink(missing_ok=True)
    if not keep_logs:
        shutil.rmtree(lab.directory, ignore_errors=True)
    return gone


def _adopt_postfix(lab: Lab) -> None:
    """Take up a Postfix that daemonized itself when nobody was left to note it: its own file has its number."""
    inhabitants = lab.namespaces.inhabitants()
    for node in POSTFIXES:
        name = f"postfix-{node}"
        try:
            pid = int((lab.directory / node / "spool/pid/master.pid").read_text())
        except (OSError, ValueError):
            continue
        if pid in inhabitants and lab.processes.pid(name) is None:
            lab.processes.adopt(name, pid)


def _lay_network(lab: Lab) -> None:
    resolver = BY_NAME["dns"]
    for node in NODES:
        lab.namespaces.create(node, [resolver.four, resolver.six])
    edge, world = lab.namespaces.name(EDGE), lab.namespaces.name(WORLD)
    made, on_edge, on_world = uplink_commands(edge, world)
    routers = {EDGE: on_edge, WORLD: on_world}
    ends = {}
    for host in HOSTS:
        links, router, ends[host.name] = link_commands(
            host, lab.namespaces.name(host.name), lab.namespaces.name(host.router)
        )
        made += links
        routers[host.router] += router
    lab.namespaces.configure(None, made)
    for node, lines in {**routers, **ends}.items():
        lab.namespaces.configure(node, lines)
    for node in routers:
        lab.namespaces.run(node, ["sysctl", "-q", "-w", *FORWARDING])
    lab.namespaces.run(WORLD, ["nft", "-f", "-"], text=WITNESS)


def _start_programs(lab: Lab) -> None:
    passwords = {login: secrets.token_urlsafe(12) for login in (AOI, RIN)}
    kept = lab.directory / "passwords.json"
    kept.touch(mode=0o600)
    kept.write_text(json.dumps(passwords))
    resolvers = [f"{BY_NAME['dns'].four}:53"]
    provider = Provider(lab.place("mail"), SERVER_NAMES["mail"], DOMAIN, {RIN: passwords[RIN]})
    Nsd(lab.place("dns")).start()
    with ThreadPoolExecutor(5) as pool:
        started = [
            pool.submit(provider.start, resolvers, RELAYED),
            pool.submit(_start_mx, lab),
            pool.submit(_start_hosting, lab, passwords[AOI]),
            pool.submit(_start_office, lab),
            pool.submit(_start_crowd, lab),
        ]
    for each in started:
        each.result()
    certificates = [provider.certificate, _certificate(lab, "msa")[0]]
    lab.trusted.write_bytes(b"".join(path.read_bytes() for path in certificates))


def _certificate(lab: Lab, node: str) -> tuple[Path, Path]:
    certificate, key = lab.directory / node / "tls.pem", lab.directory / node / "tls.key"
    if not certificate.exists():
        certificate.parent.mkdir(parents=True, exist_ok=True)
        make_self_signed(certificate, key, [SERVER_NAMES[node]], datetime.datetime.now(datetime.UTC))
    return certificate, key


def _start_mx(lab: Lab) -> None:
    Postfix(lab.place("mx"), SERVER_NAMES["mx"], FOREIGN_DOMAIN).start(tls_settings(*_certificate(lab, "mx")))


def _start_hosting(lab: Lab, password: str) -> None:
    certificate, key = _certificate(lab, "msa")
    dovecot = Dovecot(lab.place("msa"), {AOI: password})
    dovecot.start(certificate, key)
    postfix = Postfix(lab.place("msa"), SERVER_NAMES["msa"], HOSTING_DOMAIN, submission=True)
    postfix.start(tls_settings(certificate, key) | login_settings(dovecot.auth_socket))


def _start_office(lab: Lab) -> None:
    Postfix(lab.place("office"), SERVER_NAMES["office"], OFFICE_DOMAIN).start({})


def _start_crowd(lab: Lab) -> None:
    place = lab.place("crowd")
    place.start("crowd", [sys.executable, "-m", "sekisho.lab.actor", "sink"])
    place.wait_until_it_listens("crowd", 25)


@dataclass(frozen=True, slots=True)
class Status:
    """What there is of a lab.

    Fields:
        rows: namespace, addresses and words for each node that exists.
        programs: process id by name; None for one that ended by itself.
    """

    is_up: bool
    namespaces: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]
    programs: dict[str, int | None]


def status(lab: Lab) -> Status:
    """Look at what there is. Needs root only where listing namespaces does."""
    existing = lab.namespaces.existing()
    rows = []
    for node in NODES:
        if (name := lab.namespaces.name(node)) in existing:
            host = BY_NAME.get(node)
            addresses, words = ROUTERS[node] if host is None else (f"{host.four} {host.six}", host.words)
            rows.append((name, addresses, words))
    programs = {name: lab.processes.pid(name) for name in lab.processes.names()}
    is_up = lab.is_up and len(rows) == len(NODES) and None not in programs.values()
    return Status(is_up, tuple(existing), tuple(rows), programs)
