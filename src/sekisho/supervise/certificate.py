"""The listeners' certificate: making a self-signed one for a start, and finding what is wrong with the one in use."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sekisho.net.tls import TlsError, server_context
from sekisho.store import write_atomically

EXPIRING = datetime.timedelta(days=21)
VALIDITY = datetime.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `sekisho check` found.

    Fields:
        grade: ``ok``, ``warning`` (works, but look at it) or ``error`` (does not work).
        subject: the setting, file or server it is about.
        text: what is the case.
        remedy: what to do; empty when it is well.
    """

    grade: str
    subject: str
    text: str
    remedy: str = ""


def make_self_signed(certificate: Path, key: Path, names: Sequence[str], now: datetime.datetime) -> None:
    """Write an ECDSA P-256 key and a certificate signed with it for *names*, valid for one year from yesterday.

    Raises:
        OSError: one of the files cannot be written.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    for path in (certificate, key):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(
        key,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    write_atomically(certificate, built.public_bytes(serialization.Encoding.PEM), mode=0o644)


def examine(
    certificate: Path, key: Path, hostname: str, now: datetime.datetime, others: Sequence[str] = ()
) -> list[Finding]:
    """Return what is to be said about the files: readable, belonging together, in date, covering the names.

    Args:
        others: further names that clients are told to connect to.
    """
    read: list[bytes] = []
    findings: list[Finding] = []
    for path, setting in ((certificate, "tls.certificate"), (key, "tls.key")):
        try:
            read.append(path.read_bytes())
        except OSError as error:
            remedy = (
                "run `sekisho init`, which makes a self-signed one, or name the file you have"
                if isinstance(error, FileNotFoundError)
                else "let the service user read it: chgrp GROUP, chmod 640"
            )
            findings.append(Finding("error", setting, f"cannot read {path}: {error.strerror}", remedy))
    if findings:
        return findings
    try:
        server_context(read[0], read[1], channel_binding=False)
        chain = x509.load_pem_x509_certificates(read[0])
    except (TlsError, ValueError) as error:
        return [
            Finding("error", "tls.certificate, tls.key", str(error), "name a PEM chain and the PEM key made for it")
        ]
    findings += _dates(chain[0], now)
    findings += [_name(chain[0], name) for name in dict.fromkeys((hostname, *others))]
    findings.append(_trust(chain))
    findings += _privacy(key)
    return findings


def _dates(leaf: x509.Certificate, now: datetime.datetime) -> list[Finding]:
    until = leaf.not_valid_after_utc
    if until < now:
        text = f"the certificate expired on {until:%Y-%m-%d}: clients refuse to connect"
        return [Finding("error", "tls.certificate", text, "renew it, put it in place, then reload (SIGHUP)")]
    if leaf.not_valid_before_utc > now:
        text = f"the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return [Finding("error", "tls.certificate", text, "check this machine's clock, or wait")]
    if until - now < EXPIRING:
        text = f"the certificate expires on {until:%Y-%m-%d}, in {(until - now).days} days"
        return [Finding("warning", "tls.certificate", text, "renew it, put it in place, then reload (SIGHUP)")]
    return [Finding("ok", "tls.certificate", f"valid until {until:%Y-%m-%d}")]


def _name(leaf: x509.Certificate, hostname: str) -> Finding:
    if covers(leaf, hostname):
        return Finding("ok", "hostname", f"{hostname} is a name of the certificate")
    listed = ", ".join(names_of(leaf)) or "no name at all"
    return Finding(
        "error",
        "hostname",
        f"the certificate is for {listed}, not for {hostname}: clients warn or refuse",
        "get a certificate for that name, or set hostname to the name clients use",
    )


def names_of(leaf: x509.Certificate) -> list[str]:
    """Return the DNS names a certificate is for (RFC 9525 §2: only subjectAltName counts)."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def covers(leaf: x509.Certificate, hostname: str) -> bool:
    """Tell whether clients that connect to *hostname* take the certificate for it."""
    return any(_covers(name, hostname) for name in names_of(leaf))


def _covers(pattern: str, hostname: str) -> bool:
    """Compare as RFC 9525 §6.3: ``*`` stands for exactly one whole leftmost label."""
    pattern, hostname = pattern.lower(), hostname.lower()
    if pattern.startswith("*."):
        return hostname.partition(".")[2] == pattern[2:]
    return pattern == hostname


def _trust(chain: Sequence[x509.Certificate]) -> Finding:
    if chain[0].issuer == chain[0].subject:
        return Finding(
            "warning",
            "tls.certificate",
            "the certificate is self-signed: every mail client will warn about it",
            "for real users get one from a public certificate authority (any ACME client will do)",
        )
    if len(chain) == 1:
        return Finding(
            "warning",
            "tls.certificate",
            "the file holds the certificate alone, without its issuer's: some clients cannot check it",
            "use the file with the full chain (often called fullchain.pem)",
        )
    return Finding("ok", "tls.certificate", f"chain of {len(chain)} certificates")


def _privacy(key: Path) -> list[Finding]:
    mode = os.stat(key).st_mode
    if mode & 0o007:
        text = f"{key} can be read by every user of this machine"
        return [Finding("error", "tls.key", text, f"chmod o= {key}, and replace the key if others had access")]
    return []
