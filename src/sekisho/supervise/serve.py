"""`sekisho serve`: from a configuration file to running workers, with every right given up on the way.

The order is the security of the service: read the files that may need root, bind, make the directories, become the
service user, and only then start anything that a peer can talk to.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sekisho.config import ConfigErrors, changed, load
from sekisho.delivery import asks_names
from sekisho.net.tls import TlsError, server_context
from sekisho.store import make_directory_durably
from sekisho.telemetry import EventLog

from . import privileges
from .aside import lines_from
from .channel import Configuration
from .errors import StartError
from .parent import Portal, Reporter, RunWorker, Supervisor
from .sections import Places, Settings, addresses, everywhere, listeners, places
from .sockets import Bound, Wanted, bind_all
from .worker import run_worker

WEB = ("http", "https")  # kinds of the portal's addresses
SUPERVISOR = -1  # the number under which the supervisor's own events are written


def read_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read and check the configuration file.

    Raises:
        StartError: one line for every mistake in it: file and line, key, problem, remedy.
    """
    try:
        return load(Settings, path, environment)
    except ConfigErrors as errors:
        raise StartError([str(error) for error in errors.errors]) from errors


def read_configuration(path: Path, environment: Mapping[str, str]) -> Configuration:
    """Read the configuration and the certificate, and prove that they can be used.

    Raises:
        StartError: every mistake at once.
    """
    settings = read_settings(path, environment)
    where = places(settings)
    if not listeners(settings):
        raise StartError([f"{path}: no listener is enabled; set enabled = true in [listener.submission] or another"])
    certificate = _read_pem(where.certificate, "tls.certificate")
    key = _read_pem(where.key, "tls.key")
    problems = [problem for problem in (certificate, key) if isinstance(problem, str)]
    if problems or isinstance(certificate, str) or isinstance(key, str):
        raise StartError(problems)
    try:
        server_context(
            certificate, key, minimum=settings.tls.minimum, channel_binding=settings.accounts.channel_binding
        )
    except TlsError as error:
        files = f"tls.certificate ({where.certificate}), tls.key ({where.key})"
        raise StartError([f"{files}: {error.problem}; `sekisho check` says more"]) from error
    return Configuration(path, settings, certificate, key)


def _read_pem(path: Path, setting: str) -> bytes | str:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return f"{setting}: there is no file {path}; `sekisho init` makes a self-signed certificate, or name your own"
    except OSError as error:
        return f"{setting}: cannot read {path}: {error.strerror}; let the service user read it (chgrp, chmod 640)"


def wanted_addresses(settings: Settings) -> list[Wanted]:
    """Return every address that the enabled listeners ask for."""
    return [
        Wanted(kind, endpoint, f"listener.{kind}.addresses", optional)
        for kind, listener in listeners(settings).items()
        for endpoint, optional in addresses(kind, listener)
    ]


def portal_addresses(settings: Settings) -> list[Wanted]:
    """Return every address of the portal; its kind tells whether TLS is spoken there."""
    portal = settings.portal
    return [
        Wanted("https" if portal.speaks_tls(asked) else "http", endpoint, "portal.addresses", optional, single=True)
        for asked in portal.addresses
        for endpoint, optional in everywhere(asked)
    ]


def worker_count(settings: Settings) -> int:
    """Return how many mail processes to run: the setting, or one for each core that we may use."""
    return settings.service.workers or len(os.sched_getaffinity(0))


def prepare_directories(where: Places, identity: privileges.Identity | None) -> None:
    """Make what is missing, and give what was made to the service user.

    Raises:
        StartError: a directory cannot be made.
    """
    for directory in where.writable():
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        try:
            make_directory_durably(directory)
            if identity is not None:
                for made in missing:
                    os.chown(made, identity.uid, identity.gid)
        except OSError as error:
            raise StartError([f"cannot make the directory {directory}: {error.strerror}"]) from error


def refuse_unwritable(where: Places) -> None:
    """Check as the service user that every directory can be written.

    Raises:
        StartError: one line for each that cannot, with the command that mends it.
    """
    problems = [
        f"cannot write into {directory}; give it to the service user: chown -R USER: {directory}"
        for directory in where.writable()
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK)
    ]
    if problems:
        raise StartError(problems)


def serve(
    path: Path, environment: Mapping[str, str], say: Callable[[str], None], *, run_portal: RunWorker | None = None
) -> int:
    """Run the service until it is told to stop. Returns the exit status.

    Args:
        say: takes one line for the person who started it.
        run_portal: body of the portal's process, which this package does not know; None: there is no portal.

    Raises:
        StartError: it cannot start; every reason, with remedies. Nothing is left running.
        PrivilegeError: the service user cannot be taken on.
    """
    configure_logging()
    configuration = read_configuration(path, environment)
    settings = configuration.settings
    where = places(settings)
    for line in lines_from("looking at the certificate", partial(_about_certificate, settings, where)):
        say(line)
    identity = privileges.look_up(settings.service.user, settings.service.group)
    privileges.harden()
    count = worker_count(settings)
    bound, portal = _bind(settings, count, run_portal)
    prepare_directories(where, identity)
    _load_what_workers_share(settings)  # as long as we may read it, which the service user may not everywhere
    privileges.drop(identity)
    refuse_unwritable(where)

    events = EventLog(where.log, settings.log, SUPERVISOR)
    try:
        supervisor = Supervisor(
            configuration,
            bound,
            count,
            run_worker=run_worker,
            read_configuration=partial(_read_again, path, environment, settings),
            reporter=Reporter(say, partial(_emit, events)),
            portal=portal,
        )
        return supervisor.run()
    finally:
        events.close()


def _bind(settings: Settings, count: int, run_portal: RunWorker | None) -> tuple[list[Bound], Portal | None]:
    """Bind the listeners and the portal's addresses, or nothing: all problems at once.

    Raises:
        StartError
    """
    wanted = wanted_addresses(settings)
    for_portal = portal_addresses(settings) if run_portal is not None else []
    bound = bind_all([*wanted, *for_portal], count)
    mail = [address for address in bound if address.kind not in WEB]
    pages = [address for address in bound if address.kind in WEB]
    return mail, Portal(run_portal, pages) if run_portal is not None and pages else None


def _about_certificate(settings: Settings, where: Places) -> list[str]:
    """Tell what makes clients refuse the certificate. The service starts all the same: port 25 can do without."""
    import datetime

    from .certificate import examine

    findings = examine(where.certificate, where.key, settings.hostname, datetime.datetime.now(datetime.UTC))
    return [f"{each.subject}: {each.text}; {each.remedy}" for each in findings if each.grade == "error"]


def _load_what_workers_share(settings: Settings) -> None:
    """Load what the settings call for and not every service has a use for: the workers share it if it comes now."""
    if asks_names(settings.route):
        import sekisho.net.dns_servers  # noqa: F401
    if settings.accounts.cram_md5:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401 its secrets are sealed with it


def _emit(events: EventLog, name: str, **fields: object) -> None:
    events.emit(name, **fields)
    events.flush()  # the supervisor has no event loop to do it


def _read_again(path: Path, environment: Mapping[str, str], running: Settings) -> tuple[Configuration, Sequence[str]]:
    configuration = read_configuration(path, environment)
    return configuration, changed(running, configuration.settings).waiting


def configure_logging() -> None:
    """Send warnings and errors of the program to standard error, one line each; mail events have their own log."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="sekisho[%(process)d] %(levelname)s %(name)s: %(message)s"
    )
