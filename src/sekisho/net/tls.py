"""TLS: the only place where contexts are made, and TLS as a pure transformation of octets.

Every context of the program comes from `server_context` or `client_context`, so that minimum versions and host
name checks cannot be forgotten elsewhere. `TlsPipe` runs one server-side TLS connection over memory: ciphertext in,
plaintext out and the reverse. A listener can therefore look at the first octets of a connection before it decides
whether they are TLS (RFC 8314 §3.3 clients on the submission port), and STARTTLS needs nothing of the event loop.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = [
    "ServerTls",
    "TlsError",
    "TlsFacts",
    "TlsFailure",
    "TlsPipe",
    "client_context",
    "is_client_hello",
    "server_context",
]

RECORD = 16384  # octets of plaintext in one TLS record at most (RFC 8446 §5.1)
MAX_NAME = 255  # characters of a host name

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TlsFailure(StrEnum):
    """Why a client's handshake failed."""

    VERSION = "version"  # no version of TLS that both sides accept: the client's are too old
    CIPHER = "cipher"  # a common version, but no common cipher, key exchange or signature
    CERTIFICATE = "certificate"  # the client does not accept our certificate
    NOT_TLS = "not-tls"  # it speaks something else
    AT_ONCE = "at-once"  # it spoke TLS at once, but had been greeted in the clear already
    TIMEOUT = "timeout"
    BROKEN_OFF = "broken-off"  # it went away in the middle
    OTHER = "other"


class TlsError(Exception):
    """TLS could not be set up, or the peer broke it.

    Fields:
        problem: one line for the log or the operator, without secrets.
        reason: the same in a closed vocabulary.
    """

    def __init__(self, problem: str, reason: TlsFailure = TlsFailure.OTHER) -> None:
        super().__init__(problem)
        self.problem = problem
        self.reason = reason


