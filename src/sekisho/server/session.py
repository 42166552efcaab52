"""One client's session: what may be answered to each event of the protocol core, from connection to QUIT.

The session decides, it moves no octets. It joins the core's AUTH events to the accounts, asks policy whether a
sender, a recipient or a message may pass, and hands the content to the queue. A decision is a `Reply`, None where the
event needs none, or `Pending` when it takes longer than a moment: hashing a password, a durable commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sekisho.accounts import Accepted, Account, Exchange, Refusal, Refused
from sekisho.net.tls import TlsFacts
from sekisho.policy import SessionFailures, check_envelope
from sekisho.queue import Arrival, ContentWriter, QueueId, SpoolError, SpoolFull
from sekisho.sasl import Challenge
from sekisho.smtp import (
    Auth,
    AuthResponse,
    Body,
    ContentChunk,
    Data,
    EndOfContent,
    Envelope,
    Event,
    Hello,
    Mailbox,
    MailFrom,
    RcptTo,
    Recipient,
    Reply,
    Reset,
    ServerConnection,
    StartTls,
    Wrong,
    replies,
)
from sekisho.store import StoreError

from .content import Handling, dress
from .settings import RelaySettings

if TYPE_CHECKING:
    from .service import MailServer, Services

__all__ = ["Pending", "Session"]

SUSPENDED = Reply(  # RFC 5248 registers X.7.13, "user account disabled"
    535, "5.7.13", ("This account is suspended and cannot send; please contact your mail operator",)
)
NO_LONGER = Reply(550, "5.7.13", ("This account can no longer send; please contact your mail operator",))
PASSWORD_CHANGED = Reply(421, "4.7.0", ("The password of this account was changed; please log in again",))
GATE_PATIENCE = 5.0  # seconds to wait for tries under verification before a login is put off
GATE_INTERVAL = 0.05
MALFORMED = Reply(501, "5.5.2", ("The login data is not what this mechanism sends",))  # RFC 4954 §4


@dataclass(slots=True)
class Pending:
    """An answer that is being worked out.

    Fields:
        future: done when the answer can be had.
        finish: turns the finished future into the answer: a reply, or the octets of a SASL challenge. It is called
            exactly once, also when the client has gone: what it accounts for has happened all the same.
    """

    future: asyncio.Future[Any]
    finish: Callable[[], Reply | bytes]


class Session:
    """What we know of one client, and what it may do next."""

    __slots__ = (
        "_app_password",
        "_bindings",
        "_content",
        "_exchange",
        "_failures",
        "_mail",
        "_may_relay",
        "_messages",
        "_recipients",
        "_relay",
        "_server",
        "_services",
        "_submission",
        "_tried",
        "_verifying",
        "account",
        "address",
        "agent",
        "hello",
        "id",
        "in_content",
        "kind",
        "mechanism",
        "other_name",
        "smtp",
        "starting_tls",
        "tls",
    )

    def __init__(self, server: MailServer, session_id: str, address: str) -> None:
        self._server = server
        self._services: Services = server.services
        self.kind = server.kind  # of the listener
        self._submission = server.kind != "mx"
        self._app_password: int | None = None  # number of the one that the client logged in with
        self._bindings: dict[str, bytes] = {}
        self._exchange: Exchange | None = None
        self._failures: SessionFailures | None = None
        self._content: ContentWriter | None = None
        self._mail: MailFrom | None = None
        self._relay: RelaySettings | None = None  # those that `_may_relay` was found by
        self._may_relay = False
        self._messages = 0
        self._recipients: list[Recipient] = []
        self._tried: str | None = None  # an old way to send: "auth" or "relay" on the mx listener, "cleartext"
        self._verifying = False  # an answer of the client is with the authenticator
        self.id = session_id
        self.address = address
        self.account: Account | None = None
        self.mechanism = ""
        self.agent: str | None = None  # the client program that the last message names
        self.hello: Hello | None = None
        self.tls: TlsFacts | None = None
        self.other_name: str | None = None  # the host name that the client asked for, when it is not ours
        self.smtp: ServerConnection | None = None
        self.in_content = False
        self.starting_tls = False  # 220 was decided; the shell shakes hands once it is sent

    # ------------------------------------------------------------------ told by the shell

    @property
    def in_transaction(self) -> bool:
        return self._mail is not None

    def tls_started(self, facts: TlsFacts, bindings: dict[str, bytes]) -> None:
        """TLS is up. Nothing learned before it counts (RFC 3207 §4.2)."""
        self.tls = facts
        self.other_name = facts.name if facts.name != self._services.hostname else None
        self._bindings = bindings
        self.account = self.hello = None
        self.mechanism = ""
        self._forget_transaction()

    def closed(self, error: Exception | None) -> None:
        """The connection is gone: drop the open transaction; note a session that sent nothing."""
        self._forget_transaction()
        self._give_up_exchange()
        if self._messages == 0:
            self._services.events.emit(
                "session.closed",
                session=self.id,
                client=self.address,
                listener=self.kind,
                account=self.account.login if self.account is not None else None,
                hello=self.hello.name if self.hello is not None else None,
                tls=self.tls.version if self.tls is not None else None,
                tried=self._tried,
                reason=type(error).__name__ if error is not None else None,
            )

    # ------------------------------------------------------------------ decisions

    def decide(self, event: Event) -> Reply | Pending | None:
        """Answer *event*."""
        try:
            return _DECISIONS[event.__class__](self, event)
        except StoreError as error:  # the accounts cannot be read now: the client comes back
            self._services.events.emit(
                "session.failed",
                session=self.id,
                client=self.address,
                listener=self.kind,
                account=self.account.login if self.account is not None else None,
                reason="accounts",
                problem=str(error),
            )
            return replies.LOCAL_ERROR

    def _hello(self, event: Hello) -> Reply:
        self.hello = event
        if self.tls is None:  # one that spoke TLS at once would be lost if it were greeted first the next time
            self._services.acquaintances.remember(self.address)
        return replies.HELLO

    def _start_tls(self, _: StartTls) -> Reply:
        self.starting_tls = True
        return replies.READY_FOR_TLS

    def _wrong(self, event: Wrong) -> None:
        self._give_up_exchange()  # whatever was wrong with an answer of the client (or "*"), the core has ended AUTH
        reason = _REASONS.get(event.reply)
        if reason in ("tls-required", "auth-not-offered"):
            self._tried = "cleartext" if self._submission else "auth"
        self._services.events.emit(
            "command.refused",
            session=self.id,
            client=self.address,
            listener=self.kind,
            command=event.line_excerpt,
            reply=str(event.reply),
            reason=reason,
        )

    def _reset(self, _: Reset) -> None:
        self._forget_transaction()

    def _forget_transaction(self) -> None:
        self._mail = None
        self._recipients = []
        self.in_content = False
        if self._content is not None:
            self._content.discard()
            self._content = None

    # ------------------------------------------------------------------ AUTH

    def _auth(self, event: Auth) -> Reply | Pending:
        exchange = self._services.authenticator.begin(
            event.mechanism,
            binding=self._bindings,
            tls=self.tls is not None,
            gate=self._may_guess,
            offered=self._server.profile(tls=self.tls is not None).mechanisms,
        )
        if exchange is None:
            return replies.BAD_MECHANISM
        self._exchange = exchange
        return self._respond(exchange, event.initial_response)

    def _auth_response(self, event: AuthResponse) -> Reply | Pending:
        exchange = self._exchange
        if exchange is None:
            return replies.BAD_SEQUENCE
        return self._respond(exchange, event.octets)

    def _respond(self, exchange: Exchange, octets: bytes | None) -> Pending:
        task = asyncio.get_running_loop().create_task(self._authenticate(exchange, octets))
        return Pending(task, task.result)

    def _give_up_exchange(self) -> None:
        """The client leaves an exchange in its middle: nothing was verified, so nothing counts."""
        exchange = self._exchange
        if exchange is None or self._verifying:
            return
        self._exchange = None
        if exchange.name is not None:
            self._services.auth_guard.undecided(self.address, exchange.name, self._services.now())

    async def _may_guess(self, name: str) -> bool:
        """Reserve one try for *name* before anything is verified; wait while other tries of it are being verified."""
        guard, services = self._services.auth_guard, self._services
        if self._failures is None:
            self._failures = SessionFailures()
        end = self._server.clock() + GATE_PATIENCE
        while not guard.reserve(self.address, name, services.now()):
            if not guard.is_undecided(self.address, name, services.now()) or self._server.clock() > end:
                return False
            await asyncio.sleep(GATE_INTERVAL)
        return True

    async def _authenticate(self, exchange: Exchange, octets: bytes | None) -> Reply | bytes:
        self._verifying = True
        try:
            step = await exchange.respond(octets)
        finally:
            self._verifying = False
        if isinstance(step, Challenge):
            return step.octets
        self._exchange = None
        if isinstance(step, Accepted):
            return self._authenticated(exchange, step)
        return await self._not_authenticated(exchange, step)

    def _authenticated(self, exchange: Exchange, accepted: Accepted) -> Reply:
        services, account = self._services, accepted.account
        services.auth_guard.succeeded(self.address, exchange.name or account.login, services.now())
        with contextlib.suppress(StoreError):  # a login may have renewed its verifiers
            account = services.accounts.find_login(account.login) or account
        self.account = account
        self._app_password = accepted.app_password
        self.mechanism = exchange.mechanism
        services.events.emit(
            "auth.accepted",
            session=self.id,
            client=self.address,
            listener=self.kind,
            account=account.login,
            mechanism=exchange.mechanism,
            tls=self.tls.version if self.tls is not None else None,
            name=self.other_name,
            app_password=accepted.app_password,
        )
        return replies.AUTH_OK

    async def _not_authenticated(self, exchange: Exchange, refused: Refused) -> Reply:
        services, now = self._services, self._services.now()
        services.events.emit(
            "auth.refused",
            session=self.id,
            client=self.address,
            listener=self.kind,
            account=exchange.name or exchange.authcid,
            claimed=exchange.authcid if exchange.authcid != exchange.name else None,
            mechanism=exchange.mechanism,
            tls=self.tls.version if self.tls is not None else None,
            reason=refused.kind.value,
            detail=refused.detail or None,
        )
        guard, name = services.auth_guard, exchange.name
        if refused.kind is Refusal.THROTTLED:
            return guard.refusal
        if refused.kind.is_guess and name is not None and self._failures is not None:
            delay = guard.failed(
                self.address,
                name,
                now,
                self._failures,
                mechanism=exchange.mechanism,
                digest=exchange.password_digest,
            )
            await asyncio.sleep(delay)
            return replies.AUTH_FAILED
        if name is not None:
            guard.undecided(self.address, name, now)
        return _AUTH_REPLIES.get(refused.kind, replies.AUTH_FAILED)

    # ------------------------------------------------------------------ the envelope

    def _mail_from(self, event: MailFrom) -> Reply:
        account = self.account
        if self._server.draining:
            return replies.SHUTTING_DOWN
        if self._submission:
            if account is None:
                return replies.AUTH_REQUIRED
            # Looked up again: whoever steals a password keeps the connection open beyond the suspension.
            present = self._services.accounts.find_login(account.login)
            if present is None or present.id != account.id or present.suspended:
                return self._refused(NO_LONGER, event.reverse_path)
            if not present.has_password_of(account, self._app_password):
                return self._refused(PASSWORD_CHANGED, event.reverse_path)
            account = self.account = present
            refusal = check_envelope(account, event.reverse_path) or self._services.limits.may_send(
                account, 1, self._services.now()
            )
            if refusal is not None:
                return self._refused(refusal, event.reverse_path)
        if not self._services.queue.has_room(event.declared_size or 0):
            return replies.STORAGE_FULL
        self._mail = event
        self._recipients = []
        return replies.SENDER_OK

    def _rcpt_to(self, event: RcptTo) -> Reply:
        mailbox = event.mailbox
        services = self._services
        if not mailbox.domain:
            mailbox = Mailbox(mailbox.local_part, services.hostname)  # Postmaster (RFC 5321 §4.1.1.3)
        if services.postmaster is not None and mailbox.local_part.lower() == "postmaster":
            mailbox = self._postmaster(mailbox, services.postmaster)
        refusal = self._refuse_recipient(mailbox)
        if refusal is not None:
            return self._refused(refusal, self._mail.reverse_path if self._mail else None, mailbox)
        self._recipients.append(Recipient(mailbox, event.notify, event.orcpt))
        return replies.RECIPIENT_OK

    def _postmaster(self, mailbox: Mailbox, deputy: Mailbox) -> Mailbox:
        """Every local domain has a postmaster (RFC 5321 §4.5.1): one of its own, or *deputy*."""
        is_ours = mailbox.domain in self._services.local_domains or mailbox.domain == self._services.hostname
        return deputy if is_ours and self._services.accounts.mailbox_for(mailbox) is None else mailbox

    def _refuse_recipient(self, mailbox: Mailbox) -> Reply | None:
        services = self._services
        if mailbox.domain in services.local_domains or mailbox.domain == services.hostname:
            return None if services.accounts.mailbox_for(mailbox) is not None else replies.MAILBOX_UNKNOWN
        account = self.account
        if account is not None:
            if not self._recipients:
                return None  # one recipient was asked for at MAIL, and the commit charges in any case
            return services.limits.may_send(account, len(self._recipients) + 1, services.now())
        return None if self._is_relay_client() else replies.RELAY_DENIED

    def _is_relay_client(self) -> bool:
        relay = self._services.relay
        if self._relay is not relay:  # a network taken from the list relays no more, open sessions included
            self._relay = relay
            self._may_relay = not self._submission and self._services.may_relay(self.address)
        return self._may_relay

    def _refused(
        self,
        refusal: Reply,
        reverse_path: Mailbox | None,
        recipient: Mailbox | None = None,
        recipients: Sequence[Recipient] = (),
    ) -> Reply:
        if refusal is replies.RELAY_DENIED:
            self._tried = "relay"
        self._services.events.emit(
            "message.refused",
            session=self.id,
            client=self.address,
            listener=self.kind,
            account=self.account.login if self.account is not None else None,
            sender=str(reverse_path or "<>"),
            recipients=[str(recipient)] if recipient is not None else [str(one.mailbox) for one in recipients[:20]],
            reply=str(refusal),
            reason=_REASONS.get(refusal),
        )
        return refusal

    # ------------------------------------------------------------------ the content

    def _data(self, _: Data) -> Reply:
        self._content = self._services.queue.new_content()
        self.in_content = True
        return replies.START_CONTENT

    def _content_chunk(self, event: ContentChunk) -> None:
        content = self._content
        if content is not None:
            content.write(event.octets)

    def _end_of_content(self, event: EndOfContent) -> Reply | Pending:
        mail, recipients, content = self._mail, self._recipients, self._content
        self._mail, self._recipients, self._content, self.in_content = None, [], None, False
        if mail is None or content is None:
            return replies.BAD_SEQUENCE
        dressed = event.refusal or self._dress(mail, recipients, content)
        refusal: Reply | None = None
        if isinstance(dressed, str):
            self.agent = dressed or None
        else:
            refusal = dressed
        account = self.account
        now = self._services.now()
        if refusal is None and account is not None:
            refusal = self._services.limits.charge(account, len(recipients), now)
        if refusal is not None:
            content.discard()
            return self._refused(refusal, mail.reverse_path, recipients=recipients)
        return self._commit(mail, recipients, content, now)

    def _dress(self, mail: MailFrom, recipients: list[Recipient], content: ContentWriter) -> Reply | str:
        """Check the header and put ours on top of it; a reply when the message must be refused, see `dress`."""
        settings = self._server.settings
        services = self._services
        hello = self.hello
        return dress(
            content,
            Handling(
                account=self.account,
                null_reverse_path=mail.reverse_path is None,
                repair=self._submission or self._is_relay_client(),
                hostname=services.hostname,
                hello=hello.name if hello is not None else "",
                extended=hello is not None and hello.extended,
                smtputf8=mail.smtputf8,
                client_address=self.address if settings.client_address_in_received or not self._submission else None,
                tls=(self.tls.version, self.tls.cipher) if self.tls is not None else None,
                transaction_id=f"{self.id}.{self._messages + 1}",
                now=services.now(),
            ),
            recipients,
        )

    def _commit(
        self, mail: MailFrom, recipients: list[Recipient], content: ContentWriter, now: float
    ) -> Reply | Pending:
        services, account = self._services, self.account
        body = mail.body if mail.body is not Body.SEVENBIT or content.head().isascii() else Body.EIGHTBIT
        envelope = Envelope(mail.reverse_path, tuple(recipients), body, mail.smtputf8, mail.ret, mail.envid)
        login = account.login if account is not None else None
        arrival = Arrival(envelope, login, self.id, self.address, self.kind, now)
        size = content.size
        future = services.queue.commit(arrival, content)

        def finish() -> Reply:
            try:
                queue_id = future.result()
            except SpoolError as error:
                if account is not None:
                    services.limits.refund(account, len(recipients), now)
                if isinstance(error, SpoolFull):
                    services.events.emit("queue.full", session=self.id, problem=str(error))
                    return replies.STORAGE_FULL
                services.events.emit(
                    "message.refused",
                    session=self.id,
                    client=self.address,
                    listener=self.kind,
                    account=login,
                    reply=str(replies.LOCAL_ERROR),
                    reason="storage",
                    problem=str(error),
                )
                return replies.LOCAL_ERROR
            self._accepted(queue_id, mail, recipients, size)
            return replies.accepted(queue_id)

        return Pending(future, finish)

    def _accepted(self, queue_id: QueueId, mail: MailFrom, recipients: list[Recipient], size: int) -> None:
        self._messages += 1
        self._services.events.emit(
            "message.accepted",
            queue_id=queue_id,
            session=self.id,
            client=self.address,
            listener=self.kind,
            account=self.account.login if self.account is not None else None,
            hello=self.hello.name if self.hello is not None else None,
            tls=self.tls.version if self.tls is not None else None,
            mechanism=self.mechanism or None,
            agent=self.agent,
            relayed=self._may_relay or None,
            sender=str(mail.reverse_path or "<>"),
            recipients=[str(recipient.mailbox) for recipient in recipients[:20]],
            recipient_count=len(recipients),
            size=size,
        )


_AUTH_REPLIES = {
    Refusal.SUSPENDED: SUSPENDED,
    Refusal.BUSY: replies.AUTH_TEMPORARY,
    Refusal.MALFORMED: MALFORMED,
    Refusal.CANCELLED: replies.AUTH_CANCELED,
}

_REASONS = {  # as the log names them
    replies.TLS_REQUIRED: "tls-required",
    replies.ENCRYPTION_REQUIRED: "tls-required",
    replies.AUTH_REQUIRED: "auth-required",
    replies.AUTH_NOT_OFFERED: "auth-not-offered",
    replies.BAD_MECHANISM: "mechanism-not-offered",
    replies.RELAY_DENIED: "relay-denied",
    replies.MAILBOX_UNKNOWN: "no-such-mailbox",
    replies.MESSAGE_TOO_BIG: "too-big",
    replies.ROUTING_LOOP: "loop",
    NO_LONGER: "suspended",
    PASSWORD_CHANGED: "password-changed",
}

_DECISIONS: dict[type[Event], Callable[[Session, Any], Reply | Pending | None]] = {
    Hello: Session._hello,
    StartTls: Session._start_tls,
    Auth: Session._auth,
    AuthResponse: Session._auth_response,
    MailFrom: Session._mail_from,
    RcptTo: Session._rcpt_to,
    Data: Session._data,
    ContentChunk: Session._content_chunk,
    EndOfContent: Session._end_of_content,
    Reset: Session._reset,
    Wrong: Session._wrong,
}
