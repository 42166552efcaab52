"""What is stored in place of a password."""

from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from tests.accounts.conftest import CHEAP

from sekisho.accounts import AccountsSettings
from sekisho.accounts.verifiers import ARGON2ID, Sealer, Verifiers, Workshop, read_verifier
from sekisho.config import KIB, Size
from sekisho.store import StoreError


def make_workshop(tmp_path: Path, settings: AccountsSettings = CHEAP) -> Workshop:
    return Workshop(settings, Sealer(tmp_path / "accounts.key"))


def test_every_verifier_opens_with_its_password_alone(tmp_path: Path) -> None:
    workshop = make_workshop(tmp_path)
    made = workshop.make("hana-fubuki")
    assert made.keys() == {ARGON2ID, "SCRAM-SHA-256", "SCRAM-SHA-1"}
    verifiers = Verifiers.read(made.items())
    assert workshop.check_password(made[ARGON2ID], "hana-fubuki")
    assert not workshop.check_password(made[ARGON2ID], "hana-fubuka")
    assert verifiers.opens_by_scram("hana-fubuki")
    assert not verifiers.opens_by_scram("hana-fubuka")


def test_nothing_opens_the_decoy_and_it_costs_what_a_new_verifier_costs(tmp_path: Path) -> None:
    workshop = make_workshop(tmp_path)
    made = workshop.make("hana-fubuki")[ARGON2ID]
    assert workshop.decoy_hash.rpartition("$")[0].rpartition("$")[0] == made.rpartition("$")[0].rpartition("$")[0]
    assert len(workshop.decoy_hash) == len(made)
    assert not workshop.check_password(workshop.decoy_hash, "hana-fubuki")


def test_verifiers_with_other_parameters_are_renewed_and_good_ones_left(tmp_path: Path) -> None:
    verifiers = Verifiers.read(make_workshop(tmp_path).make("hana-fubuki").items())

    def renewed(settings: AccountsSettings) -> set[str]:
        return set(make_workshop(tmp_path, settings).renew(verifiers, "hana-fubuki"))

    assert renewed(CHEAP) == set()
    assert renewed(replace(CHEAP, argon2_passes=2)) == {ARGON2ID}
    assert renewed(replace(CHEAP, argon2_memory=Size(128 * KIB))) == {ARGON2ID}
    assert renewed(replace(CHEAP, scram_iterations=5000)) == {"SCRAM-SHA-256", "SCRAM-SHA-1"}
    assert set(make_workshop(tmp_path, replace(CHEAP, scram_sha_1=False)).make("p")) == {ARGON2ID, "SCRAM-SHA-256"}


def test_a_damaged_verifier_is_opened_by_nothing(tmp_path: Path) -> None:
    workshop = make_workshop(tmp_path)
    assert not workshop.check_password("$argon2id$nonsense", "hana-fubuki")
    assert not workshop.check_password("", "")
    assert Verifiers.read([("SCRAM-SHA-256", "nonsense")]).scram == {}


def test_a_sealed_secret_opens_for_its_account_and_key_only(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path / "accounts.key")
    sealed = sealer.seal(7, b"hana-fubuki")
    assert b"hana" not in sealed.encode()
    assert Sealer(tmp_path / "accounts.key").open(7, sealed) == b"hana-fubuki"
    assert sealer.open(8, sealed) is None
    assert sealer.open(7, sealed[:-8] + "AAAAAAA=") is None
    assert sealer.open(7, "nonsense") is None
    assert Sealer(b"k" * 32).open(7, sealed) is None
    assert (tmp_path / "accounts.key").stat().st_mode & 0o777 == 0o600


def test_a_missing_or_damaged_key_file_is_named(tmp_path: Path) -> None:
    sealed = Sealer(b"k" * 32).seal(7, b"hana-fubuki")
    with pytest.raises(StoreError, match=r"accounts\.key"):
        Sealer(tmp_path / "accounts.key").open(7, sealed)
    (tmp_path / "accounts.key").write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged"):
        Sealer(tmp_path / "accounts.key").open(7, sealed)


def test_verifiers_of_other_systems_are_read_and_costly_ones_refused() -> None:
    phc = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("hana-fubuki")
    assert read_verifier(ARGON2ID, phc) == phc
    text = (
        "4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert read_verifier("SCRAM-SHA-256", f"SCRAM-SHA-256${text}") == text
    for mechanism, bad in [
        (ARGON2ID, "$argon2id$v=19$m=999999999,t=3,p=4$c2FsdHNhbHQ$" + "A" * 43),
        (ARGON2ID, "$2b$12$abcdefghijklmnopqrstuv"),
        ("SCRAM-SHA-1", text),
        ("CRAM-MD5", "secret"),
    ]:
        with pytest.raises(ValueError):
            read_verifier(mechanism, bad)


def test_verifiers_show_in_no_repr(tmp_path: Path) -> None:
    assert repr(Verifiers.read(make_workshop(tmp_path).make("hana-fubuki").items())) == "Verifiers()"
