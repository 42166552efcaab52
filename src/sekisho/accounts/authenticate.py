"""Checking who logs in: joins the SASL mechanisms to the accounts, for one exchange at a time.

Whether an account exists must not show, in any mechanism, by text or by time. So every exchange walks one path whatever
the name is: the same lookups, the same challenge, the same number of hashes; an unknown account, or one without a
verifier for the mechanism, is represented by a decoy that nothing opens. Only whoever has shown the right password is
told that the account is suspended.

An account with a second factor sends by app passwords alone. Its own password is refused, right or wrong, with one
reply, after the same work, from the same limits: were the right one told apart (RFC 4954 §6 would have 534 5.7.9), AUTH
would let anybody guess one of the two factors that guard the portal. So every reply to a failed login names app
passwords, and the log alone says that one is what was missing.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sekisho.sasl import (
    HASHES,
    Challenge,
    CramClaim,
    CramServer,
    LoginServer,
    Malformed,
    PasswordClaim,
    PlainServer,
    ScramClaim,
    ScramKeys,
    ScramProof,
    ScramServer,
    ServerMechanism,
    Step,
)
from sekisho.store import StoreError

from .account import Account, name_key
from .app_passwords import app_password_that_opens
from .hasher import HashingBusy, HashingPool
from .notes import LoginNotes
from .password_check import PasswordCheck
from .recent import RecentSuccesses
from .settings import AccountsSettings
from .store import AccountStore, Entry
from .verifiers import scram_seed

__all__ = ["Accepted", "Answer", "Authenticator", "Exchange", "Gate", "Refusal", "Refused"]

# PLAIN first: clients that take the first they know then take what always works. CRAM-MD5 last: see cram_md5 setting.
_ORDER: Final = (
    "PLAIN",
    "LOGIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1",
    "SCRAM-SHA-1-PLUS",
    "CRAM-MD5",
)
_SENDS_PASSWORD: Final = frozenset({"PLAIN", "LOGIN"})


class Refusal(StrEnum):
    """Why an exchange was refused; the session words the reply."""

    BAD_CREDENTIALS = "bad-credentials"  # 535 5.7.8
    RENEWAL = "renewal"  # the same to the client: failed, and the account needs a new password in any case
    APP_PASSWORD_REQUIRED = "app-password-required"  # noqa: S105  # the same again: the account's own password was right
    SUSPENDED = "suspended"  # the password was right
    THROTTLED = "throttled"  # the gate said no; nothing was checked
    BUSY = "busy"  # 454: too many checks wait, or the accounts cannot be read
    MALFORMED = "malformed"  # 501 5.5.2: not what the mechanism defines
    CANCELLED = "cancelled"  # for the session's own use: the client sent "*"

    @property
    def is_guess(self) -> bool:
        """Whether it counts and is answered as a wrong password. The client must not tell these kinds apart."""
        return self in _GUESSES


_GUESSES: Final = frozenset({Refusal.BAD_CREDENTIALS, Refusal.RENEWAL, Refusal.APP_PASSWORD_REQUIRED})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client is *account*.

    Fields:
        app_password: number of the one that was used; None for the account's own password.
    """

    account: Account
    app_password: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The exchange is over. *detail* is for the log alone: it may tell what the reply must not."""

    kind: Refusal
    detail: str = ""


Answer = Challenge | Accepted | Refused
Gate = Callable[[str], Awaitable[bool]]
"""Asked with the canonical login before anything is verified for it; may take a moment to answer."""

_THROTTLED: Final = Refused(Refusal.THROTTLED)


class Authenticator:
    """Makes the exchanges of one mail process.

    Args:
        hostname: named in CRAM-MD5 challenges.
        steady: seconds of a steady clock.
    """

    def __init__(
        self,
        store: AccountStore,
        settings: AccountsSettings,
        *,
        hostname: str,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._hostname = hostname
        self._steady = steady
        self._pool = HashingPool(settings.hashing_threads, settings.hashing_backlog)
        self._passwords = PasswordCheck(
            store, self._pool, RecentSuccesses(settings.cache_lifetime, settings.cache_entries)
        )
        self._notes = LoginNotes(store.note_logins, steady)
        self._uses = LoginNotes(store.note_app_passwords, steady)

    def mechanisms(
        self, *, tls: bool, listener_mechanisms: tuple[str, ...] = (), bindings_available: bool = False
    ) -> tuple[str, ...]:
        """Return what to offer, in the order of offering.

        Args:
            listener_mechanisms: the operator's own list and order; empty for the default. It never brings back what
                the settings or the missing TLS forbid.
            bindings_available: `begin` will be given channel binding data on this connection.
        """
        order = [name.upper() for name in listener_mechanisms] or _ORDER
        return tuple(name for name in order if name in _ORDER and self._may_offer(name, tls, bindings_available))

    def begin(
        self,
        mechanism: str,
        *,
        binding: Mapping[str, bytes],
        tls: bool,
        gate: Gate,
        offered: Collection[str] | None = None,
    ) -> Exchange | None:
        """Begin an exchange; None when *mechanism* is not on offer (504 5.5.4).

        Args:
            binding: channel binding data by type, empty without any.
            gate: awaited once; False ends the exchange as `Refusal.THROTTLED`.
            offered: what `mechanisms` returned for this connection; by default what it returns for *tls* and *binding*.
        """
        name = mechanism.upper()
        if offered is None:
            offered = self.mechanisms(tls=tls, bindings_available=bool(binding))
        if name not in offered:
            return None
        return Exchange(self, name, self._server(name, binding, offered), gate)

    async def close(self) -> None:
        """Write the logins that wait for it, and end the threads. Call once, when no exchange runs any more."""
        await self._notes.close()
        await self._uses.close()
        self._pool.close()

    def _may_offer(self, name: str, tls: bool, bindings_available: bool) -> bool:
        settings = self._settings
        if name == "CRAM-MD5":
            return settings.cram_md5 and (tls or settings.allow_without_tls)
        if not tls:
            return name in _SENDS_PASSWORD and settings.allow_cleartext_passwords
        if name.startswith("SCRAM-SHA-1") and not settings.scram_sha_1:
            return False
        return not name.endswith("-PLUS") or (bindings_available and settings.channel_binding)

    def _server(self, name: str, binding: Mapping[str, bytes], offered: Collection[str]) -> ServerMechanism:
        if name == "PLAIN":
            return PlainServer()
        if name == "LOGIN":
            return LoginServer()
        if name == "CRAM-MD5":
            unique = f"{secrets.randbits(64)}.{int(time.time())}"
            return CramServer(f"<{unique}@{self._hostname}>".encode())
        plain_name = name.removesuffix("-PLUS")
        return ScramServer(
            HASHES[plain_name],
            base64.b64encode(secrets.token_bytes(18)).decode(),
            plus=name != plain_name,
            plus_offered=f"{plain_name}-PLUS" in offered,
            bindings=binding,
        )

    # What an exchange asks; none of it costs more or less for a name that nobody has.

    def scram_keys(self, entry: Entry | None, mechanism: str, name: str) -> tuple[ScramKeys, bool]:
        """Return the keys to answer with, and whether they are the account's own."""
        seed = scram_seed(self._store.decoy_secret, mechanism, name)
        decoy = ScramKeys.decoy(HASHES[mechanism], seed, self._settings.scram_iterations)
        keys = None if entry is None else entry.verifiers.scram.get(mechanism)
        return (decoy, False) if keys is None else (keys, True)

    def cram_secret(self, entry: Entry | None, name: str) -> tuple[bytes, bool]:
        """Return the secret to compute with, and whether it is the account's own."""
        decoy = scram_seed(self._store.decoy_secret, "CRAM-MD5", name)
        secret = None if entry is None else self._store.workshop.unseal(entry.account.id, entry.verifiers)
        return (decoy, False) if secret is None else (secret, True)

    def identify(self, name: str) -> tuple[str, Entry | None]:
        return self._store.identify(name)

    async def opens(self, entry: Entry | None, password: str, *, name: str) -> bool:
        remembered = entry is None or not entry.account.second_factor
        return await self._passwords.opens(name, entry, password, self._steady(), remembered=remembered)

    def app_password(self, entry: Entry | None, password: str) -> int | None:
        return app_password_that_opens(self._store.digests, entry, password)

    def digest(self, name: str, password: str) -> bytes:
        return tried_digest(self._store, name, password)

    def may_act_as(self, entry: Entry, authcid: str, authzid: str) -> bool:
        """Tell whether the account may take *authzid*, the identity asked for (RFC 4422 §2): only ever its own."""
        if not authzid or authzid == authcid:
            return True
        account = entry.account
        key = name_key(authzid)
        if key == account.login or key in account.identities:
            return True
        other = self._store.find(authzid)
        return other is not None and other.account.id == account.id

    def note_login(self, account: Account, app_password: int | None) -> None:
        self._notes.note(account.id)
        if app_password is not None:
            self._uses.note(app_password)


