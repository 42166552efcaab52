"""What a machine of the lab does, and what it experiences: runs inside its namespace, tasks in, observations out.

``python -m sekisho.lab.actor`` reads a JSON list of tasks on standard input, carries all of them out at once, and
writes a JSON list of observations in the same order. Each is bounded in time by its own ``seconds``. With ``sink`` as
its argument it is instead a hundred mail servers that greet everybody and take no mail, until it is told to end.

A task is an object with ``kind`` (a name in `KINDS`) and that function's arguments; an observation has ``outcome`` (one
of the words in `OUTCOMES`), ``evidence`` (what was seen, one line), ``seconds``, and ``at`` (when it ended, by
CLOCK_MONOTONIC, which all programs of a machine share).
"""

from __future__ import annotations

import asyncio
import errno
import imaplib
import json
import poplib
import random
import smtplib
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

OUTCOMES = ("works", "explained", "dropped", "rejected", "refused", "failed")
"""It did what it was to do; 554 with words; nothing came back; an ICMP said no; a RST; something else, see evidence."""

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
SOURCES = 250  # half-open connections that a sprayer keeps at most

Observation = dict[str, object]
Report = tuple[str, str]


def greet(address: str, port: int, seconds: float) -> Report:
    """Connect and read the greeting, say EHLO, and end; RFC 5321 §3.1."""
    with socket.create_connection((address, port), timeout=seconds) as connection:
        greeting = _reply(connection)
        if greeting.startswith("220"):
            connection.sendall(b"QUIT\r\n")
            return "works", greeting
        if greeting.startswith("554"):
            connection.sendall(b"EHLO old-client.example\r\n")
            return "explained", greeting
        return "failed", greeting or "closed without a word"


def _reply(connection: socket.socket) -> str:
    """Read one reply of any number of lines; its text is joined by blanks."""
    octets = b""
    while len(octets) < 8192:
        more = connection.recv(4096)
        octets += more
        lines = octets.split(b"\r\n")
        if not more or any(line[3:4] in (b" ", b"") and line[:3].isdigit() for line in lines[:-1]):
            break
    texts = octets.decode("utf-8", "replace").splitlines()
    return " ".join([texts[0], *(line[4:] for line in texts[1:])]) if texts else ""


class _Smtp(smtplib.SMTP):
    """A client that goes to *address*, whatever the name that its certificate is checked for."""

    address = ""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((self.address, port), timeout)


