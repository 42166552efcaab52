"""The server side of one SMTP session, as a core without I/O.

Theory of operation. Octets go in (`receive_data`); each call of `next_event` reads as far as the next thing the caller
must know. An event that asks something stops the reading until it is answered (`reply`, `challenge`): pipelined
commands wait in the buffer (RFC 2920 §3.2). What is due to the client is collected and taken with `data_to_send`.

    receive_data -> next_event -> (reply | challenge) -> next_event -> … -> None -> data_to_send

`run_dialogue` and `take_output` do these steps for a caller that can answer at once. They may be compiled
(`sekisho.kernel`): then plain commands, the content and the replies that move a message on are handled there, on the
same objects; everything else here.

One core serves one TLS state. After STARTTLS the caller makes a new one, which knows nothing of what was said before
(RFC 3207 §4.2), and octets that came in the clear behind STARTTLS never reach it.

Everything kept has a bound: the line (`MAX_LINE_OCTETS`), what waits while an event is open (`MAX_HELD_OCTETS`), the
content swallowed (`ServerProfile.max_swallowed_octets`), the errors, the commands that lead nowhere. Nothing a client
sends raises.

RFC 5321, RFC 6409; extensions as listed in `extensions`.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from sekisho.kernel import compiled

from . import replies
from .address import Mailbox
from .commands import (
    COMMANDS,
    HEADER_LINE,
    HTTP_VERBS,
    MAX_AUTH_OCTETS,
    Command,
    State,
    Terms,
    decode_base64,
    read_chunk,
)
from .data import ChunkReader, DotReader
from .envelope import Body
from .events import (
    Auth,
    AuthResponse,
    ContentChunk,
    Data,
    EndOfContent,
    Event,
    Hello,
    MailFrom,
    RcptTo,
    Reset,
    StartTls,
    Wrong,
)
from .extensions import Refused, ServerProfile
from .lines import LineBuffer, LineFault
from .replies import Reply

if TYPE_CHECKING:
    from sekisho.kernel._kernel import Pump

MAX_LINE_OCTETS = MAX_AUTH_OCTETS + 2  # kept of an unfinished line; the limit of each verb is in its row
MAX_SWALLOWED_LINE_OCTETS = 65536  # a longer line closes the connection
MAX_HELD_OCTETS = 1 << 20  # received while an event waits for its reply
MAX_FRUITLESS = 100  # commands between two messages that lead nowhere; more of them count as errors
MAX_EXCERPT_CHARACTERS = 120

_CONNECTED: Final = State.CONNECTED
_READY: Final = State.READY
_EXCHANGE: Final = State.EXCHANGE
_SENDER: Final = State.SENDER
_RECIPIENTS: Final = State.RECIPIENTS
_CONTENT: Final = State.CONTENT
_CHUNK: Final = State.CHUNK
_CHUNKS: Final = State.CHUNKS
_TLS: Final = State.TLS
_CLOSED: Final = State.CLOSED

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_WORD = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,14}:?(?= |$)")
_AUTH_SHOWN = re.compile(rb"AUTH [A-Z0-9_-]{1,20}(?= |$)")


class ServerConnection:
    """Octets in, events out, replies in, octets out.

    Fields:
        errors: commands refused so far, by the core or by the caller.
    """

    __slots__ = (
        "_asked",
        "_chunk_excerpt",
        "_chunk_last",
        "_chunk_left",
        "_chunk_refusal",
        "_content",
        "_eof",
        "_events",
        "_flooded",
        "_fruitless",
        "_input",
        "_output",
        "_state",
        "_state_after_chunk",
        "_terms",
        "_withholding",
        "errors",
    )

    def __init__(self, profile: ServerProfile, *, tls: bool) -> None:
        self.errors = 0
        self._terms = Terms(profile, tls)
        self._state = _CONNECTED
        self._input = LineBuffer(MAX_LINE_OCTETS, MAX_SWALLOWED_LINE_OCTETS)
        self._events: list[Event] = []
        self._output: list[bytes] = []
        self._asked: Event | None = None  # the event that waits for its reply
        self._content: DotReader | ChunkReader | None = None
        self._chunk_left = 0
        self._chunk_last = False
        self._chunk_refusal: Reply | None = None  # sent once the octets are swallowed (RFC 3030 §2)
        self._chunk_excerpt = ""  # set when the refusal is the core's own
        self._state_after_chunk = _READY
        self._fruitless = 0
        self._withholding = False  # the next line may be a credential that lost its AUTH
        self._flooded = False
        self._eof = False

    # What the caller may look at

    @property
    def closed(self) -> bool:
        """The dialogue is over: send what is due, then close the connection."""
        return self._state is _CLOSED

    @property
    def waiting(self) -> bool:
        """An event waits for its reply; until then receive little or nothing more."""
        return self._asked is not None

    @property
    def in_content(self) -> bool:
        """What comes next is content, kept or swallowed, and no command."""
        return self._state is _CONTENT or self._state is _CHUNK

    @property
    def authenticated(self) -> bool:
        """AUTH was answered with 235 in this TLS state."""
        return self._terms.authenticated

    # Octets

    def receive_data(self, octets: bytes) -> None:
        """Take what came from the network. Call `next_event` until it returns None before taking more."""
        if self._state is _CLOSED:
            return
        if self._state is _TLS:
            self._close()
        elif self._asked is not None and len(self._input) + len(octets) > MAX_HELD_OCTETS:
            self._flooded = True  # the open question is answered first, then the connection is closed
        else:
            self._input.append(octets)

    def receive_eof(self) -> None:
        """The client sends nothing more. Complete commands still held are answered, then the core is closed."""
        self._eof = True

    def data_to_send(self) -> bytes:
        """Return, once, all octets due to the client."""
        output = self._output
        if not output:
            return b""
        octets = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return octets

    # Unasked words

    def greet(self) -> None:
        """Open the dialogue (RFC 5321 §3.1). Not after STARTTLS."""
        self._output.append(self._terms.profile.greeting)

    def refuse(self, reply: Reply) -> None:
        """Open with 421 or 554 in place of the greeting, and close (RFC 5321 §3.1)."""
        self.close_with(reply)

    def close_with(self, reply: Reply) -> None:
        """Say *reply*, commonly a 421, and close, whatever is under way (RFC 5321 §3.8)."""
        if self._state is not _CLOSED:
            self._output.append(reply.wire)
            self._close()

    def _close(self) -> None:
        self._state = _CLOSED
        self._asked = self._content = None
        self._input.clear()

    # Reading

    def next_event(self) -> Event | None:
        """Return what the client asks next; None when the reply, or more octets, are due first."""
        while True:
            if self._events:
                return self._events.pop(0)
            if self._asked is not None or self._state >= _TLS:
                return None
            if not self._read_on() and not self._events:
                if self._eof:
                    self._close()
                return None

    def _read_on(self) -> bool:
        """Read one line or what there is of the content. False when more octets are needed."""
        state = self._state
        if state is _CONTENT:
            return self._read_content()
        if state is _CHUNK:
            return self._read_chunk()
        line = self._input.take_line()
        if line is None:
            return False
        if not isinstance(line, bytes):
            self._take_fault(line)
        elif state is _EXCHANGE:
            self._take_response(line)
        else:
            self._take_command(line)
        return True

    def _take_fault(self, fault: LineFault) -> None:
        start = self._input.start
        verb = start[:5].decode(errors="replace").upper().rstrip(" ")
        if self._state is _EXCHANGE:
            self._state = _READY
            self._withholding = True
            verb = ""
        if fault is LineFault.BARE_LINE_FEED:
            reply = replies.BARE_LINE_FEED
        elif verb == "AUTH" or self._withholding:
            reply = replies.AUTH_LINE_TOO_LONG
        else:
            reply = replies.LINE_TOO_LONG
        self._refuse(reply, self._excerpt(start, verb if verb in COMMANDS else ""))
        self._withholding |= verb == "AUTH"
        if fault is not LineFault.TOO_LONG:
            self._close()

    def _take_command(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        verb, _, argument = text.partition(" ")
        command = COMMANDS.get(verb)
        if command is None:
            verb = verb.upper()
            command = COMMANDS.get(verb)
            if command is None:
                self._take_unknown(verb, text, line)
                return
        self._withholding = False
        try:
            if len(line) + 2 > command.max_octets:
                raise Refused(replies.AUTH_LINE_TOO_LONG if verb == "AUTH" else replies.LINE_TOO_LONG)
            if not text.isprintable() and _CONTROL.search(line) is not None:
                raise Refused(replies.BAD_SYNTAX)
            if verb == "BDAT":
                self._begin_chunk(command, argument)
                return
            refusal = self._out_of_order(command)
            if refusal is not None:
                raise Refused(refusal)
            event = command.read(argument, self._terms)
        except Refused as refused:
            self._refuse(refused.reply, self._excerpt(line, verb))
            if verb == "BDAT":
                self._close()  # where its octets end is unknown, and they must not be taken for commands
            self._withholding = verb == "AUTH"
            return
        if command.fruitless:
            self._count_fruitless()
            if self._state is _CLOSED:
                return
        if event is not None:
            self._announce(event)
        if command.answer is not None:
            self._output.append(command.answer.wire)
            if verb == "QUIT":
                self._close()

    def _out_of_order(self, command: Command) -> Reply | None:
        refusal = command.refused_in.get(self._state)
        if refusal is not None:
            return refusal
        if not command.before_tls and self._terms.profile.require_tls and not self._terms.tls:
            return replies.TLS_REQUIRED
        return None

    def _announce(self, event: Event) -> None:
        """Hand *event* out, and ask when it needs a reply."""
        if event.__class__ is StartTls and len(self._input):
            # Octets behind STARTTLS were meant to be read as if they had come over TLS (RFC 3207 §6, CVE-2011-0411).
            self._refuse(replies.STARTTLS_NOT_LAST, "STARTTLS")
            self._close()
        elif event.__class__ is Reset:
            self._reset()
            self._events.append(event)
        else:
            if event.__class__ is Hello and self._state > _EXCHANGE:
                self._reset()  # RFC 5321 §4.1.4: a new EHLO acts as RSET
                self._events.append(Reset())
            self._ask(event)

    def _ask(self, event: Event) -> None:
        self._asked = event
        self._events.append(event)

    def _reset(self) -> None:
        self._content = None
        if self._state is not _CONNECTED:
            self._state = _READY

    def _take_unknown(self, verb: str, text: str, line: bytes) -> None:
        if verb in HTTP_VERBS or HEADER_LINE.fullmatch(verb) is not None:
            self._refuse(replies.NOT_SMTP, self._excerpt(line))
        elif not text.isprintable() and _CONTROL.search(line) is not None:
            self._refuse(replies.BAD_SYNTAX, self._excerpt(line))
        else:
            self._refuse(replies.UNKNOWN_COMMAND, self._excerpt(line))

    def _take_response(self, line: bytes) -> None:
        """RFC 4954 §4: the client answers a challenge, or gives up with ``*``."""
        try:
            if len(line) > MAX_AUTH_OCTETS:
                raise Refused(replies.AUTH_LINE_TOO_LONG)
            if line == b"*":
                raise Refused(replies.AUTH_CANCELED)
            octets = decode_base64(line)
        except Refused as refused:
            self._state = _READY
            self._withholding = True
            self._refuse(refused.reply, self._excerpt(line))
            return
        self._ask(AuthResponse(octets))

    # Content

    def _read_content(self) -> bool:
        reader = self._content
        received = self._input.take_all()
        if not received or not isinstance(reader, DotReader):
            return False
        octets, used = reader.feed(received)
        if used < len(received):
            self._input.append(received[used:])
        if octets:
            self._events.append(ContentChunk(octets))
        if reader.octets > self._terms.profile.max_swallowed_octets:
            self.close_with(replies.TOO_MUCH_CONTENT)
        elif reader.ended:
            self._ask(EndOfContent(reader.refusal))
        return True

    def _begin_chunk(self, command: Command, argument: str) -> None:
        """BDAT (RFC 3030 §2). Its octets follow at once, so they are read whatever the answer will be."""
        chunk = read_chunk(argument)
        if chunk.octets > self._terms.profile.max_swallowed_octets:
            raise Refused(replies.MESSAGE_TOO_BIG)
        self._chunk_left, self._chunk_last = chunk.octets, chunk.last
        self._chunk_refusal = self._out_of_order(command)
        self._chunk_excerpt = "BDAT"
        self._state_after_chunk, self._state = self._state, _CHUNK
        if self._chunk_refusal is None and self._content is None:
            self._content = ChunkReader(self._terms.profile.max_content_octets)
            self._ask(Data(chunked=True))

    def _read_chunk(self) -> bool:
        octets = self._input.take_octets(self._chunk_left)
        if self._chunk_left and not octets:
            return False
        self._chunk_left -= len(octets)
        complete = not self._chunk_left
        reader = self._content
        if self._chunk_refusal is None and isinstance(reader, ChunkReader):
            content = reader.feed(octets, last=complete and self._chunk_last)
            if content:
                self._events.append(ContentChunk(content))
            if reader.octets > self._terms.profile.max_swallowed_octets:
                self.close_with(replies.TOO_MUCH_CONTENT)
            elif complete and (self._chunk_last or reader.refusal is not None):
                self._ask(EndOfContent(reader.refusal))
            elif complete:
                self._output.append(replies.CHUNK_OK.wire)
                self._state = _CHUNKS
        elif complete and self._chunk_refusal is not None:
            self._state = self._state_after_chunk
            if self._chunk_excerpt:
                self._refuse(self._chunk_refusal, self._chunk_excerpt)
            else:
                self._send(self._chunk_refusal)
        return True

    # Answering

    def reply(self, reply: Reply) -> None:
        """Answer the event that waits. Only a positive reply moves the dialogue on."""
        event = self._asked
        if event is None:
            if self._state is _CLOSED:
                return  # closed by `close_with` while the answer was on its way
            raise RuntimeError("no event awaits a reply")
        self._asked = None
        _ANSWERS[event.__class__](self, event, reply)
        if self._flooded:
            self.close_with(replies.TOO_MUCH_HELD)

    def challenge(self, octets: bytes) -> None:
        """Answer Auth or AuthResponse with a SASL challenge: 334 and *octets* in base64 (RFC 4954 §4)."""
        if self._asked is None and self._state is _CLOSED:
            return
        if not isinstance(self._asked, Auth | AuthResponse):
            raise RuntimeError("no SASL event awaits a challenge")
        self._asked = None
        self._state = _EXCHANGE
        self._output.append(render_challenge(octets))

    def _answer_hello(self, event: Event, reply: Reply) -> None:
        if not reply.is_positive or not isinstance(event, Hello):
            self._send(reply)
            return
        terms = self._terms
        profile = terms.profile
        terms.extended = event.extended
        self._state = _READY
        if not event.extended:
            self._output.append(profile.helo_answer)
        else:
            self._output.append(profile.ehlo_answer_over_tls if terms.tls else profile.ehlo_answer)

    def _answer_starttls(self, event: Event, reply: Reply) -> None:
        if reply.is_positive and len(self._input):
            self.close_with(replies.STARTTLS_NOT_LAST)
            return
        self._send(reply)
        if reply.is_positive:
            self._state = _TLS

    def _answer_auth(self, event: Event, reply: Reply) -> None:
        self._state = _READY
        if reply.code == 235:
            self._terms.authenticated = True
        elif reply.is_positive:
            raise ValueError(f"{reply.code} does not answer AUTH")
        self._withholding = not self._terms.authenticated
        self._send(reply)

    def _answer_mail(self, event: Event, reply: Reply) -> None:
        if reply.is_positive and isinstance(event, MailFrom):
            terms = self._terms
            terms.smtputf8 = event.smtputf8
            terms.recipients = 0
            terms.transactions += 1
            self._state = _SENDER
        self._send(reply)

    def _answer_rcpt(self, event: Event, reply: Reply) -> None:
        if reply.is_positive:
            self._terms.recipients += 1
            self._state = _RECIPIENTS
        self._send(reply)

    def _answer_data(self, event: Event, reply: Reply) -> None:
        proceed = reply.code == 354
        if reply.is_positive:
            raise ValueError(f"{reply.code} does not answer DATA")
        if isinstance(event, Data) and event.chunked:
            if not proceed:
                self._chunk_refusal, self._chunk_excerpt = reply, ""
                self._state_after_chunk = _READY
                self._content = None
            return
        if proceed:
            self._content = DotReader(self._terms.profile.max_content_octets)
            self._state = _CONTENT
        self._send(reply)

    def _answer_content(self, event: Event, reply: Reply) -> None:
        if reply.is_positive and isinstance(event, EndOfContent) and event.refusal is not None:
            raise ValueError("content that must not be kept was accepted")
        self._content = None
        self._state = _READY
        self._fruitless = 0
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.code < 400:
            self._output.append(reply.wire)
        else:
            self._output.append(self._terms.profile.refusal(reply))
            self._count_error(reply)

    def _refuse(self, reply: Reply, excerpt: str) -> None:
        self._events.append(Wrong(reply, excerpt))
        self._send(reply)

    def _count_error(self, reply: Reply) -> None:
        if reply.code == 421:  # RFC 5321 §3.8
            self._close()
        elif reply.status != replies.TOO_MANY_RECIPIENTS.status:  # whoever pipelines meets that limit without fault
            self.errors += 1
            if self.errors > self._terms.profile.max_errors:
                self.close_with(replies.TOO_MANY_ERRORS)

    def _count_fruitless(self) -> None:
        self._fruitless += 1
        if self._fruitless > MAX_FRUITLESS:
            self._count_error(replies.BAD_SEQUENCE)

    def _excerpt(self, line: bytes, verb: str = "") -> str:
        """Return what of *line* may be shown. *verb* is a known one, or empty."""
        if verb == "AUTH":
            shown = _AUTH_SHOWN.match(line)
            return "AUTH" if shown is None else shown[0].decode("ascii")
        if self._withholding and not verb:
            return "(withheld)"
        if not verb:  # POP and IMAP clients come here too: "PASS secret", "a1 LOGIN rin secret"
            word = _WORD.match(line)
            if word is None:
                return "(withheld)"
            return word[0].decode("ascii") if word.end() == len(line) else f"{word[0].decode('ascii')} (withheld)"
        text = line[:MAX_EXCERPT_CHARACTERS].decode(errors="replace")
        return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def render_challenge(octets: bytes) -> bytes:
    """Render 334 with *octets* in base64; nothing becomes ``334 ``, which clients without initial response need."""
    return b"334 " + b2a_base64(octets, newline=False) + b"\r\n"


_ANSWERS: Mapping[type[Event], Callable[[ServerConnection, Event, Reply], None]] = {
    Hello: ServerConnection._answer_hello,
    StartTls: ServerConnection._answer_starttls,
    Auth: ServerConnection._answer_auth,
    AuthResponse: ServerConnection._answer_auth,
    MailFrom: ServerConnection._answer_mail,
    RcptTo: ServerConnection._answer_rcpt,
    Data: ServerConnection._answer_data,
    EndOfContent: ServerConnection._answer_content,
}


def run_in_python(core: ServerConnection, octets: bytes, decide: Callable[[Event], object]) -> object:
    """Take *octets*, hand each event to *decide*, and answer it with the `Reply` that comes back.

    Returns:
        None when more octets are due; or what *decide* returned when that was neither None nor a `Reply`: an answer is
        owed then, and after it a call with no octets goes on.
    """
    if octets:
        core.receive_data(octets)
    while (event := core.next_event()) is not None:
        answer = decide(event)
        if answer is None:
            continue
        if not isinstance(answer, Reply):
            return answer
        core.reply(answer)
    return None


def take_in_python(core: ServerConnection) -> bytes:
    """`ServerConnection.data_to_send`."""
    return core.data_to_send()


def _pump() -> Pump | None:
    if compiled is None:
        return None
    events = (Hello, MailFrom, RcptTo, Data, ContentChunk, EndOfContent)
    classes = (ServerConnection, LineBuffer, Terms, ServerProfile, DotReader, Reply, Mailbox, *events)
    states = (_CONNECTED, _READY, _SENDER, _RECIPIENTS, _CONTENT, _TLS, _CLOSED)
    return compiled.pump(classes, states, Body.SEVENBIT, replies.TOO_MUCH_CONTENT, replies.BYE, MAX_FRUITLESS)


pump: Final = _pump()
run_dialogue: Final = pump.run if pump is not None else run_in_python
take_output: Final = pump.take if pump is not None else take_in_python
