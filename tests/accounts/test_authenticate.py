"""Whole exchanges: who gets in, who does not, and that nobody can tell accounts from decoys."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.accounts.conftest import CHEAP

from sekisho.accounts import (
    Accepted,
    AccountsSettings,
    AccountStore,
    Answer,
    Authenticator,
    Challenge,
    Exchange,
    Refusal,
    Refused,
)
from sekisho.accounts.verifiers import Workshop
from sekisho.config import Duration
from sekisho.sasl import ScramKeys, client
from sekisho.store import StoreBusy

PASSWORD = "hana-fubuki"
BINDING = {"tls-server-end-point": b"S" * 32}
MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "CRAM-MD5")
BAD = Refusal.BAD_CREDENTIALS


class Clerk:
    """An authenticator, the counted calls that cost time, and a hand-turned clock."""

    def __init__(self, store: AccountStore, settings: AccountsSettings = CHEAP) -> None:
        self.now = 0.0
        self.store = store
        self.asked: list[str] = []
        self.closed_gates: set[str] = set()
        self.authenticator = Authenticator(store, settings, hostname="mx.example.jp", steady=lambda: self.now)

    async def gate(self, name: str) -> bool:
        self.asked.append(name)
        return name not in self.closed_gates

    def begin(self, mechanism: str, binding: Mapping[str, bytes] | None = None) -> Exchange:
        exchange = self.authenticator.begin(
            mechanism, binding=BINDING if binding is None else binding, tls=True, gate=self.gate
        )
        assert exchange is not None
        return exchange

    async def log_in(self, mechanism: str, name: str, password: str = PASSWORD) -> tuple[Exchange, Answer]:
        exchange = self.begin(mechanism)
        plus = mechanism.endswith("-PLUS")
        speaker = client(mechanism, name, password, "clientnonce", binding=BINDING if plus else None)
        answer = await exchange.respond(speaker.initial)
        while isinstance(answer, Challenge):
            answer = await exchange.respond(speaker.respond(answer.octets))
        assert speaker.done or not isinstance(answer, Accepted)
        return exchange, answer


def run(
    work: Callable[[Clerk], Coroutine[None, None, None]], store: AccountStore, settings: AccountsSettings = CHEAP
) -> None:
    async def whole() -> None:
        clerk = Clerk(store, settings)
        try:
            await work(clerk)
        finally:
            await clerk.authenticator.close()

    asyncio.run(whole())


@pytest.fixture
def rin(store: AccountStore) -> AccountStore:
    store.add("rin@example.jp", PASSWORD, identities=["info@example.jp", "@rin.example"], cram_md5=True)
    return store


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_right_password_is_accepted_under_every_name_and_no_other_is(rin: AccountStore, mechanism: str) -> None:
    async def work(clerk: Clerk) -> None:
        for name in ("rin@example.jp", "rin", "RIN", "info@example.jp"):
            exchange, answer = await clerk.log_in(mechanism, name)
            assert isinstance(answer, Accepted), (name, answer)
            assert answer.account.login == "rin@example.jp"
            assert (exchange.authcid, exchange.name) == (name, "rin@example.jp")
        for name, password in (("rin", "hana-fubuka"), ("ghost", PASSWORD), ("@rin.example", PASSWORD)):
            _, answer = await clerk.log_in(mechanism, name, password)
            assert isinstance(answer, Refused)
            assert answer.kind is BAD, (name, answer)
        assert clerk.asked[-2:] == ["ghost@example.jp", "@rin.example"]

    run(work, rin)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_suspension_is_told_to_the_owner_of_the_password_alone(rin: AccountStore, mechanism: str) -> None:
    async def work(clerk: Clerk) -> None:
        assert isinstance((await clerk.log_in(mechanism, "rin"))[1], Accepted)
        rin.suspend("rin", "stolen telephone")
        assert (await clerk.log_in(mechanism, "rin"))[1] == Refused(Refusal.SUSPENDED, "stolen telephone")
        _, answer = await clerk.log_in(mechanism, "rin", "hana-fubuka")
        assert isinstance(answer, Refused)
        assert answer.kind is BAD
        rin.resume("rin")
        assert isinstance((await clerk.log_in(mechanism, "rin"))[1], Accepted)

    run(work, rin)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_closed_gate_stops_everything_before_anything_is_hashed(
    rin: AccountStore, mechanism: str, hashes: list[str]
) -> None:
    async def work(clerk: Clerk) -> None:
        clerk.closed_gates = {"rin@example.jp", "ghost@example.jp"}
        for name in ("rin", "ghost"):
            assert (await clerk.log_in(mechanism, name))[1] == Refused(Refusal.THROTTLED)
        assert clerk.asked == ["rin@example.jp", "ghost@example.jp"]
        assert hashes == []

    run(work, rin)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The costly calls, in order."""
    calls: list[str] = []
    check = Workshop.check_password
    opens = ScramKeys.opens_with

    def counted_check(password_hash: str, password: str) -> bool:
        calls.append("argon2 " + password_hash.split("$")[3])
        return check(password_hash, password)

    def counted_opens(keys: ScramKeys, password: str) -> bool:
        calls.append(f"scram {keys.hash_name} {keys.iterations}")
        return opens(keys, password)

    monkeypatch.setattr(Workshop, "check_password", staticmethod(counted_check))
    monkeypatch.setattr(ScramKeys, "opens_with", counted_opens)
    return calls


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("imported", [False, True])
def test_the_same_is_hashed_whoever_is_named(
    rin: AccountStore, mechanism: str, imported: bool, hashes: list[str]
) -> None:
    rin.add("empty@example.jp", None)
    if imported:
        rin.add("old@example.jp", None)
        rin.import_verifier("old", "SCRAM-SHA-256", rin.workshop.make(PASSWORD)["SCRAM-SHA-256"])

    async def work(clerk: Clerk) -> None:
        seen = set()
        for name in ("rin", "ghost", "empty", *(["old"] if imported else [])):
            del hashes[:]
            assert isinstance((await clerk.log_in(mechanism, name, "hana-fubuka"))[1], Refused)
            seen.add(tuple(hashes))
        assert len(seen) == 1
        assert len(seen.pop()) == (2 if imported else 1)

    run(work, rin)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "CRAM-MD5"])
