"""TLS as a transformation of octets, and the contexts that everything else uses."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import ssl
import warnings

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.net.tls_client import HOST, TlsClient, identity, private_pem

from sekisho.net.tls import (
    ServerTls,
    TlsError,
    TlsFailure,
    TlsPipe,
    client_context,
    is_client_hello,
    server_context,
)

LETTER = bytes(range(256)) * 400  # more than six records


def tls(*, minimum: str = "1.2") -> ServerTls:
    return server_context(identity().certificate, identity().key, minimum=minimum)


def connected(pipe: TlsPipe, client: TlsClient) -> None:
    """Shake hands."""
    to_server = client.hello()
    while not (pipe.established and client.established):
        assert pipe.receive(to_server) == b""
        client.receive(pipe.outgoing())
        to_server = client.outgoing()
    if to_server:
        assert pipe.receive(to_server) == b""
        client.receive(pipe.outgoing())


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_octets_pass_both_ways(newest: ssl.TLSVersion) -> None:
    pipe, client = TlsPipe(tls()), TlsClient(newest=newest)
    connected(pipe, client)
    client.send(LETTER)
    assert pipe.receive(client.outgoing()) == LETTER
    assert client.receive(pipe.encrypt(LETTER)) == LETTER
    assert pipe.outgoing() == b""
    assert pipe.facts().version == client.version
    assert pipe.facts().cipher.startswith(("TLS_", "ECDHE"))


@given(cuts=st.lists(st.integers(0, 3000), max_size=20).map(sorted))
@settings(max_examples=40, deadline=None)
def test_a_connection_reads_the_same_however_the_network_cuts_it(cuts: list[int]) -> None:
    pipe, client = TlsPipe(tls()), TlsClient()
    plain = b""
    due = client.hello()
    spoken = False
    while due:
        edges = [0, *(cut for cut in cuts if cut < len(due)), len(due)]
        for start, end in itertools.pairwise(edges):
            plain += pipe.receive(due[start:end])
        client.receive(pipe.outgoing())
        if client.established and not spoken:
            client.send(LETTER)
            spoken = True
        due = client.outgoing()
    assert plain == LETTER


def test_octets_in_the_segment_that_ends_the_handshake_are_read() -> None:
    pipe, client = TlsPipe(tls()), TlsClient()
    pipe.receive(client.hello())
    client.receive(pipe.outgoing())
    client.send(b"EHLO client.example\r\n")
    assert pipe.receive(client.outgoing()) == b"EHLO client.example\r\n"
    assert pipe.established


def test_octets_before_the_goodbye_are_read_and_the_goodbye_noticed() -> None:
    pipe, client = TlsPipe(tls()), TlsClient()
    connected(pipe, client)
    client.send(b"QUIT\r\n")
    client.end()
    assert pipe.receive(client.outgoing()) == b"QUIT\r\n"
    assert pipe.ended


def test_the_client_is_told_goodbye() -> None:
    pipe, client = TlsPipe(tls()), TlsClient()
    connected(pipe, client)
    last = pipe.encrypt(b"221 Goodbye\r\n")
    pipe.close()
    assert client.receive(last + pipe.outgoing()) == b"221 Goodbye\r\n"
    assert client.ended


def test_no_goodbye_is_said_where_no_handshake_was_made() -> None:
    pipe = TlsPipe(tls())
    pipe.close()
    assert pipe.outgoing() == b""


@pytest.mark.parametrize("noise", [b"EHLO client.example\r\n", b"\x16\x03\x01\x00\x04\xff\x00\x00\x00", b"\x80" * 100])
def test_what_is_not_tls_is_an_error_of_ours(noise: bytes) -> None:
    with pytest.raises(TlsError) as caught:
        TlsPipe(tls()).receive(noise)
    assert caught.value.problem


def test_a_client_that_is_too_old_gets_an_alert() -> None:
    """RFC 8446 §6.2, protocol_version."""
    pipe, client = TlsPipe(tls(minimum="1.3")), TlsClient(newest=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(TlsError, match="PROTOCOL"):
        pipe.receive(client.hello())
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        client.receive(pipe.outgoing())


def failed(pipe: TlsPipe, context: ssl.SSLContext, name: str | None = HOST) -> TlsFailure:
    """Let a client of *context* shake hands with *pipe* until that fails, and return the reason that *pipe* tells."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    with pytest.raises(TlsError) as caught:  # noqa: PT012 - the round that fails is the library's affair
        for _ in range(5):
            with contextlib.suppress(ssl.SSLError):
                client.do_handshake()
            pipe.receive(to_server.read())
            to_client.write(pipe.outgoing())
    assert not pipe.shaking_hands
    return caught.value.reason