class _SmtpTls(_Smtp):
    """The same with TLS from the first octet (RFC 8314 §3.3)."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        from sekisho.net.tls import client_context

        return client_context(verify=True).wrap_socket(super()._get_socket(host, port, timeout), server_hostname=host)


def submit(
    address: str,
    port: int,
    seconds: float,
    host: str,
    sender: str,
    recipient: str,
    token: str,
    login: str = "",
    password: str = "",
    tls: str = "none",
) -> Report:
    """Send one message; *tls* is none, starttls or implicit, and *login* may be empty.

    *token* stands in the subject, by which the message is found where it arrives.
    """
    client = _SmtpTls(timeout=seconds) if tls == "implicit" else _Smtp(timeout=seconds)
    client.address = address
    client._host = host  # type: ignore[attr-defined]  # smtplib checks the certificate for the name it connected to
    code, greeting = client.connect(host, port)
    if code != 220:
        words = f"{code} {greeting.decode(errors='replace')}".replace("\n", " ")
        return ("explained" if code == 554 else "failed"), words
    with client:
        client.ehlo("client.example")
        if tls == "starttls":
            from sekisho.net.tls import client_context

            client.starttls(context=client_context(verify=True))
            client.ehlo("client.example")
        if login:
            client.login(login, password)
        message = (
            f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {token}\r\nMessage-ID: <{token}@lab.example>\r\n"
            f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\r\n\r\nrehearsal\r\n"
        )
        client.sendmail(sender, [recipient], message)
    ways = {"none": "", "starttls": ", STARTTLS", "implicit": ", TLS"}
    return "works", f"{host}:{port} took it{ways[tls]}{', AUTH' if login else ''}"


def pop(address: str, port: int, seconds: float, login: str, password: str) -> Report:
    """Look into the mailbox by POP3."""
    client = poplib.POP3(address, port, timeout=seconds)
    client.user(login)
    client.pass_(password)
    count = client.stat()[0]
    client.quit()
    return "works", f"POP3 on {port}: logged in, {count} messages"


def imap(address: str, port: int, seconds: float, login: str, password: str) -> Report:
    """Look into the mailbox by IMAP."""
    client = imaplib.IMAP4(address, port, timeout=seconds)
    client.login(login, password)
    status, _ = client.select("INBOX", readonly=True)
    client.logout()
    return ("works" if status == "OK" else "failed"), f"IMAP on {port}: logged in, INBOX {status}"


def shake(address: str, port: int, seconds: float, host: str) -> Report:
    """Connect with TLS from the first octet, checking the certificate, and read the greeting."""
    from sekisho.net.tls import client_context

    with (
        socket.create_connection((address, port), timeout=seconds) as connection,
        client_context(verify=True).wrap_socket(connection, server_hostname=host) as wrapped,
    ):
        return "works", f"{wrapped.version()} on {port}: {wrapped.recv(200).decode(errors='replace').strip()[:60]}"


def forge(address: str, port: int, seconds: float, source: str, count: int) -> Report:
    """Send *count* connection requests with somebody else's *source* address; nobody answers them to us."""
    sent = []
    for _ in range(count):
        connection = _forging(source)
        connection.setblocking(False)
        connection.connect_ex((address, port))
        sent.append(connection)
    time.sleep(min(seconds, 1.2))  # the kernel repeats them once
    for connection in sent:
        connection.close()
    return "works", f"{count} connection requests as {source} towards {address}:{port}"


def _forging(source: str) -> socket.socket:
    six = ":" in source
    connection = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    level, option = (socket.IPPROTO_IPV6, IPV6_TRANSPARENT) if six else (socket.SOL_IP, IP_TRANSPARENT)
    connection.setsockopt(level, option, 1)
    connection.bind((source, 0))
    return connection


def spray(addresses: list[str], port: int, seconds: float, per_second: float) -> Report:
    """Connect to ever other ones of *addresses*, as a worm does; nothing is sent."""
    attempts, answered = _knock(addresses, port, seconds, per_second, keep=2.0)
    return "works", f"{attempts} attempts to {len(addresses)} servers in {seconds:g} s, {answered} answered"


def stream(addresses: list[str], port: int, seconds: float, per_second: float) -> Report:
    """Connect without pause for *seconds*: ``works`` if every attempt was answered, ``dropped`` if none was."""
    attempts, answered = _knock(addresses, port, seconds, per_second, keep=3.0)
    outcome = "works" if answered == attempts else "dropped" if answered == 0 else "failed"
    return outcome, f"{answered} of {attempts} connections answered in {seconds:g} s"


def _knock(addresses: list[str], port: int, seconds: float, per_second: float, keep: float) -> tuple[int, int]:
    """Begin connections at a steady rate, wait *keep* seconds for each answer.

    Returns:
        How many began, and how many of them were answered.
    """
    order = random.Random(len(addresses))  # noqa: S311
    waiting: list[tuple[float, socket.socket]] = []
    attempts = answered = 0
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + seconds or waiting:
        if now < begin + seconds and attempts < (now - begin) * per_second and len(waiting) < SOURCES:
            address = order.choice(addresses)
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            connection.connect_ex((address, port))
            waiting.append((now, connection))
            attempts += 1
            continue
        still = []
        for started, connection in waiting:
            if _is_connected(connection):
                answered += 1
                connection.close()
            elif now - started > keep:
                connection.close()
            else:
                still.append((started, connection))
        waiting = still
        time.sleep(0.005)
    return attempts, answered