def test_unknown_accounts_and_those_without_a_verifier_walk_the_same_way(rin: AccountStore, mechanism: str) -> None:
    rin.add("empty@example.jp", None)

    async def shape(clerk: Clerk, name: str) -> list[str]:
        exchange = clerk.begin(mechanism)
        plus = mechanism.endswith("-PLUS")
        speaker = client(mechanism, name, "hana-fubuka", "clientnonce", binding=BINDING if plus else None)
        answer = await exchange.respond(speaker.initial)
        steps = []
        while isinstance(answer, Challenge):
            fields = answer.octets.decode().split(",")
            steps.append(" ".join(f"{field[:2]}{len(field)}" for field in fields) + fields[-1][:6] * (len(fields) > 1))
            answer = await exchange.respond(speaker.respond(answer.octets))
        assert isinstance(answer, Refused)
        return [*steps, "a guess" if answer.kind.is_guess else answer.kind]

    async def work(clerk: Clerk) -> None:
        shapes = [await shape(clerk, name) for name in ("rin", "ghost", "empty")]
        if mechanism == "CRAM-MD5":  # the challenge is sent before any name is known
            shapes = [steps[1:] for steps in shapes]
        assert shapes[0] == shapes[1] == shapes[2]

    run(work, rin)


def test_the_salt_of_an_unknown_account_stays_the_same_in_all_processes_and_spellings(
    rin: AccountStore, tmp_path: Path
) -> None:
    async def salt(clerk: Clerk, name: str, mechanism: str = "SCRAM-SHA-256") -> bytes:
        challenge = await clerk.begin(mechanism).respond(f"n,,n={name},r=abc".encode())
        assert isinstance(challenge, Challenge)
        return challenge.octets.split(b",")[1]

    async def work(clerk: Clerk) -> None:
        again = AccountStore.open(tmp_path / "accounts.sqlite", settings=CHEAP)
        other = Clerk(again)
        salts = [await salt(clerk, "ghost"), await salt(clerk, "Ghost@Example.JP"), await salt(other, "ghost")]
        assert len(set(salts)) == 1
        assert await salt(clerk, "rin") == await salt(clerk, "info@example.jp")
        assert await salt(clerk, "ghost2") != salts[0]
        assert await salt(clerk, "ghost", "SCRAM-SHA-1") != salts[0]
        await other.authenticator.close()
        again.close()

    run(work, rin)


