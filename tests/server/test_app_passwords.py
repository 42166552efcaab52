"""App passwords and second factors, as a mail client meets them."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from tests.server.client import Client
from tests.server.station import LETTER, PASSWORD, POLICY, TLS_ONLY, Station, opened, run

from sekisho.accounts import AppPasswords, SecondFactors
from sekisho.accounts.totp import PERIOD, code_at
from sekisho.config import Duration

RIN = "rin@example.jp"


def with_second_factor(station: Station) -> None:
    factors = SecondFactors(station.services.accounts)
    secret = base64.b32decode(factors.begin(RIN, issuer="mail").secret.replace(" ", ""))
    factors.confirm(RIN, code_at(secret, int(time.time()) // PERIOD))


def test_a_device_sends_with_its_own_password_until_it_is_revoked(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            devices = AppPasswords(station.services.accounts)
            device, password = devices.add(RIN, "telephone")
            client, other = await station.client(), await station.sender()
            assert (await client.log_in(password=password)).code == 235
            assert [event.get("app_password") for event in station.events("auth.accepted")] == [None, device.number]
            assert (await client.submit(LETTER)).code == 250
            devices.remove(RIN, device.number)
            assert str(await client.submit(LETTER)).startswith("421 4.7.0")
            assert (await other.submit(LETTER)).code == 250
            late = await station.client()
            assert (await late.log_in(password=password)).code == 535

    run(main())


def test_a_new_password_of_the_account_leaves_a_device_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            _, password = AppPasswords(station.services.accounts).add(RIN, "telephone")
            client = await station.client()
            await client.log_in(password=password)
            station.services.accounts.set_password(RIN, "another word for it")
            assert (await client.submit(LETTER)).code == 250

    run(main())


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_with_a_second_factor_the_right_password_is_answered_as_a_wrong_one(tmp_path: Path, mechanism: str) -> None:
    """RFC 4954 §6 has 534 5.7.9 for this; it would tell a guesser which password is right."""

    async def main() -> None:
        async with opened(tmp_path, accounts=TLS_ONLY) as station:
            with_second_factor(station)
            server = station.server("submissions")
            heard = []
            for password in (PASSWORD, "wrong"):
                client = Client(server)
                client.start_tls()
                await client.greeted()
                heard.append(await client.log_in_by(mechanism, password=password))
            assert heard[0] == heard[1]
            assert (heard[0].code, heard[0].status) == (535, "5.7.8")
            assert "app password" in heard[0].text
            reasons = [event["reason"] for event in station.events("auth.refused")]
            assert reasons == ["app-password-required", "bad-credentials"]

    run(main())


def test_with_a_second_factor_right_passwords_use_up_the_limits_as_wrong_ones_do(tmp_path: Path) -> None:
    """Else a guesser would see by the limits what the reply does not say."""
    policy = POLICY.__class__(auth_failures_per_address=3, auth_delay=Duration(0), auth_max_delay=Duration(0))

    async def main() -> None:
        async with opened(tmp_path, policy=policy) as station:
            with_second_factor(station)
            client = await station.client()
            codes = [(await client.log_in(password=text)).code for text in ("one", PASSWORD, "two", "three")]
            assert codes == [535, 535, 535, 454]

    run(main())


def test_switching_it_on_ends_what_the_password_alone_had_opened(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            client = await station.sender()
            with_second_factor(station)
            assert str(await client.submit(LETTER)).startswith("421 4.7.0")

    run(main())


def test_a_failed_login_of_an_account_that_needs_renewal_is_logged_as_that(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as station:
            accounts = station.services.accounts
            accounts.add("old@example.jp", None)
            client = await station.client()
            replies = [await client.log_in(login) for login in ("old@example.jp", "ghost@example.jp")]
            assert replies[0] == replies[1]
            first, second = station.events("auth.refused")
            assert (first["reason"], second["reason"]) == ("renewal", "bad-credentials")
            accounts.change(RIN, renewal=True)
            assert (await client.log_in()).code == 235

    run(main())