_VERSION = ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION")
_CIPHER = (
    *("NO_SHARED_CIPHER", "NO_SHARED_GROUP", "NO_SUITABLE_KEY_SHARE", "NO_SHARED_SIGNATURE_ALGORITHMS"),
    *("NO_SUITABLE_SIGNATURE_ALGORITHM", "NO_SUITABLE_GROUPS", "UNSUPPORTED_ELLIPTIC_CURVE", "DH_KEY_TOO_SMALL"),
    *("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
)
_CERTIFICATE = (
    *("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"),
    *("SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
    *("TLSV1_ALERT_ACCESS_DENIED", "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE"),
)
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
_FAILURES = {
    name: failure
    for failure, names in (
        (TlsFailure.VERSION, _VERSION),
        (TlsFailure.CIPHER, _CIPHER),
        (TlsFailure.CERTIFICATE, _CERTIFICATE),
        (TlsFailure.NOT_TLS, _NOT_TLS),
    )
    for name in names
}
"""OpenSSL's words for what a client did; those with ALERT are what the client told us."""


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What was negotiated: protocol version and cipher suite, in OpenSSL's words.

    Fields:
        name: host name that the client asked for (RFC 6066 §3), in lower case; None when it named none.
    """

    version: str
    cipher: str
    name: str | None = None


def _memory_file(octets: bytes) -> int:
    """Return the descriptor of an anonymous file: `ssl` reads certificates and keys from files only."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    os.write(descriptor, octets)
    return descriptor


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a listener needs to speak TLS.

    Fields:
        context: shared by all connections.
        end_point: channel binding data ``tls-server-end-point`` (RFC 5929 §4.1); None where nothing is to be bound.
    """

    context: ssl.SSLContext
    end_point: bytes | None


def server_context(certificate: bytes, key: bytes, *, minimum: str = "1.2", channel_binding: bool = True) -> ServerTls:
    """Make the TLS side of a listener from PEM octets, so that a process without rights to the files can reload.

    Args:
        channel_binding: have what binds a login to the connection. It takes a library of 10 MiB to read the
            certificate, which is loaded for that alone.

    Raises:
        TlsError: the certificate or the key is not readable as PEM, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_IGNORE_UNEXPECTED_EOF
    context.sslobject_class = _Asked
    context.sni_callback = _note_name
    context.num_tickets = 1  # one ticket serves a client that comes back; each more costs a signature's worth of work
    certificate_file, key_file = _memory_file(certificate), _memory_file(key)
    try:
        context.load_cert_chain(f"/proc/self/fd/{certificate_file}", f"/proc/self/fd/{key_file}", password=_no_password)
        end_point = _end_point(certificate) if channel_binding else None
    except (ssl.SSLError, ValueError, OSError) as error:
        raise TlsError(_explain_load(error)) from error
    finally:
        os.close(certificate_file)
        os.close(key_file)
    return ServerTls(context, end_point)


class _Asked(ssl.SSLObject):
    """One connection, with the host name that its client asked for."""

    asked_name: str | None = None


def _note_name(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
    """Note the name and go on with the one certificate that we have, whatever it is."""
    if name is not None:
        connection.asked_name = name[:MAX_NAME].lower()


def _no_password() -> str:
    raise ValueError("the private key is encrypted; store it without a passphrase, readable by the service user only")


def _explain_load(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            return "the private key does not belong to the certificate"
        return f"the certificate or its key can't be read as PEM ({reason})"
    return str(error)


def _end_point(certificate: bytes) -> bytes:
    """Hash the certificate as RFC 5929 §4.1 says: its own signature hash, MD5 and SHA-1 replaced by SHA-256."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    leaf = x509.load_pem_x509_certificate(certificate)
    algorithm = leaf.signature_hash_algorithm
    name = algorithm.name if algorithm is not None else "sha256"
    if name in ("md5", "sha1"):
        name = "sha256"
    return hashlib.new(name, leaf.public_bytes(Encoding.DER)).digest()


def client_context(verify: bool) -> ssl.SSLContext:
    """Make a context for connecting outward.

    Args:
        verify: check the peer's certificate and name; False encrypts without knowing to whom, which is what
            opportunistic STARTTLS to an MX means (RFC 7435).
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Whatever the library has (never SSL 3): better than clear text, which is what would follow. TLS 1.0 cannot be
        # named here, Python warns of it.
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.options |= ssl.OP_NO_SSLv3
    return context


def is_client_hello(octets: bytes) -> bool:
    """Tell whether a connection's first octets begin a TLS handshake record (RFC 8446 §5.1)."""
    return octets[:1] == b"\x16" and octets[1:2] in (b"\x03", b"")


class TlsPipe:
    """One TLS connection's server side over memory.

    Feed ciphertext to `receive`, send what `outgoing` returns after each call. OpenSSL keeps at most one record of
    either direction beyond what was fed and not yet taken.
    """

    __slots__ = ("_incoming", "_object", "ended", "established", "output", "shaking_hands")

    def __init__(self, tls: ServerTls) -> None:
        self._incoming = ssl.MemoryBIO()
        self.output = ssl.MemoryBIO()  # ciphertext that is due to the peer
        self._object = tls.context.wrap_bio(self._incoming, self.output, server_side=True)
        self.established = False
        self.shaking_hands = False  # the peer has begun, and neither finished nor failed
        self.ended = False  # the peer said close_notify

    def receive(self, octets: bytes) -> bytes:
        """Take ciphertext, return the plaintext that became readable (empty during the handshake).

        Raises:
            TlsError: the peer does not speak TLS, or not a version or cipher that we accept; `outgoing` then holds
                the alert to send before closing.
        """
        self._incoming.write(octets)
        try:
            if not self.established:
                self.shaking_hands = True
                self._object.do_handshake()
                self.established = True
                self.shaking_hands = False
            return self._read()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            self.shaking_hands = False
            reason = error.reason or "TLS failed"
            raise TlsError(reason, _FAILURES.get(reason, TlsFailure.OTHER)) from error

    def _read(self) -> bytes:
        incoming, read = self._incoming, self._object.read
        parts: list[bytes] = []
        try:
            while incoming.pending:  # each call takes a whole record, however long it is
                part = read(RECORD)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, octets: bytes) -> bytes:
        """Return *octets* as ciphertext, behind what is due to the peer."""
        self._object.write(octets)
        return self.output.read()

    def outgoing(self) -> bytes:
        """Take the ciphertext that is due to the peer."""
        return self.output.read() if self.output.pending else b""

    def close(self) -> None:
        """Queue close_notify."""
        if self.established:
            try:
                self._object.unwrap()
            except ssl.SSLError:
                pass  # the peer's close_notify is not waited for (RFC 8446 §6.1)

    def facts(self) -> TlsFacts:
        """Return what was negotiated; call it once established."""
        cipher = self._object.cipher()
        name = self._object.asked_name if isinstance(self._object, _Asked) else None
        return TlsFacts(self._object.version() or "TLS", cipher[0] if cipher else "unknown", name)

    def bindings(self, tls: ServerTls) -> dict[str, bytes]:
        """Return the channel bindings that this connection offers (RFC 5929; `ssl` has no exporter, RFC 9266)."""
        return {} if tls.end_point is None else {"tls-server-end-point": tls.end_point}