def test_a_second_login_costs_no_hash_until_password_or_lifetime_change(rin: AccountStore, hashes: list[str]) -> None:
    async def work(clerk: Clerk) -> None:
        async def cost(mechanism: str, name: str, password: str = PASSWORD) -> tuple[bool, int]:
            del hashes[:]
            _, answer = await clerk.log_in(mechanism, name, password)
            return isinstance(answer, Accepted), len(hashes)

        assert await cost("PLAIN", "rin") == (True, 1)
        assert await cost("PLAIN", "info@example.jp") == (True, 0)
        assert await cost("LOGIN", "rin@example.jp") == (True, 0)
        assert await cost("PLAIN", "rin", "hana-fubuka") == (False, 1)
        assert await cost("PLAIN", "rin", "hana-fubuka") == (False, 1)
        rin.set_password("rin", "hana-fubuki-2")
        assert await cost("PLAIN", "rin") == (False, 1)
        assert await cost("PLAIN", "rin", "hana-fubuki-2") == (True, 1)
        clerk.now += CHEAP.cache_lifetime
        assert await cost("PLAIN", "rin", "hana-fubuki-2") == (True, 1)
        rin.delete("rin")
        assert await cost("PLAIN", "rin", "hana-fubuki-2") == (False, 1)

    run(work, rin)


@pytest.mark.parametrize("password", [PASSWORD, "hana-fubuka"])
def test_logins_at_the_same_moment_share_a_check_with_their_like_alone(
    rin: AccountStore, hashes: list[str], password: str
) -> None:
    """Known and unknown names alike: that a name is known must not show in what is hashed."""

    async def work(clerk: Clerk) -> None:
        names = ["rin", "info@example.jp", "ghost", "ghost@example.jp", "phantom"]
        tries = [(name, password) for name in names] + [("rin", "hana-fubukk")]
        answers = await asyncio.gather(*(clerk.log_in("PLAIN", *one) for one in tries))
        right = [isinstance(answer, Accepted) for _, answer in answers]
        assert right == [password == PASSWORD] * 2 + [False] * 4
        assert len(hashes) == 4  # rin, ghost, phantom, and the other password

    run(work, rin)


def test_nothing_is_shared_where_nothing_may_be_remembered(rin: AccountStore, hashes: list[str]) -> None:
    async def work(clerk: Clerk) -> None:
        await asyncio.gather(*(clerk.log_in("PLAIN", "rin") for _ in range(3)))
        assert len(hashes) == 3

    run(work, rin, replace(CHEAP, cache_lifetime=Duration(0)))