def _is_connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def until(address: str, port: int, seconds: float) -> Report:
    """Connect anew every 50 ms until one connection is answered."""
    begin = time.monotonic()
    waiting: list[socket.socket] = []
    try:
        while time.monotonic() - begin < seconds:
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            waiting.append(connection)
            connection.setblocking(False)
            connection.connect_ex((address, port))
            time.sleep(0.05)
            if any(_is_connected(each) for each in waiting):
                return "works", f"answered after {len(waiting)} attempts"
    finally:
        for connection in waiting:
            connection.close()
    return "dropped", f"{len(waiting)} attempts in {seconds:g} s"


def retry(address: str, port: int, seconds: float, every: float) -> Report:
    """Try the same server again and again, as a mail client with a message in its outbox does."""
    begin, attempts, last = time.monotonic(), 0, ("failed", "")
    while time.monotonic() - begin < seconds:
        last = _attempt(greet, {"address": address, "port": port, "seconds": min(every, 2.0)})
        attempts += 1
        time.sleep(max(0.0, begin + attempts * every - time.monotonic()))
    return last[0], f"{attempts} attempts to {address}:{port} in {seconds:g} s, the last: {last[1]}"


KINDS: dict[str, Callable[..., Report]] = {
    "greet": greet,
    "submit": submit,
    "pop": pop,
    "imap": imap,
    "shake": shake,
    "forge": forge,
    "spray": spray,
    "stream": stream,
    "until": until,
    "retry": retry,
}

ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "dropped",
    errno.EHOSTUNREACH: "rejected",  # ICMP administratively prohibited, as Linux reports it for IPv4 ...
    errno.ENETUNREACH: "rejected",
    errno.EACCES: "rejected",  # ... and for IPv6
}


def _attempt(function: Callable[..., Report], arguments: dict[str, Any]) -> Report:
    try:
        return function(**arguments)
    except TimeoutError:
        return "dropped", f"no answer within {arguments['seconds']:g} s"
    except smtplib.SMTPResponseException as error:
        words = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return "failed", f"{error.smtp_code} {words}".replace("\n", " ")
    except OSError as error:
        return ERRORS.get(error.errno or 0, "failed"), str(error)
    except (smtplib.SMTPException, poplib.error_proto, imaplib.IMAP4.error, EOFError) as error:
        return "failed", f"{type(error).__name__}: {error}"


def observe(task: dict[str, Any]) -> Observation:
    """Carry out one task."""
    begin = time.monotonic()
    arguments = {name: value for name, value in task.items() if name != "kind"}
    outcome, evidence = _attempt(KINDS[task["kind"]], arguments)
    ended = time.monotonic()
    return {"outcome": outcome, "evidence": evidence[:400], "seconds": round(ended - begin, 3), "at": round(ended, 3)}


async def sink(ports: tuple[int, ...] = (25,)) -> None:
    """Greet everybody on all addresses, answer nothing else than QUIT, keep each connection for 20 seconds at most."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(20):
                writer.write(b"220 stranger.example ESMTP\r\n")
                while line := await reader.readline():
                    writer.write(b"221 2.0.0 Bye\r\n" if line[:4].upper() == b"QUIT" else b"451 4.3.0 Not today\r\n")
                    if line[:4].upper() == b"QUIT":
                        break
        except (OSError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    for port in ports:
        await asyncio.start_server(serve, ["0.0.0.0", "::"], port, backlog=1024)  # noqa: S104
    await asyncio.Event().wait()


def main(arguments: list[str]) -> int:
    """Be the sink, or carry out the tasks on standard input."""
    if arguments == ["sink"]:
        asyncio.run(sink())
        return 0
    tasks = json.load(sys.stdin)
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        json.dump(list(pool.map(observe, tasks)), sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
