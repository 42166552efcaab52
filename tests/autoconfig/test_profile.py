"""Apple's profile: what is in it, and a signature that openssl accepts."""

from __future__ import annotations

import datetime
import plistlib
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.interop.certificates import Authority
from tests.interop.programs import need

from sekisho.autoconfig.errors import NotOffered, SigningError
from sekisho.autoconfig.profile import profile, profile_url, qr_svg, sign
from sekisho.smtp import Mailbox
from sekisho.supervise.certificate import make_self_signed

from .providers import POP3, SUBMISSION, SUBMISSIONS, provider


def test_it_tells_the_servers_and_never_a_password() -> None:
    octets = profile(provider(), "example.jp", Mailbox.parse("rin@example.jp"))
    whole = plistlib.loads(octets)
    (account,) = whole["PayloadContent"]
    assert whole["PayloadType"] == "Configuration"
    assert account["PayloadType"] == "com.apple.mail.managed"
    assert account["EmailAccountType"] == "EmailTypeIMAP"
    assert account["EmailAddress"] == "rin@example.jp"
    for way, host, port in (("Incoming", "imap.example.jp", 993), ("Outgoing", "mail.example.jp", 465)):
        server = f"{way}MailServer"
        assert (account[f"{server}HostName"], account[f"{server}PortNumber"]) == (host, port)
        assert account[f"{server}UseSSL"] is True
        assert account[f"{server}Username"] == "rin@example.jp"
    assert not [key for key in account if key.endswith("Password") and isinstance(account[key], str)]


def test_the_same_person_gets_the_same_identifiers_and_others_do_not() -> None:
    first, again, other = (
        profile(provider(), "example.jp", Mailbox.parse(text))
        for text in ("rin@example.jp", "Rin@example.jp", "aoi@example.jp")
    )
    identifiers = [plistlib.loads(octets)["PayloadUUID"] for octets in (first, again, other)]
    assert identifiers[0] == identifiers[1] != identifiers[2]
    assert first == profile(provider(), "example.jp", Mailbox.parse("rin@example.jp"))


def test_for_everybody_the_device_asks() -> None:
    (account,) = plistlib.loads(profile(provider(incoming=(POP3,)), "example.net"))["PayloadContent"]
    assert account["EmailAccountType"] == "EmailTypePOP"
    assert not {"EmailAddress", "IncomingMailServerUsername", "OutgoingMailServerUsername"} & set(account)


def test_implicit_tls_is_taken_whatever_the_order() -> None:
    made = profile(provider(outgoing=(SUBMISSION, SUBMISSIONS)), "example.jp")
    (account,) = plistlib.loads(made)["PayloadContent"]
    assert account["OutgoingMailServerPortNumber"] == 465


def test_openssl_verifies_the_signature(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("mail.example.jp")
    chain = pair.certificate.read_bytes() + authority.certificate.read_bytes()
    plain = profile(provider(), "example.jp")
    (tmp_path / "signed").write_bytes(sign(plain, chain, pair.key.read_bytes()))
    assert verify(tmp_path, authority.certificate) == plain
    spoiled = bytearray((tmp_path / "signed").read_bytes())
    spoiled[spoiled.index(b"imap.example.jp")] ^= 1
    (tmp_path / "signed").write_bytes(bytes(spoiled))
    assert verify(tmp_path, authority.certificate) is None


def verify(directory: Path, authority: Path) -> bytes | None:
    command = [need("openssl"), "cms", "-verify", "-inform", "DER", "-in", "signed", "-out", "content"]
    command += ["-CAfile", str(authority), "-purpose", "any"]
    done = subprocess.run(command, cwd=directory, capture_output=True)
    return (directory / "content").read_bytes() if done.returncode == 0 else None


def test_what_cannot_sign_says_why(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    make_self_signed(certificate, key, ["mail.example.jp"], datetime.datetime.now(datetime.UTC))
    other = tmp_path / "other"
    make_self_signed(tmp_path / "unused", other, ["mail.example.jp"], datetime.datetime.now(datetime.UTC))
    edwards = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem, private, words in (
        (certificate.read_bytes(), other.read_bytes(), "does not belong"),
        (certificate.read_bytes(), edwards, "RSA or ECDSA"),
        (certificate.read_bytes(), b"no key", "cannot be read"),
        (b"no certificate", key.read_bytes(), "cannot be read"),
    ):
        with pytest.raises(SigningError, match=words):
            sign(b"", pem, private)


def test_the_qr_code_is_an_image_of_its_own() -> None:
    url = profile_url("example.jp")
    root = ElementTree.fromstring(qr_svg(url))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.findtext("{http://www.w3.org/2000/svg}title") == url
    with pytest.raises(NotOffered, match="too long"):
        qr_svg("https://example.jp/" + "x" * 3000)
