"""A caller for the server core: answers every event, and writes down what was asked, sent and kept.

Every conversation is held in each way that there is: event by event, by `run_dialogue` in Python and in C where there
is a kernel. All must come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sekisho.smtp import (
    Auth,
    AuthResponse,
    ContentChunk,
    Data,
    EndOfContent,
    Event,
    Hello,
    MailFrom,
    RcptTo,
    Reply,
    Reset,
    ServerConnection,
    ServerProfile,
    StartTls,
    Wrong,
    replies,
)
from sekisho.smtp.server import pump, run_in_python, take_in_python

OPEN = ServerProfile(
    hostname="mx.example.jp",
    max_content_octets=10_000,
    max_recipients=3,
    max_transactions=5,
    offer_starttls=False,
    require_tls=False,
    require_auth=False,
    mechanisms=(),
)
SUBMISSION = replace(OPEN, require_auth=True, mechanisms=("PLAIN", "LOGIN"))
BEFORE_TLS = replace(OPEN, offer_starttls=True, require_tls=True, require_auth=True)

Answer = Callable[[Event], Reply | bytes]
Run = Callable[[ServerConnection, bytes, Callable[[Event], object]], object]
Take = Callable[[ServerConnection], bytes]
WAYS: list[tuple[Run, Take]] = [(run_in_python, take_in_python)]
if pump is not None:
    WAYS.append((pump.run, pump.take))

_YES: dict[type[Event], Reply] = {
    Hello: replies.HELLO,
    StartTls: replies.READY_FOR_TLS,
    Auth: replies.AUTH_OK,
    AuthResponse: replies.AUTH_OK,
    MailFrom: replies.SENDER_OK,
    RcptTo: replies.RECIPIENT_OK,
    Data: replies.START_CONTENT,
    EndOfContent: replies.accepted("Q"),
}


def yes(event: Event) -> Reply | bytes:
    """Agree to everything the core leaves to its caller."""
    return _YES[event.__class__]


@dataclass
class Transcript:
    """What one conversation came to."""

    core: ServerConnection
    events: list[Event] = field(default_factory=list)  # without content
    sent: bytes = b""
    kept: list[bytes] = field(default_factory=list)  # content of each accepted message

    @property
    def codes(self) -> list[int]:
        """Code of each reply, in order."""
        return [int(line[:3]) for line in self.sent.split(b"\r\n")[:-1] if line[3:4] != b"-"]

    @property
    def wrong(self) -> list[Reply]:
        return [event.reply for event in self.events if isinstance(event, Wrong)]

    def asked(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def summary(self) -> tuple[list[Event], bytes, list[bytes], bool, int]:
        return self.events, self.sent, self.kept, self.core.closed, self.core.errors


def converse(
    pieces: Iterable[bytes],
    profile: ServerProfile = OPEN,
    *,
    tls: bool = True,
    answer: Answer = yes,
    eof: bool = False,
) -> Transcript:
    """Feed *pieces* to a new core and answer what it asks."""
    pieces = list(pieces)
    answers: list[Reply | bytes] = []

    def noted(event: Event) -> Reply | bytes:
        answers.append(answer(event))
        return answers[-1]

    transcript = Transcript(ServerConnection(profile, tls=tls))
    go_on(transcript, pieces, noted)
    if eof:
        transcript.core.receive_eof()
        go_on(transcript, [b""], noted)
    for run, take in WAYS:
        other = _run_through(run, take, pieces, ServerConnection(profile, tls=tls), answers, eof)
        assert other.summary() == transcript.summary(), run
    return transcript


def _run_through(
    run: Run,
    take_output: Take,
    pieces: Sequence[bytes],
    core: ServerConnection,
    answers: Sequence[Reply | bytes],
    eof: bool,
) -> Transcript:
    transcript, content, following = Transcript(core), bytearray(), iter(answers)

    def decide(event: Event) -> Reply | bytes | None:
        if isinstance(event, ContentChunk):
            content.extend(event.octets)
            return None
        transcript.events.append(event)
        if isinstance(event, Reset | Wrong):
            return None
        given = next(following)
        if isinstance(event, EndOfContent):
            given = event.refusal or given
            if isinstance(given, Reply) and given.is_positive:
                transcript.kept.append(bytes(content))
        if isinstance(event, EndOfContent | Data):
            content.clear()
        return given

    def take(octets: bytes) -> None:
        while (challenge := run(core, octets, decide)) is not None:
            assert isinstance(challenge, bytes)
            core.challenge(challenge)
            octets = b""
        transcript.sent += take_output(core)

    for piece in pieces:
        take(piece)
    if eof:
        core.receive_eof()
        take(b"")
    return transcript


def go_on(transcript: Transcript, pieces: Iterable[bytes], answer: Answer = yes) -> None:
    """Feed more to a conversation."""
    core = transcript.core
    content = b""
    for piece in pieces:
        core.receive_data(piece)
        while (event := core.next_event()) is not None:
            if isinstance(event, ContentChunk):
                content += event.octets
                continue
            transcript.events.append(event)
            if isinstance(event, Reset | Wrong):
                continue
            given = answer(event)
            if isinstance(event, EndOfContent):
                given = event.refusal or given
                assert isinstance(given, Reply)
                if given.is_positive:
                    transcript.kept.append(content)
            if isinstance(event, EndOfContent | Data):
                content = b""
            if isinstance(given, Reply):
                core.reply(given)
            else:
                core.challenge(given)
        transcript.sent += core.data_to_send()


def lines(*commands: str) -> bytes:
    """Join commands as a client sends them."""
    return b"".join(command.encode() + b"\r\n" for command in commands)