def client(**changes: object) -> ssl.SSLContext:
    """Return the settings of a client, with *changes*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=identity().certificate.decode())
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize("newest", ["TLSv1", "TLSv1_1"])
def test_the_reason_tells_a_client_whose_tls_is_too_old(newest: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = client(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion[newest])
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert failed(TlsPipe(tls()), old) is TlsFailure.VERSION


def test_the_reason_tells_a_client_of_the_last_century() -> None:
    """SSL 3.0 in a record of its time (RFC 6101)."""
    hello = b"\x03\x00" + bytes(32) + b"\x00" + b"\x00\x02\x00\x0a" + b"\x01\x00"
    message = b"\x01" + len(hello).to_bytes(3, "big") + hello
    with pytest.raises(TlsError) as caught:
        TlsPipe(tls()).receive(b"\x16\x03\x00" + len(message).to_bytes(2, "big") + message)
    assert caught.value.reason is TlsFailure.VERSION


def test_the_reason_tells_a_client_without_a_common_cipher() -> None:
    without = client(maximum_version=ssl.TLSVersion.TLSv1_2)
    without.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # our certificate is no RSA one
    assert failed(TlsPipe(tls()), without) is TlsFailure.CIPHER


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_reason_tells_a_client_that_does_not_accept_our_certificate(version: ssl.TLSVersion) -> None:
    distrustful = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    distrustful.maximum_version = version
    assert failed(TlsPipe(tls()), distrustful) is TlsFailure.CERTIFICATE
    assert failed(TlsPipe(tls()), client(maximum_version=version), "old.example.jp") is TlsFailure.CERTIFICATE


@pytest.mark.parametrize("noise", [b"EHLO client.example\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100])
def test_the_reason_tells_what_is_not_tls(noise: bytes) -> None:
    with pytest.raises(TlsError) as caught:
        TlsPipe(tls()).receive(noise)
    assert caught.value.reason is TlsFailure.NOT_TLS


def test_a_handshake_is_under_way_from_its_first_octets_to_its_end() -> None:
    pipe, client = TlsPipe(tls()), TlsClient()
    seen = [pipe.shaking_hands]
    pipe.receive(client.hello())
    seen.append(pipe.shaking_hands)
    client.receive(pipe.outgoing())
    pipe.receive(client.outgoing())
    assert [*seen, pipe.shaking_hands] == [False, True, False]


def test_the_host_name_that_a_client_asks_for_is_known() -> None:
    """RFC 6066 §3; a client that asks for none, or for another, is served all the same."""
    for asked, told in ((HOST, HOST), ("OLD.example.jp", "old.example.jp"), (None, None)):
        pipe = TlsPipe(tls())
        context = client(check_hostname=False)
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        connection = context.wrap_bio(to_client, to_server, server_hostname=asked)
        while not pipe.established:
            with contextlib.suppress(ssl.SSLWantReadError):
                connection.do_handshake()
            pipe.receive(to_server.read())
            to_client.write(pipe.outgoing())
        assert pipe.facts().name == told


def test_a_record_changed_on_the_way_is_an_error() -> None:
    pipe, client = TlsPipe(tls()), TlsClient()
    connected(pipe, client)
    client.send(b"MAIL FROM:<rin@example.jp>\r\n")
    record = bytearray(client.outgoing())
    record[-1] ^= 1
    with pytest.raises(TlsError):
        pipe.receive(bytes(record))


def test_neither_side_keeps_octets_that_were_taken() -> None:
    pipe, client = TlsPipe(tls()), TlsClient()
    connected(pipe, client)
    for _ in range(20):
        client.send(LETTER)
        pipe.receive(client.outgoing())
        client.receive(pipe.encrypt(LETTER))
    assert pipe._incoming.pending == 0
    assert pipe.output.pending == 0


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", False),
        (b"\x16", True),
        (b"\x16\x03\x01", True),
        (b"\x16\x02", False),
        (b"EHLO", False),
        (b"\x15\x03", False),
    ],
)
def test_a_client_hello_is_known_by_its_first_octets(octets: bytes, expected: bool) -> None:
    """RFC 8446 §5.1."""
    assert is_client_hello(octets) is expected


def test_a_true_client_hello_is_known() -> None:
    assert is_client_hello(TlsClient().hello())


@pytest.mark.parametrize(("hash_name", "digest"), [("SHA256", "sha256"), ("SHA384", "sha384"), ("SHA512", "sha512")])
def test_the_channel_binding_hashes_the_certificate_with_its_own_hash(hash_name: str, digest: str) -> None:
    """RFC 5929 §4.1."""
    its = identity(2, hash_name)
    served = server_context(its.certificate, its.key)
    expected = hashlib.new(digest, its.certificate_der).digest()
    assert served.end_point == expected
    assert TlsPipe(served).bindings(served) == {"tls-server-end-point": expected}


def test_a_key_of_another_certificate_is_told_in_words() -> None:
    with pytest.raises(TlsError) as caught:
        server_context(identity(0).certificate, identity(1).key)
    assert caught.value.problem == "the private key does not belong to the certificate"


def test_an_encrypted_key_is_told_in_words_and_asks_nobody_for_a_passphrase() -> None:
    key = load_pem_private_key(identity().key, None)
    with pytest.raises(TlsError, match="encrypted"):
        server_context(identity().certificate, private_pem(key, b"secret"))  # type: ignore[arg-type]  # it is EC


@pytest.mark.parametrize("octets", [b"", b"not PEM", identity().key])
def test_what_is_no_certificate_is_told_in_words(octets: bytes) -> None:
    with pytest.raises(TlsError) as caught:
        server_context(octets, identity().key)
    assert "\n" not in caught.value.problem
    assert "PRIVATE KEY" not in caught.value.problem


def test_a_client_checks_the_certificate_and_the_name_unless_told_otherwise() -> None:
    strict, lenient = client_context(verify=True), client_context(verify=False)
    assert strict.verify_mode is ssl.CERT_REQUIRED
    assert strict.check_hostname
    assert strict.minimum_version is ssl.TLSVersion.TLSv1_2
    assert lenient.verify_mode is ssl.CERT_NONE
    assert not lenient.check_hostname
    assert lenient.options & ssl.OP_NO_SSLv3


def test_the_server_speaks_nothing_older_than_it_was_told() -> None:
    """RFC 8996."""
    assert tls().context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls(minimum="1.3").context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert tls().context.options & ssl.OP_NO_RENEGOTIATION
    assert tls().context.options & ssl.OP_NO_COMPRESSION
