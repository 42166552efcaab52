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

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["ServerTls", "TlsError", "TlsFacts", "TlsPipe", "client_context", "is_client_hello", "server_context"]

RECORD = 16384  # octets of plaintext in one TLS record at most (RFC 8446 §5.1)

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TlsError(Exception):
    """TLS could not be set up, or the peer broke it.

    Fields:
        problem: one line for the log or the operator, without secrets.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What was negotiated: protocol version and cipher suite, in OpenSSL's words."""

    version: str
    cipher: str


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
        end_point: channel binding data ``tls-server-end-point`` (RFC 5929 §4.1).
    """

    context: ssl.SSLContext
    end_point: bytes


def server_context(certificate: bytes, key: bytes, *, minimum: str = "1.2") -> ServerTls:
    """Make the TLS side of a listener from PEM octets, so that a process without rights to the files can reload.

    Raises:
        TlsError: the certificate or the key is not readable as PEM, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_IGNORE_UNEXPECTED_EOF
    context.num_tickets = 1  # one ticket serves a client that comes back; each more costs a signature's worth of work
    certificate_file, key_file = _memory_file(certificate), _memory_file(key)
    try:
        context.load_cert_chain(f"/proc/self/fd/{certificate_file}", f"/proc/self/fd/{key_file}", password=_no_password)
        leaf = x509.load_pem_x509_certificate(certificate)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise TlsError(_explain_load(error)) from error
    finally:
        os.close(certificate_file)
        os.close(key_file)
    return ServerTls(context, _end_point(leaf))


def _no_password() -> str:
    raise ValueError("the private key is encrypted; store it without a passphrase, readable by the service user only")


def _explain_load(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            return "the private key does not belong to the certificate"
        return f"the certificate or its key can't be read as PEM ({reason})"
    return str(error)


def _end_point(leaf: x509.Certificate) -> bytes:
    """Hash the certificate as RFC 5929 §4.1 says: its own signature hash, MD5 and SHA-1 replaced by SHA-256."""
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

    __slots__ = ("_incoming", "_object", "_outgoing", "ended", "established")

    def __init__(self, tls: ServerTls) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = tls.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False
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
                self._object.do_handshake()
                self.established = True
            return self._read()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            raise TlsError(error.reason or "TLS failed") from error

    def _read(self) -> bytes:
        incoming, read = self._incoming, self._object.read
        parts: list[bytes] = []
        try:
            while incoming.pending or self._object.pending():
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

    def send(self, octets: bytes) -> None:
        """Encrypt *octets*; `outgoing` has the result."""
        self._object.write(octets)

    def outgoing(self) -> bytes:
        """Take the ciphertext that is due to the peer."""
        return self._outgoing.read() if self._outgoing.pending else b""

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
        return TlsFacts(self._object.version() or "TLS", cipher[0] if cipher else "unknown")

    def bindings(self, tls: ServerTls) -> dict[str, bytes]:
        """Return the channel bindings that this connection offers (RFC 5929; `ssl` has no exporter, RFC 9266)."""
        return {"tls-server-end-point": tls.end_point}
