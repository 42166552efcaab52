"""Apple's configuration profile: made, signed, and led to by a QR code.

iOS and macOS have no look-up of their own for unknown domains, so a person opens the profile and installs it in the
system's settings. It never holds a password. Without an address in it, the device asks for one: such a profile serves
everybody of a domain.

Source: Apple, "Mail" payload (com.apple.mail.managed); RFC 5652 (CMS, as SignedData with the content inside).
"""

from __future__ import annotations

import io
import plistlib
import uuid
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7

from sekisho.smtp import Mailbox

from .errors import NotOffered, SigningError
from .provider import Protocol, Provider, Security, Server

__all__ = ["CONTENT_TYPE", "PATH", "QR_PATH", "profile", "profile_url", "qr_svg", "sign"]

CONTENT_TYPE = "application/x-apple-aspen-config"
PATH = "profile/mail.mobileconfig"
QR_PATH = "profile/mail.svg"

ACCOUNT_TYPES = {Protocol.IMAP: "EmailTypeIMAP", Protocol.POP3: "EmailTypePOP"}


def profile(provider: Provider, domain: str, mailbox: Mailbox | None = None) -> bytes:
    """Return the profile as an XML property list, not yet signed. Equal input makes equal octets.

    A profile that is made again for the same person has the same identifiers, so that it replaces the former one.

    Args:
        mailbox: whom it is for; the device asks for address, name and user name where it is None.

    Raises:
        DomainNotOurs, NotOffered
    """
    domain = provider.domain(domain)
    provider.require_servers()
    incoming = provider.incoming[0]
    # UseSSL does not say whether it means STARTTLS, and devices guess by port
    outgoing = next((server for server in provider.outgoing if server.security is Security.TLS), provider.outgoing[0])
    identifier = ".".join(reversed(domain.split("."))) + ".mail"
    whom = mailbox.key if mailbox is not None else f"@{domain}"
    account: dict[str, Any] = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identifier}.account",
        "PayloadUUID": _uuid("account", whom),
        "PayloadDisplayName": provider.name,
        "EmailAccountDescription": provider.name,
        "EmailAccountType": ACCOUNT_TYPES[incoming.protocol],
        **_server("IncomingMailServer", incoming, mailbox),
        **_server("OutgoingMailServer", outgoing, mailbox),
        # two names for one person mean two fields to fill in, and then the password is asked for twice as well
        "OutgoingPasswordSameAsIncomingPassword": True,
        "PreventMove": False,
        "SMIMEEnabled": False,
    }
    if mailbox is not None:
        account["EmailAddress"] = str(mailbox)
    whole = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": identifier,
        "PayloadUUID": _uuid("profile", whom),
        "PayloadDisplayName": f"{provider.name} ({mailbox or domain})",
        "PayloadDescription": f"{incoming.host}, {outgoing.host}",
        "PayloadOrganization": provider.name,
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [account],
    }
    return plistlib.dumps(whole, sort_keys=True)


def _server(prefix: str, server: Server, mailbox: Mailbox | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "HostName": server.host,
        "PortNumber": server.port,
        "UseSSL": True,
        "Authentication": "EmailAuthPassword",
    }
    if mailbox is not None:
        values["Username"] = server.login(mailbox)
    return {f"{prefix}{name}": value for name, value in values.items()}


def _uuid(part: str, whom: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{whom}#sekisho-{part}")).upper()


def sign(octets: bytes, certificate: bytes, key: bytes) -> bytes:
    """Return *octets* inside a CMS SignedData (DER) with the whole chain, as devices want it.

    Args:
        certificate: PEM, the signer's first, then its issuers.
        key: PEM, without a passphrase.

    Raises:
        SigningError
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate)
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"the certificate or its key cannot be read as PEM: {error}") from error
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SigningError("a profile is signed with an RSA or ECDSA key only: get a certificate with one of those")
    if private.public_key() != chain[0].public_key():
        raise SigningError("the private key does not belong to the certificate")
    builder = pkcs7.PKCS7SignatureBuilder().set_data(octets).add_signer(chain[0], private, hashes.SHA256())
    for issuer in chain[1:]:
        builder = builder.add_certificate(issuer)
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def profile_url(domain: str) -> str:
    """Return where the profile of *domain* is found."""
    return f"https://autoconfig.{domain}/{PATH}"


def qr_svg(url: str) -> bytes:
    """Return a QR code (ISO/IEC 18004) that leads to *url*, as a standalone SVG image.

    Raises:
        NotOffered: the address is too long.
    """
    import segno  # the mail processes load this package for its settings, and draw nothing

    try:
        code = segno.make_qr(url, error="m")
    except segno.DataOverflowError as error:
        raise NotOffered("the address is too long for a QR code") from error
    image = io.BytesIO()
    code.save(image, kind="svg", scale=4, border=4, title=url, light="#fff", svgns=True)
    return image.getvalue()
