"""`sekisho check`: looks at everything the service needs and says what is wrong, where, and what to do."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sekisho import kernel
from sekisho.net.dns_settings import DnsSettings
from sekisho.net.resolver import NoSuchDomain, Resolver, ResolverError
from sekisho.store import StoreError

from . import certificate, portal_check
from .certificate import Finding
from .control import running_workers
from .errors import PrivilegeError, StartError
from .privileges import Identity, drop, look_up
from .sections import Places, Settings, places
from .sockets import bind_all, close_all
from .stores import open_accounts

GRADES = ("ok", "warning", "error")
KERNEL = {  # all the same to mail, but for the load
    "compiled": "the compiled part is in use",
    "off": "the compiled part is switched off here by PURE_PYTHON: Python does its work, and needs more CPU",
    "partly": "only half of the compiled part is in use: one of its two modules was not built, or failed its test; a "
    "newer C compiler and Python's headers at the installation mend that",
    "absent": "the compiled part was not built: Python does its work, and needs more CPU; a C compiler and Python's "
    "headers at the installation mend that",
}


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, and the exit status they come to: 0 well, 1 warnings, 2 errors."""

    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """The worst grade as an exit status."""
        return max((GRADES.index(finding.grade) for finding in self.findings), default=0)


def check(path: Path, environment: Mapping[str, str], *, before_start: bool = False) -> Report:
    """Look at everything. Changes nothing; busy ports are well while our own service holds them.

    Args:
        before_start: skip what only time or other machines can mend (DNS), so that a start is not held up by it.
    """
    from .serve import read_settings

    try:
        settings = read_settings(path, environment)
    except StartError as error:
        return Report(tuple(Finding("error", "configuration", problem) for problem in error.problems))
    where = places(settings)
    now = datetime.datetime.now(datetime.UTC)
    findings = [Finding("ok", "configuration", f"{path} has no mistakes")]
    findings.append(Finding("ok", "kernel", KERNEL[kernel.presence()]))
    told = [audience.host for audience in settings.guide.audience if audience.host]
    findings += certificate.examine(where.certificate, where.key, settings.hostname, now, told)
    identity, named = _user(settings)
    findings += named
    findings += as_service_user(identity, lambda: _as_service(settings, path, environment, where))
    findings += _portal(settings, where, before_start)
    findings += _accounts(settings, where)
    findings += _ports(settings, where)
    if not before_start:
        findings += asyncio.run(_dns(settings.dns, settings.hostname))
    return Report(tuple(findings))


def _portal(settings: Settings, where: Places, before_start: bool) -> list[Finding]:
    """Pages that do not work are no reason for mail not to start."""
    found = portal_check.portal(settings, where)
    return [replace(each, grade="warning") if before_start and each.grade == "error" else each for each in found]


def _as_service(settings: Settings, path: Path, environment: Mapping[str, str], where: Places) -> list[Finding]:
    return [*_directories(where), *_reload(path, environment, where), *portal_check.files(settings)]


def _user(settings: Settings) -> tuple[Identity | None, list[Finding]]:
    try:
        identity = look_up(settings.service.user, settings.service.group)
    except PrivilegeError as error:
        return None, [Finding("error", "service.user", str(error))]
    if identity is None:
        own = pwd.getpwuid(os.geteuid()).pw_name
        return None, [Finding("ok", "service.user", f"runs as {own}, who starts it")]
    if identity.uid == 0:
        text, remedy = "the service would keep root", 'name an ordinary user: user = "sekisho"'
        return identity, [Finding("warning", "service.user", text, remedy)]
    return identity, [Finding("ok", "service.user", f"becomes {identity.name} after the start")]


