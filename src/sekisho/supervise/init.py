"""`sekisho init`: writes what a start needs. One commented file, a certificate to begin with, a first account.

Nothing that exists is overwritten, so running it twice does no harm.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sekisho.autoconfig.errors import NotOffered
from sekisho.autoconfig.records import Kind, Record, records, zone
from sekisho.config import example
from sekisho.store import write_atomically

from .certificate import make_self_signed
from .errors import StartError
from .privileges import Identity
from .provider import provider
from .sections import Places, Settings, places
from .serve import prepare_directories, read_settings


@dataclass(frozen=True, slots=True)
class Answers:
    """What `init` needs to know.

    Fields:
        config: the file to write.
        hostname: name that clients connect to.
        domain: domain of the addresses; its mail is local.
        data: ``service.directory`` as it is to stand in the file.
        changes: further settings, by dotted key, as TOML values.
        names: further names for the self-signed certificate.
    """

    config: Path
    hostname: str
    domain: str
    data: str
    changes: Mapping[str, str]
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What `init` did: files made, and the settings they hold."""

    made: tuple[Path, ...]
    settings: Settings
    where: Places


def initialize(answers: Answers, identity: Identity | None) -> Written:
    """Write configuration and certificate where they are missing.

    Args:
        identity: whom the files are for; None when it is the user who runs this.

    Raises:
        StartError: something could not be written, or the configuration that is already there has mistakes.
    """
    made: list[Path] = []
    new: list[Path] = []
    try:
        if not answers.config.exists():
            answers.config.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(answers.config, configuration_text(answers).encode(), mode=0o640)
            made.append(answers.config)
        settings = read_settings(answers.config, {})
        where = places(settings)
        prepare_directories(where, identity)
        if not where.certificate.exists() and not where.key.exists():
            now = datetime.datetime.now(datetime.UTC)
            new = [path.parent for path in (where.certificate, where.key) if not path.parent.exists()]
            make_self_signed(where.certificate, where.key, [settings.hostname, *answers.names], now)
            made += [where.certificate, where.key]
        if identity is not None:
            _hand_over([*made, *new], identity)
    except OSError as error:
        raise StartError([f"cannot write {error.filename or answers.config}: {error.strerror}"]) from error
    return Written(tuple(made), settings, where)


def _hand_over(made: Sequence[Path], identity: Identity) -> None:
    """Let the service user read what was made. Not write: the next start takes its orders from there as root."""
    for path in made:
        os.chown(path, 0, identity.gid)
        path.chmod(0o750 if path.is_dir() else path.stat().st_mode | 0o040)


def configuration_text(answers: Answers) -> str:
    """Return the commented configuration file: every setting with its prose, the answers filled in."""
    text = example(Settings)
    filled = {
        "hostname": json.dumps(answers.hostname),
        "service.directory": json.dumps(answers.data),
        "local.domains": json.dumps([answers.domain]),
        "accounts.default_domain": json.dumps(answers.domain),
        **answers.changes,
    }
    for key, value in filled.items():
        text = _fill_in(text, key, value)
    return text


def _fill_in(text: str, key: str, value: str) -> str:
    """Set *key* in the commented example: its line is there, perhaps commented out, below the header of its table."""
    table, _, name = key.rpartition(".")
    start = 0
    if table:
        header = re.search(rf"^\[{re.escape(table)}\]$", text, re.MULTILINE)
        if header is None:
            raise StartError([f"there is no table [{table}]"])
        start = header.end()
    following = re.compile(r"^(# )?\[", re.MULTILINE).search(text, start)
    end = following.start() if following else len(text)
    section, count = re.subn(
        rf"^#?{re.escape(name)} = .*$", lambda _: f"{name} = {value}", text[start:end], count=1, flags=re.MULTILINE
    )
    if count == 0:
        raise StartError([f"there is no setting {key}"])
    return text[:start] + section + text[end:]


def dns_records(settings: Settings) -> str:
    """Return the first records to publish, as lines of a zone file: who receives, who sends, where clients connect.

    ``sekisho dns show`` has all of them.
    """
    try:
        every = records(provider(settings))
    except NotOffered:
        return ""
    return zone([record for record in every if _is_first(record)])


def _is_first(record: Record) -> bool:
    if record.kind is Kind.SRV:
        return not record.value.endswith(" .")
    return record.kind in (Kind.ADDRESS, Kind.MX) or record.tag == "v=spf1"