def test_a_client_that_leaves_does_not_take_the_check_from_those_who_wait_for_it(
    rin: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, began = threading.Event(), []

    def check(*_: str) -> bool:
        began.append(1)
        return release.wait()

    async def work(clerk: Clerk) -> None:
        monkeypatch.setattr(Workshop, "check_password", staticmethod(check))
        first, second, third = (asyncio.create_task(clerk.log_in("PLAIN", "rin")) for _ in range(3))
        queued = asyncio.create_task(clerk.log_in("PLAIN", "ghost"))
        await asyncio.sleep(0.01)
        first.cancel()
        queued.cancel()
        await asyncio.sleep(0.01)
        second.cancel()
        release.set()
        assert isinstance((await third)[1], Accepted)
        assert len(began) == 1

    run(work, rin)


def test_when_too_many_checks_wait_the_answer_is_busy_for_everybody_but_the_remembered(
    rin: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    async def work(clerk: Clerk) -> None:
        await clerk.log_in("PLAIN", "rin")
        monkeypatch.setattr(Workshop, "check_password", staticmethod(lambda *_: release.wait() and False))
        waiting = [asyncio.create_task(clerk.log_in("PLAIN", "rin", f"hana-fubuk{end}")) for end in "ao"]
        await asyncio.sleep(0.01)
        for name in ("rin", "ghost"):
            _, answer = await clerk.log_in("PLAIN", name, "hana-fubuku")
            assert isinstance(answer, Refused)
            assert answer.kind is Refusal.BUSY
        assert isinstance((await clerk.log_in("PLAIN", "rin"))[1], Accepted)
        release.set()
        assert all(isinstance(answer, Refused) and answer.kind is BAD for _, answer in await asyncio.gather(*waiting))

    run(work, rin, replace(CHEAP, hashing_backlog=1))


def test_accounts_that_cannot_be_read_are_busy_not_wrong(rin: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise StoreBusy("accounts.sqlite", "another process holds the database")

    async def work(clerk: Clerk) -> None:
        monkeypatch.setattr(rin, "identify", fail)
        for mechanism in MECHANISMS:
            _, answer = await clerk.log_in(mechanism, "rin")
            assert isinstance(answer, Refused)
            assert answer.kind is Refusal.BUSY

    run(work, rin)


def test_a_lack_of_memory_is_busy_not_wrong(rin: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(password_hash: str, password: str) -> bool:
        raise MemoryError

    async def work(clerk: Clerk) -> None:
        monkeypatch.setattr(Workshop, "check_password", staticmethod(fail))
        for mechanism in ("PLAIN", "LOGIN"):
            for name in ("rin", "ghost"):
                _, answer = await clerk.log_in(mechanism, name)
                assert isinstance(answer, Refused)
                assert answer.kind is Refusal.BUSY
        monkeypatch.undo()
        assert isinstance((await clerk.log_in("PLAIN", "rin"))[1], Accepted)

    run(work, rin)


def test_a_right_login_needs_no_memory_for_a_new_verifier(
    rin: AccountStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(CHEAP, argon2_passes=2)
    store = AccountStore.open(tmp_path / "accounts.sqlite", settings=settings)

    def fail(workshop: Workshop, password: str) -> str:
        raise MemoryError

    async def work(clerk: Clerk) -> None:
        monkeypatch.setattr(Workshop, "hash_password", fail)
        assert isinstance((await clerk.log_in("PLAIN", "rin"))[1], Accepted)
        assert ",t=1," in dict(store.find("rin").rows)["argon2id"]  # type: ignore[union-attr]  # added by the fixture

    run(work, store, settings)
    store.close()


def test_a_login_renews_verifiers_made_with_other_parameters(rin: AccountStore, tmp_path: Path) -> None:
    settings = replace(CHEAP, argon2_passes=2, scram_iterations=5000)
    store = AccountStore.open(tmp_path / "accounts.sqlite", settings=settings)

    async def work(clerk: Clerk) -> None:
        before = dict(store.find("rin").rows)  # type: ignore[union-attr]  # added by the fixture
        assert isinstance((await clerk.log_in("PLAIN", "rin", "hana-fubuka"))[1], Refused)
        assert dict(store.find("rin").rows) == before  # type: ignore[union-attr]
        assert isinstance((await clerk.log_in("PLAIN", "rin"))[1], Accepted)
        after = dict(store.find("rin").rows)  # type: ignore[union-attr]
        assert ",t=2," in after["argon2id"]
        assert after["SCRAM-SHA-256"].startswith("5000:")
        assert after["CRAM-MD5"] == before["CRAM-MD5"]
        for mechanism in MECHANISMS:
            assert isinstance((await clerk.log_in(mechanism, "rin"))[1], Accepted)

    run(work, store, settings)
    store.close()


def test_an_account_taken_over_with_scram_keys_logs_in_by_plain_and_gets_a_hash(store: AccountStore) -> None:
    store.add("old@example.jp", None)
    store.import_verifier("old", "SCRAM-SHA-1", ScramKeys.derive("sha1", PASSWORD, b"old salt", 4096).to_text())

    async def work(clerk: Clerk) -> None:
        assert isinstance((await clerk.log_in("PLAIN", "old", "hana-fubuka"))[1], Refused)
        assert isinstance((await clerk.log_in("PLAIN", "old"))[1], Accepted)
        assert set(store.show("old").mechanisms) == {"argon2id", "SCRAM-SHA-1", "SCRAM-SHA-256"}
        assert isinstance((await clerk.log_in("LOGIN", "old"))[1], Accepted)
        assert not store.has_imported

    run(work, store)


@pytest.mark.parametrize(
    ("authzid", "allowed"),
    [
        ("", True),
        ("rin", True),
        ("rin@example.jp", True),
        ("INFO@example.jp", True),
        ("@rin.example", True),
        ("ren@example.jp", False),
        ("someone@rin.example", False),
        ("ghost", False),
    ],
)
def test_nobody_acts_as_somebody_else(rin: AccountStore, authzid: str, allowed: bool) -> None:
    """RFC 4616 §2, RFC 5802 §5.1."""
    rin.add("ren@example.jp", PASSWORD)

    async def work(clerk: Clerk) -> None:
        answer = await clerk.begin("PLAIN").respond(f"{authzid}\0rin@example.jp\0{PASSWORD}".encode())
        assert isinstance(answer, Accepted) is allowed
        assert allowed or (isinstance(answer, Refused) and answer.kind is BAD)

    run(work, rin)


@pytest.mark.parametrize(
    ("mechanism", "messages"),
    [
        ("PLAIN", [b"nonsense"]),
        ("LOGIN", [b""]),
        ("CRAM-MD5", [b"with auth"]),
        ("CRAM-MD5", [None, b"no digest"]),
        ("SCRAM-SHA-256", [b"x,,n=rin,r=abc"]),
        ("SCRAM-SHA-256", [b"y,,n=rin,r=abc"]),
        ("SCRAM-SHA-256", [b"n,,n=rin,r=abc", b"c=biws,r=abc,p="]),
    ],
)
def test_wrong_messages_are_malformed(rin: AccountStore, mechanism: str, messages: list[bytes | None]) -> None:
    async def work(clerk: Clerk) -> None:
        exchange = clerk.begin(mechanism)
        answers = [await exchange.respond(message) for message in messages]
        assert isinstance(answers[-1], Refused)
        assert answers[-1].kind is Refusal.MALFORMED

    run(work, rin)


def test_octets_after_the_server_signature_are_malformed(rin: AccountStore) -> None:
    async def work(clerk: Clerk) -> None:
        exchange = clerk.begin("SCRAM-SHA-256")
        speaker = client("SCRAM-SHA-256", "rin", PASSWORD, "clientnonce")
        first = await exchange.respond(speaker.initial)
        assert isinstance(first, Challenge)
        final = await exchange.respond(speaker.respond(first.octets))
        assert isinstance(final, Challenge)
        assert final.octets.startswith(b"v=")
        answer = await exchange.respond(b"more")
        assert isinstance(answer, Refused)
        assert answer.kind is Refusal.MALFORMED

    run(work, rin)


def test_equal_wrong_passwords_have_equal_digests_in_every_process(rin: AccountStore, tmp_path: Path) -> None:
    async def work(clerk: Clerk) -> None:
        again = AccountStore.open(tmp_path / "accounts.sqlite", settings=CHEAP)
        other = Clerk(again)

        async def digest(clerk: Clerk, mechanism: str, name: str, password: str) -> bytes | None:
            return (await clerk.log_in(mechanism, name, password))[0].password_digest

        first = await digest(clerk, "PLAIN", "rin", "hana-fubuka")
        assert first is not None
        assert (
            first
            == await digest(clerk, "LOGIN", "RIN", "hana-fubuka")
            == await digest(other, "PLAIN", "rin", "hana-fubuka")
        )
        assert first != await digest(clerk, "PLAIN", "rin", "hana-fubukb")
        assert first != await digest(clerk, "PLAIN", "ghost", "hana-fubuka")
        assert await digest(clerk, "SCRAM-SHA-256", "rin", "hana-fubuka") is None
        await other.authenticator.close()
        again.close()

    run(work, rin)


WITHOUT_TLS = replace(CHEAP, allow_without_tls=True)
CLEARTEXT = replace(CHEAP, allow_cleartext_passwords=True)


@pytest.mark.parametrize(
    ("settings", "tls", "listener", "bindings", "offered"),
    [
        (CHEAP, True, (), True, MECHANISMS),
        (CHEAP, True, (), False, ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5")),
        (AccountsSettings(), True, (), True, ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1")),
        (
            replace(CHEAP, channel_binding=False),
            True,
            (),
            True,
            ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"),
        ),
        (replace(CHEAP, scram_sha_1=False), True, (), False, ("PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5")),
        (CHEAP, True, ("login", "PLAIN", "XOAUTH2"), True, ("LOGIN", "PLAIN")),
        (AccountsSettings(), True, ("CRAM-MD5",), True, ()),
        (CHEAP, False, (), False, ()),
        (CHEAP, False, ("PLAIN", "CRAM-MD5"), False, ()),
        (WITHOUT_TLS, False, (), False, ("CRAM-MD5",)),
        (CLEARTEXT, False, (), False, ("PLAIN", "LOGIN")),
    ],
)
def test_what_is_offered(
    store: AccountStore,
    settings: AccountsSettings,
    tls: bool,
    listener: tuple[str, ...],
    bindings: bool,
    offered: tuple[str, ...],
) -> None:
    async def work(clerk: Clerk) -> None:
        mechanisms = clerk.authenticator.mechanisms(tls=tls, listener_mechanisms=listener, bindings_available=bindings)
        assert mechanisms == offered

    run(work, store, settings)


def test_what_is_not_offered_cannot_be_begun(store: AccountStore) -> None:
    """s-nail and nodemailer send PLAIN whatever the list says."""

    async def work(clerk: Clerk) -> None:
        begin = clerk.authenticator.begin
        assert begin("PLAIN", binding={}, tls=False, gate=clerk.gate) is None
        assert begin("XOAUTH2", binding={}, tls=True, gate=clerk.gate) is None
        assert begin("SCRAM-SHA-256-PLUS", binding={}, tls=True, gate=clerk.gate) is None
        assert begin("PLAIN", binding={}, tls=True, gate=clerk.gate, offered=("LOGIN",)) is None
        assert begin("plain", binding={}, tls=True, gate=clerk.gate) is not None

    run(work, store)


def test_logins_are_noted(rin: AccountStore) -> None:
    async def work(clerk: Clerk) -> None:
        await clerk.log_in("SCRAM-SHA-256", "rin")

    assert rin.show("rin").last_login is None
    run(work, rin)
    assert rin.show("rin").last_login is not None


def test_no_password_is_in_any_repr_or_answer(rin: AccountStore) -> None:
    async def work(clerk: Clerk) -> None:
        for name, password in (("rin", PASSWORD), ("rin", "hana-fubuka"), ("ghost", "hana-fubuka")):
            for mechanism in MECHANISMS:
                exchange, answer = await clerk.log_in(mechanism, name, password)
                assert password not in f"{exchange!r} {answer!r}"

    run(work, rin)
