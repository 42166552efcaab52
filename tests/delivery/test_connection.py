"""One connection to a next hop: TLS in its four moods, and octets that come when nobody asked."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.delivery.doubles import LOOPS, Answer, Peer, Session, Stage, listening

from sekisho.delivery.connection import AuthRefused, Connection, Credentials, Target, Timeouts, TlsFailed, open_session
from sekisho.delivery.route import Security
from sekisho.delivery.settings import TlsMode
from sekisho.smtp import TemporaryFailure

TIMEOUTS = Timeouts(5.0, 5.0, 5.0)


@pytest.fixture(params=LOOPS, autouse=True)
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "new_loop", request.param)


@cache
def server_and_client() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for "mx1.example", and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx1.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mx1.example")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "both.pem"
        path.write_bytes(certificate + pem)
        server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=certificate.decode())
    return server, client


def contexts(verify: bool) -> ssl.SSLContext:
    if verify:
        return server_and_client()[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def target(peer: Peer, tls: TlsMode, *, verify: bool = False, name: str = "mx1.example", login: bool = False) -> Target:
    return Target(
        name=name,
        address="127.0.0.1",
        port=peer.port,
        hello="mail.example.jp",
        security=Security(tls, verify),
        credentials=Credentials("rin", "pencil", ()) if login else None,
    )


async def opened(there: Target) -> Connection:
    return await open_session(
        there, TIMEOUTS, contexts, clock=asyncio.get_running_loop().time, watch=lambda connection: None
    )


def against(peer: Peer, body: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with listening(peer):
            await body()

    Stage.run(run())


@pytest.mark.parametrize("tls", [TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED])
@pytest.mark.parametrize("verify", [True, False])
def test_starttls_protects_the_rest_and_asks_again_what_is_offered(tls: TlsMode, verify: bool) -> None:
    """RFC 3207 §4.2."""
    peer = Peer(offers=("STARTTLS", "PIPELINING"), tls=server_and_client()[0])

    async def body() -> None:
        connection = await opened(target(peer, tls, verify=verify))
        assert connection.protected
        assert connection.capabilities.pipelining
        assert not connection.capabilities.starttls
        assert peer.commands() == ["EHLO mail.example.jp", "STARTTLS", "EHLO mail.example.jp"]
        connection.quit()

    against(peer, body)


def test_a_certificate_for_another_name_is_refused_when_it_matters() -> None:
    peer = Peer(offers=("STARTTLS",), tls=server_and_client()[0])

    async def body() -> None:
        with pytest.raises(TlsFailed) as caught:
            await opened(target(peer, TlsMode.REQUIRED, verify=True, name="other.example"))
        assert "certificate not accepted" in caught.value.detail

    against(peer, body)


@pytest.mark.parametrize(("answer", "required"), [(b"454 4.7.0 not now\r\n", True), (b"454 4.7.0 not now\r\n", False)])
def test_a_refused_starttls_matters_only_when_tls_is_required(answer: bytes, required: bool) -> None:
    peer = Peer(offers=("STARTTLS",), answers={"STARTTLS": answer})

    async def body() -> None:
        there = target(peer, TlsMode.REQUIRED if required else TlsMode.OPPORTUNISTIC)
        if required:
            with pytest.raises(TemporaryFailure):
                await opened(there)
        else:
            connection = await opened(there)
            assert not connection.protected
            connection.quit()

    against(peer, body)


@pytest.mark.parametrize(
    "answer", [b"220 go\r\n250 injected\r\n", b"220 go\r\n250 inj", b"220 go\r\nnot TLS at all, sorry\r\n"]
)
def test_octets_behind_the_reply_to_starttls_are_never_taken_for_protected_ones(answer: bytes) -> None:
    """RFC 3207 §6."""
    peer = Peer(offers=("STARTTLS",), answers={"STARTTLS": answer})

    async def body() -> None:
        with pytest.raises(TemporaryFailure):
            await opened(target(peer, TlsMode.OPPORTUNISTIC))
        assert peer.commands() == ["EHLO mail.example.jp", "STARTTLS"]

    against(peer, body)


def test_implicit_tls_speaks_tls_first() -> None:
    """RFC 8314 §3.3."""
    peer = Peer(offers=("AUTH PLAIN",), answers={"AUTH": b"235 2.7.0 in\r\n"})

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Session(peer), "127.0.0.1", 0, ssl=server_and_client()[0])
        peer.port = server.sockets[0].getsockname()[1]
        connection = await opened(target(peer, TlsMode.IMPLICIT, verify=True, login=True))
        assert connection.protected
        assert peer.commands() == ["EHLO mail.example.jp", "AUTH PLAIN AHJpbgBwZW5jaWw="]
        connection.abort()
        server.close()
        await asyncio.sleep(0.01)

    Stage.run(run())


@pytest.mark.parametrize(
    "answers",
    [
        {"AUTH": b"535 5.7.8 no\r\n"},
        {"AUTH": b"454 4.7.0 later\r\n"},
        {"AUTH": b"334 !!!\r\n"},
        {"AUTH": b"334 \r\n", "AHJ": b"334 \r\n"},
        {"AUTH": b"250 what\r\n"},
    ],
)
def test_a_login_that_does_not_end_in_235_is_refused(answers: dict[str, Answer]) -> None:
    """RFC 4954 §4."""
    peer = Peer(offers=("STARTTLS", "AUTH PLAIN"), answers=answers, tls=server_and_client()[0])

    async def body() -> None:
        with pytest.raises(AuthRefused):
            await opened(target(peer, TlsMode.REQUIRED, login=True))
        assert len(peer.commands()) < 20

    against(peer, body)


def test_a_server_that_does_not_prove_itself_gets_no_mail() -> None:
    """RFC 5802 §3: the server's signature is what tells it from an impostor."""
    peer = Peer(
        offers=("STARTTLS", "AUTH SCRAM-SHA-256"), answers={"AUTH": b"235 2.7.0 in\r\n"}, tls=server_and_client()[0]
    )

    async def body() -> None:
        with pytest.raises(AuthRefused, match="without proving itself"):
            await opened(target(peer, TlsMode.REQUIRED, login=True))

    against(peer, body)


