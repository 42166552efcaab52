"""`sekisho autoconfig`: the documents by which mail clients set themselves up."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .output import Commands, UsageError, load_settings

if TYPE_CHECKING:
    from sekisho.autoconfig.provider import Provider
    from sekisho.supervise.sections import Places

KINDS = ("thunderbird", "outlook", "outlook-json", "apple", "apple-signed", "qr", "pacc", "pacc-digest", "mta-sts")


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its verbs."""
    parser = commands.add_parser("autoconfig", parents=[common], help="documents by which mail clients set up")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    write = verbs.add_parser("write", parents=[common], help="write all documents, for a web server")
    write.add_argument("directory", type=Path, metavar="DIR", help="gets one directory (web root) for each domain")
    write.add_argument("--unsigned", action="store_true", help="leave Apple's profile unsigned: devices warn of it")
    write.set_defaults(run=run_write)

    show = verbs.add_parser("show", parents=[common], help="print one document")
    show.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    show.add_argument("--domain", metavar="DOMAIN", help="of this domain (default: the main one)")
    show.add_argument("--address", metavar="ADDRESS", help="for this person (outlook, outlook-json, apple)")
    show.set_defaults(run=run_show)


def run_write(arguments: argparse.Namespace) -> int:
    """Write the documents."""
    from sekisho.autoconfig.documents import documents
    from sekisho.supervise.provider import provider

    settings, places = load_settings(arguments)
    told = provider(settings)
    told.domain()
    signer = None if arguments.unsigned else read_signer(places)
    made = {domain: documents(told, domain, signer) for domain in told.domains}
    for domain, (found, left_out) in made.items():
        root = arguments.directory / domain
        for document in found:
            _write(root / document.path, document.octets)
            urls = ", ".join(f"https://{host}/{document.path}" for host in document.hosts)
            print(f"{root / document.path}  as {document.content_type} at {urls}")
        for problem in left_out:
            print(f"sekisho: left out for {domain}: {problem}", file=sys.stderr)
    return 0


def _write(path: Path, octets: bytes) -> None:
    from sekisho.store import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, octets, mode=0o644)


def read_signer(places: Places) -> tuple[bytes, bytes]:
    """Return the service's certificate chain and key, as PEM."""
    read = []
    for path, key in ((places.certificate, "tls.certificate"), (places.key, "tls.key")):
        try:
            read.append(path.read_bytes())
        except OSError as error:
            remedy = "run this as the service user or root" if isinstance(error, PermissionError) else f"set {key}"
            raise UsageError(
                f"cannot sign the profile: {path}: {error.strerror}; {remedy}, or give --unsigned"
            ) from error
    return read[0], read[1]


def run_show(arguments: argparse.Namespace) -> int:
    """Print one document; nothing is added to its octets."""
    from sekisho.supervise.provider import provider

    settings, places = load_settings(arguments)
    told = provider(settings)
    if arguments.address is not None and arguments.domain is not None:
        raise UsageError("give --address or --domain, not both: an address has its domain")
    if arguments.address is not None:
        domain = told.domain(told.mailbox(arguments.address).domain)
    else:
        domain = told.domain(arguments.domain)
    octets = _MAKERS[arguments.kind](told, domain, arguments.address, places)
    sys.stdout.flush()
    sys.stdout.buffer.write(octets)
    if sys.stdout.isatty() and not octets.endswith(b"\n"):
        print()
    return 0


def _thunderbird(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.clientconfig import client_config

    return client_config(told, domain)


def _outlook(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.autodiscover import settings_xml

    return settings_xml(told, None if address is None else told.mailbox(address))


def _outlook_json(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.autodiscover import answer_json

    return answer_json(told, address or f"postmaster@{domain}", "AutodiscoverV1").octets


def _apple(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.profile import profile

    return profile(told, domain, None if address is None else told.mailbox(address))


def _apple_signed(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.profile import sign

    if sys.stdout.isatty():
        raise UsageError("a signed profile is not for the screen: send it to a file with > mail.mobileconfig")
    return sign(_apple(told, domain, address, places), *read_signer(places))


def _qr(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.profile import profile_url, qr_svg

    return qr_svg(profile_url(domain))


def _pacc(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.pacc import pacc

    return pacc(told)


def _pacc_digest(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.pacc import pacc, pacc_digest

    return f"{pacc_digest(pacc(told))}\n".encode()


def _mta_sts(told: Provider, domain: str, address: str | None, places: Places) -> bytes:
    from sekisho.autoconfig.records import sts_policy

    return sts_policy(told)


_MAKERS: dict[str, Callable[[Provider, str, str | None, Places], bytes]] = {
    "thunderbird": _thunderbird,
    "outlook": _outlook,
    "outlook-json": _outlook_json,
    "apple": _apple,
    "apple-signed": _apple_signed,
    "qr": _qr,
    "pacc": _pacc,
    "pacc-digest": _pacc_digest,
    "mta-sts": _mta_sts,
}