def as_service_user(identity: Identity | None, look: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what *look* finds when it looks with the service user's rights, which root must take on to know them."""
    if identity is None or identity.uid == 0:
        return look()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            drop(identity)
            os.write(writer, json.dumps([asdict(finding) for finding in look()]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        told = stream.read()
    os.waitpid(pid, 0)
    if not told:
        return [Finding("error", "service.user", f"cannot act as {identity.name}", "run the check as root")]
    return [Finding(**found) for found in json.loads(told)]


def _reload(path: Path, environment: Mapping[str, str], where: Places) -> list[Finding]:
    """At the start root reads these files; at a reload the service user does."""
    from .serve import read_settings

    unreadable = [
        Finding(
            "warning",
            setting,
            f"the service user cannot read {file}: a reload will keep what is in use",
            f"chgrp its group and chmod 640 {file}, and let it enter the directories above",
        )
        for setting, file in (
            ("configuration", path),
            ("tls.certificate", where.certificate),
            ("tls.key", where.key),
        )
        if not os.access(file, os.R_OK)
    ]
    if os.access(path, os.R_OK):
        try:
            read_settings(path, environment)
        except StartError as error:
            unreadable += [
                Finding("warning", "configuration", f"for the service user, at a reload: {problem}")
                for problem in error.problems
            ]
    return unreadable


def _directories(where: Places) -> list[Finding]:
    findings: list[Finding] = []
    for directory in where.writable():
        existing = next(path for path in (directory, *directory.parents) if os.path.exists(path))
        if not existing.is_dir():
            text, remedy = f"{existing} is not a directory", "move it away, or choose another directory"
            findings.append(Finding("error", "service.directory", text, remedy))
        elif not os.access(existing, os.W_OK | os.X_OK):
            text = f"{existing} cannot be written by the service user"
            findings.append(Finding("error", "service.directory", text, f"chown -R USER: {existing}"))
    return list(dict.fromkeys(findings)) or [Finding("ok", "service.directory", f"{where.directory} can be written")]


def _accounts(settings: Settings, where: Places) -> list[Finding]:
    none = Finding("warning", "accounts", "there is no account yet: nobody can log in", "sekisho account add ADDRESS")
    if not where.accounts.exists():
        return [none]
    try:
        with open_accounts(settings, where) as store:
            count = len(store.list())
            postmaster = settings.local.postmaster
            lost = postmaster is not None and store.get(postmaster) is None
    except (StoreError, OSError) as error:
        return [Finding("error", "accounts", str(error), "restore the accounts database from the backup")]
    if not count:
        return [none]
    found = [Finding("ok", "accounts", f"{count} account{'s' if count > 1 else ''}")]
    if lost:
        text = f"there is no account {postmaster}: mail to the postmaster is refused"
        found.append(Finding("warning", "local.postmaster", text, "name the login of an account"))
    return found


def _ports(settings: Settings, where: Places) -> list[Finding]:
    from .serve import portal_addresses, wanted_addresses

    if running_workers(where.run):
        return [Finding("ok", "ports", "held by the running service")]
    if not (wanted := wanted_addresses(settings)):
        return [Finding("error", "ports", "no listener is enabled", "set enabled = true in [listener.submission]")]
    try:
        close_all(bind_all([*wanted, *portal_addresses(settings)], 1))
    except StartError as error:
        return [Finding("error", "ports", problem) for problem in error.problems]
    return [Finding("ok", "ports", "free")]


async def _dns(settings: DnsSettings, hostname: str) -> list[Finding]:
    resolver = Resolver(settings)
    try:
        found = await resolver.addresses(hostname)
    except NoSuchDomain:
        return [
            Finding(
                "warning",
                "dns",
                f"{hostname} has no address in DNS: clients cannot find it",
                "publish A and AAAA records",
            )
        ]
    except ResolverError as error:
        return [
            Finding(
                "warning",
                "dns",
                f"no DNS server answers ({error.detail}): mail to other domains will wait",
                "set dns.servers to a resolver that this machine reaches",
            )
        ]
    return [Finding("ok", "dns", f"{hostname} is found ({', '.join(found.texts)})")]