class Wire(asyncio.Transport):
    """A transport that only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def on_a_wire(body: Callable[[Connection, Wire, list[float]], Awaitable[None]]) -> None:
    async def run() -> None:
        clock = [0.0]
        there = Target("mx1.example", "192.0.2.1", 25, "mail.example.jp", Security(TlsMode.NONE))
        connection = Connection(there, Timeouts(1.0, 300.0, 600.0), lambda: clock[0])
        wire = Wire()
        connection.connection_made(wire)
        await body(connection, wire, clock)

    Stage.run(run())


def test_a_greeting_that_comes_before_anyone_waits_is_kept() -> None:
    async def body(connection: Connection, wire: Wire, clock: list[float]) -> None:
        connection.data_received(b"220 mx1.example\r\n")
        assert (await connection.command(b"")).code == 220

    on_a_wire(body)


def test_words_nobody_asked_for_end_a_connection_that_is_ready() -> None:
    async def body(connection: Connection, wire: Wire, clock: list[float]) -> None:
        connection.ready = True
        connection.data_received(b"421 4.4.2 idle too long\r\n")
        assert not connection.usable
        assert wire.closed

    on_a_wire(body)


def test_the_deadline_is_kept_by_the_tick() -> None:
    """RFC 5321 §4.5.3.2."""

    async def body(connection: Connection, wire: Wire, clock: list[float]) -> None:
        waiting = asyncio.ensure_future(connection.command(b"NOOP\r\n"))
        await asyncio.sleep(0)
        connection.tick(299.0)
        assert not wire.closed
        connection.tick(300.0)
        with pytest.raises(TemporaryFailure, match="did not answer in time"):
            await waiting
        assert wire.closed

    on_a_wire(body)


def test_quit_is_said_once_and_waited_for_briefly() -> None:
    async def body(connection: Connection, wire: Wire, clock: list[float]) -> None:
        connection.quit()
        connection.quit()
        assert wire.sent == b"QUIT\r\n"
        connection.tick(4.0)
        connection.tick(6.0)
        assert wire.closed

    on_a_wire(body)
