"""What the clients send, whom they send it through, and whether it came through whole."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

__all__ = ["TEXT", "Letter", "Submission"]

# Lines that go wrong easily: octets above 127, dots at the start, spaces at the end, a "From " line, a long line.
TEXT = (
    "こんにちは、凛です。\n"
    ".\n"
    "..two dots\n"
    ".a dot and a word\n"
    "From the top\n"
    "spaces at the end   \n"
    "\n"
    "\n" + "long " * 150 + "\n"
    "最後の行\n"
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A server to submit to: where it listens, whom it knows, and whose signature its certificate bears."""

    submission_port: int
    submissions_port: int
    authority: Path
    login: str
    password: str
    host: str = "127.0.0.1"

    def port(self, *, implicit_tls: bool) -> int:
        return self.submissions_port if implicit_tls else self.submission_port


@dataclass(frozen=True, slots=True)
class Letter:
    """One message from a person to a person."""

    sender: str
    recipient: str
    subject: str = "Interop"
    text: str = TEXT

    def octets(self) -> bytes:
        """Return it as most programs are handed it: LF line ends, 8-bit text."""
        lines = [
            f"From: Rin <{self.sender}>",
            f"To: <{self.recipient}>",
            f"Subject: {self.subject}",
            "Date: Tue, 24 Nov 2026 09:00:00 +0900",
            f"Message-ID: <{self.recipient}>",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: 8bit",
            "",
            self.text,
        ]
        return "\n".join(lines).encode()

    def wire(self) -> bytes:
        """Return it with the line ends of the wire, for programs that take CRLF."""
        return self.octets().replace(b"\n", b"\r\n")

    def is_text_of(self, message: EmailMessage) -> bool:
        """Tell whether *message*, decoded, is this text: to the octet, but for line ends at the very end."""
        part = message.get_body(("plain",))
        assert part is not None
        text = part.get_content()
        assert isinstance(text, str)
        return text.replace("\r\n", "\n").rstrip("\n") == self.text.rstrip("\n")
