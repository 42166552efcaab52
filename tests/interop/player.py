"""Plays a mail client from its wire profile: what it does once its user has followed a guide. Plain sockets and ssl."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import ssl
import warnings
from contextlib import ExitStack
from pathlib import Path

from sekisho.guide.wire import WireProfile
from sekisho.sasl.client import client as sasl_client

__all__ = ["CouldNotSend", "TlsRefused", "play"]

TIMEOUT = 20.0


class CouldNotSend(AssertionError):
    """The client gave up, or the server refused: whoever follows the guide stays stuck."""


class TlsRefused(CouldNotSend):
    """The server speaks no TLS version that the client has."""


def play(
    profile: WireProfile,
    *,
    port: int,
    host: str,
    authority: Path,
    user_name: str,
    password: str,
    sender: str,
    recipient: str,
    initial_response: bool = True,
    source: str = "127.0.0.1",
) -> str:
    """Send one message as the client would, and return the mechanism it chose.

    Args:
        source: own address: the server learns of each whether its clients wait for a greeting.

    Raises:
        CouldNotSend: it did not come to a 250 for the message; the text has the last words of the server.
    """
    with ExitStack() as stack:
        connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT, source_address=(source, 0))
        player = _Player(stack.enter_context(connection), stack, profile, host, authority)
        mechanism = player.log_in(user_name, password, initial_response)
        player.command(f"MAIL FROM:<{sender}>", 250)
        player.command(f"RCPT TO:<{recipient}>", 250)
        player.command("DATA", 354)
        player.command(f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: guide\r\n\r\nplayed\r\n.", 250)
        player.command("QUIT", 221)
    return mechanism


class _Player:
    def __init__(
        self, connection: socket.socket, stack: ExitStack, profile: WireProfile, host: str, authority: Path
    ) -> None:
        self._socket = connection
        self._stack = stack
        self._profile = profile
        self._host = host
        self._authority = authority
        self._buffer = b""
        if profile.tls == "first":
            self._start_tls()
        self._reply(220, "the greeting")
        features = self._hello()
        if profile.tls == "starttls":
            if "STARTTLS" not in features:
                raise CouldNotSend(f"STARTTLS is not offered: {features}")
            self.command("STARTTLS", 220)
            self._start_tls()
            features = self._hello()
        self._offered = [word for line in features if line.upper().startswith("AUTH ") for word in line.split()[1:]]

    def log_in(self, user_name: str, password: str, initial_response: bool) -> str:
        """Log in by the first of the client's mechanisms that is offered."""
        mechanism = next((each for each in self._profile.mechanisms if each in self._offered), None)
        if mechanism is None:
            raise CouldNotSend(f"offered {self._offered}, knows {self._profile.mechanisms}")
        if mechanism == "LOGIN":
            self._login(user_name, password, initial_response)
        elif mechanism == "PLAIN":
            response = _base64(f"\0{user_name}\0{password}")
            if initial_response:
                self.command(f"AUTH PLAIN {response}", 235)
            else:
                self.command("AUTH PLAIN", 334)
                self.command(response, 235)
        elif mechanism == "CRAM-MD5":
            challenge = base64.b64decode(self.command("AUTH CRAM-MD5", 334)[4:])
            digest = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
            self.command(_base64(f"{user_name} {digest}"), 235)
        else:
            self._scram(mechanism, user_name, password)
        return mechanism

    def _login(self, user_name: str, password: str, initial_response: bool) -> None:
        if initial_response:
            prompt = self.command(f"AUTH LOGIN {_base64(user_name)}", 334)
        else:
            self._expect_prompt(self.command("AUTH LOGIN", 334), "Username:")
            prompt = self.command(_base64(user_name), 334)
        self._expect_prompt(prompt, "Password:")
        self.command(_base64(password), 235)

    def _expect_prompt(self, reply: str, prompt: str) -> None:
        words = base64.b64decode(reply[4:]).decode()
        if self._profile.exact_prompts and words != prompt:
            raise CouldNotSend(f"LOGIN asks {words!r}, not {prompt!r}")

    def _scram(self, mechanism: str, user_name: str, password: str) -> None:
        exchange = sasl_client(mechanism, user_name, password, nonce="guide-player")
        reply = self.command(f"AUTH {mechanism} {_base64(exchange.initial or b'')}", 334)
        for code in (334, 235):  # the server's signature comes in the last challenge, answered with an empty line
            reply = self.command(_base64(exchange.respond(base64.b64decode(reply[4:]))), code)
        if not exchange.done:
            raise CouldNotSend("the server did not prove that it knows the password")

    def _hello(self) -> list[str]:
        self._send(f"EHLO {self._profile.ehlo}")
        return [line[4:] for line in self._reply(250, "EHLO")[1:]]

    def command(self, line: str, code: int) -> str:
        """Send a line, and return the last line of the reply, which must have *code*."""
        self._send(line)
        return self._reply(code, line.split("\r\n")[0])[-1]

    def _send(self, line: str) -> None:
        self._socket.sendall(f"{line}\r\n".encode())

    def _reply(self, code: int, what: str) -> list[str]:
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            while b"\n" not in self._buffer:
                octets = self._socket.recv(65536)
                if not octets:
                    raise CouldNotSend(f"{what}: the server hung up after {lines}")
                self._buffer += octets
            line, _, self._buffer = self._buffer.partition(b"\n")
            lines.append(line.decode().rstrip("\r"))
        if not lines[-1].startswith(str(code)):
            raise CouldNotSend(f"{what}: {lines[-1]}")
        return lines

    def _start_tls(self) -> None:
        context = ssl.create_default_context(cafile=str(self._authority))
        try:
            _limit(context, self._profile.tls_ceiling)
            secured = context.wrap_socket(self._socket, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            raise CouldNotSend(f"the certificate is not one for {self._host}: {error}") from error
        except ssl.SSLError as error:
            raise TlsRefused(str(error)) from error
        self._socket = self._stack.enter_context(secured)


def _limit(context: ssl.SSLContext, ceiling: str) -> None:
    """Speak nothing newer than *ceiling*; what depends on the system or is unknown may use all that there is."""
    version = {"TLS1.0": ssl.TLSVersion.TLSv1, "TLS1.1": ssl.TLSVersion.TLSv1_1, "TLS1.2": ssl.TLSVersion.TLSv1_2}
    if ceiling not in version:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are the point here
        if ceiling != "TLS1.2":
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version[ceiling]


def _base64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()