class Exchange:
    """One AUTH command from its first octets to `Accepted` or `Refused`.

    Fields:
        authcid: the user name as claimed; None until it is known.
        name: its canonical form, as the gate was asked about it; count failures by this one.
        password_digest: stands for the name and password tried (PLAIN, LOGIN), to count a client that repeats the same
            wrong password once; the same in all processes, None in other mechanisms.
    """

    __slots__ = (
        "_app_password",
        "_authenticator",
        "_authzid",
        "_entry",
        "_gate",
        "_own_keys",
        "_proven",
        "_server",
        "authcid",
        "mechanism",
        "name",
        "password_digest",
    )

    def __init__(self, authenticator: Authenticator, mechanism: str, server: ServerMechanism, gate: Gate) -> None:
        self.mechanism = mechanism
        self.authcid: str | None = None
        self.name: str | None = None
        self.password_digest: bytes | None = None
        self._authenticator = authenticator
        self._server = server
        self._gate = gate
        self._entry: Entry | None = None
        self._authzid = ""
        self._own_keys = False
        self._app_password: int | None = None
        self._proven: Account | None = None

    async def respond(self, octets: bytes | None) -> Answer:
        """Take the client's message: None when AUTH came without initial response, b"" when with an empty one.

        After `Challenge` send it and call again with the answer; after `Accepted` or `Refused` the exchange is over.
        A client that cancels just ends it: call nothing more.
        """
        if self._proven is not None:  # RFC 4954 §4: the client answers server-final with an empty line
            return self._accept(self._proven) if not octets else Refused(Refusal.MALFORMED, "octets after the exchange")
        step = self._server.step(octets)
        try:
            return await self._answer(step)
        except HashingBusy:
            return Refused(Refusal.BUSY, "too many password checks wait")
        except MemoryError:
            return Refused(Refusal.BUSY, "there is no memory for a password check")
        except StoreError as error:
            return Refused(Refusal.BUSY, f"accounts cannot be read: {error}")

    async def _answer(self, step: Step) -> Answer:
        match step:
            case Challenge():
                return step
            case Malformed(reason):
                return Refused(Refusal.MALFORMED, reason)
            case PasswordClaim():
                return await self._check_password(step)
            case CramClaim():
                return await self._check_cram(step)
            case ScramClaim():
                return await self._give_keys(step)
            case ScramProof():
                return self._check_proof(step)

    async def _claim(self, authcid: str, authzid: str) -> str | None:
        """Take down who the client claims to be; None when the gate lets nobody of that name through."""
        self.authcid = authcid
        self._authzid = authzid
        self.name, self._entry = self._authenticator.identify(authcid)
        return self.name if await self._gate(self.name) else None

    async def _check_password(self, claim: PasswordClaim) -> Answer:
        name = await self._claim(claim.authcid, claim.authzid)
        self.password_digest = self._authenticator.digest(self.name or "", claim.password)
        if name is None:
            return _THROTTLED
        self._app_password = self._authenticator.app_password(self._entry, claim.password)
        if self._app_password is None and not await self._authenticator.opens(self._entry, claim.password, name=name):
            return self._refuse("wrong password")
        return self._finish()

    async def _check_cram(self, claim: CramClaim) -> Answer:
        name = await self._claim(claim.authcid, "")
        if name is None:
            return _THROTTLED
        secret, own = self._authenticator.cram_secret(self._entry, name)
        if not claim.is_proven_by(secret) or not own:
            return self._refuse("wrong digest" if own else "no CRAM-MD5 verifier")
        return self._finish()

    async def _give_keys(self, claim: ScramClaim) -> Answer:
        name = await self._claim(claim.authcid, claim.authzid)
        if name is None:
            return _THROTTLED
        mechanism = self.mechanism.removesuffix("-PLUS")
        keys, self._own_keys = self._authenticator.scram_keys(self._entry, mechanism, name)
        if not isinstance(self._server, ScramServer):
            raise RuntimeError("a SCRAM claim from another mechanism")
        return self._server.keys(keys)

    def _check_proof(self, proof: ScramProof) -> Answer:
        if not proof.proven or not self._own_keys:
            return self._refuse(proof.reason if self._own_keys else "no SCRAM verifier")
        answer = self._finish(noted=False)
        if isinstance(answer, Refused):
            return answer
        self._proven = answer.account
        return Challenge(proof.final)

    def _refuse(self, detail: str) -> Refused:
        return refused_guess(self._entry, detail)

    def _finish(self, *, noted: bool = True) -> Accepted | Refused:
        """Decide about a client that has shown the right password."""
        entry = self._entry
        if entry is None:
            raise RuntimeError("nothing opens an unknown account")
        if entry.account.second_factor and self._app_password is None:
            return Refused(Refusal.APP_PASSWORD_REQUIRED, "the account has a second factor")
        if not self._authenticator.may_act_as(entry, self.authcid or "", self._authzid):
            return Refused(Refusal.BAD_CREDENTIALS, "asks to act as somebody else")
        if entry.account.suspended:
            return Refused(Refusal.SUSPENDED, entry.account.suspension)
        return self._accept(entry.account) if noted else Accepted(entry.account)

    def _accept(self, account: Account) -> Accepted:
        self._authenticator.note_login(account, self._app_password)
        return Accepted(account, self._app_password)


def tried_digest(store: AccountStore, name: str, password: str) -> bytes:
    """Return what stands for a name and a password tried, the same in all processes."""
    return hmac.digest(store.tried_key, f"{name}\0{password}".encode(), "sha256")[:16]


def refused_guess(entry: Entry | None, detail: str) -> Refused:
    """Return the refusal of a password, digest or proof that does not open *entry*."""
    if entry is None:
        return Refused(Refusal.BAD_CREDENTIALS, "unknown account")
    renewal = entry.account.renewal
    return Refused(Refusal.RENEWAL, f"{detail}; {renewal}") if renewal else Refused(Refusal.BAD_CREDENTIALS, detail)
