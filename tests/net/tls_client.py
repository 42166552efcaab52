"""A TLS client over memory, and the certificate of the server it talks to."""

from __future__ import annotations

import datetime
import functools
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "mail.example.jp"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate that signs itself, and its key, both in PEM."""

    certificate: bytes
    key: bytes

    @property
    def certificate_der(self) -> bytes:
        return x509.load_pem_x509_certificate(self.certificate).public_bytes(serialization.Encoding.DER)


@functools.cache
def identity(number: int = 0, hash_name: str = "SHA256") -> Identity:
    """Make the identity of `HOST`; each *number* has a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(number + 1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, getattr(hashes, hash_name)())
    )
    return Identity(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def private_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """Render *key*, encrypted when there is a *passphrase*."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


class TlsClient:
    """The client side of one TLS connection. It checks the server's certificate and name."""

    def __init__(self, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, trusted: Identity | None = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=(trusted or identity()).certificate.decode())
        context.maximum_version = newest
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=HOST)
        self.established = False
        self.ended = False

    def hello(self) -> bytes:
        """Begin the handshake: return the ClientHello."""
        self.receive(b"")
        return self.outgoing()

    def receive(self, octets: bytes) -> bytes:
        """Take ciphertext, return the plaintext in it."""
        self._incoming.write(octets)
        plain = b""
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while part := self._object.read(65536):
                plain += part
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return plain

    def send(self, octets: bytes) -> None:
        """Encrypt *octets*."""
        self._object.write(octets)

    def end(self) -> None:
        """Say close_notify."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass

    def outgoing(self) -> bytes:
        """Take the ciphertext that is due to the server."""
        return self._outgoing.read()

    @property
    def version(self) -> str | None:
        return self._object.version()
