"""The card says what the service does, and nothing that it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sekisho.accounts import AccountsSettings, AccountStore, Authenticator
from sekisho.config import ConfigErrors, load
from sekisho.guide.errors import GuideError
from sekisho.guide.facts import catalog
from sekisho.guide.model import Both
from sekisho.guide.render import build_site
from sekisho.guide.render.rows import card_views
from sekisho.guide.settings import AudienceSettings, GuideSettings, NoticeSettings
from sekisho.server import ListenerSettings
from sekisho.supervise.card import guide_card, settings_card
from sekisho.supervise.provider import provider
from sekisho.supervise.sections import Settings

from .samples import card

EVERY_WAY = ("starttls_587", "tls_465", "crammd5_587", "plain_587")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountStore]:
    opened = AccountStore.open(tmp_path_factory.mktemp("accounts") / "accounts.sqlite", key=b"k" * 32)
    yield opened
    opened.close()


def test_ways_without_tls_need_two_consents() -> None:
    """Once in the guide, once in the accounts: the operator cannot offer by mistake what the server refuses."""
    lenient = AccountsSettings(cram_md5=True, allow_without_tls=True, allow_cleartext_passwords=True)
    assert [way.capability for way in card().ways] == ["starttls_587", "tls_465"]
    assert [way.capability for way in card(offer=EVERY_WAY).ways] == ["starttls_587", "tls_465"]
    assert [way.capability for way in card(accounts=lenient).ways] == ["starttls_587", "tls_465"]
    assert [way.capability for way in card(accounts=lenient, offer=EVERY_WAY).ways] == [*EVERY_WAY]


def test_a_listener_that_is_off_or_elsewhere_is_told_so() -> None:
    (way,) = card(ports={"submission": 2587}).ways
    assert (way.capability, way.port) == ("starttls_587", 2587)


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("names", [(), ("login", "PLAIN"), ("CRAM-MD5",), ("SCRAM-SHA-1", "XOAUTH2")])
@pytest.mark.parametrize(
    "accounts",
    [
        AccountsSettings(),
        AccountsSettings(scram_sha_1=False),
        AccountsSettings(cram_md5=True),
        AccountsSettings(cram_md5=True, allow_without_tls=True),
        AccountsSettings(allow_cleartext_passwords=True),
    ],
)
def test_the_mechanisms_are_those_that_the_server_offers(
    store: AccountStore, tls: bool, names: tuple[str, ...], accounts: AccountsSettings
) -> None:
    authenticator = Authenticator(store, accounts, hostname="mail.example.jp")
    offered = set(authenticator.mechanisms(tls=tls, listener_mechanisms=names))
    made = card(accounts=accounts, listener=ListenerSettings(mechanisms=names), offer=EVERY_WAY)
    told = {each for way in made.ways if (way.capability in EVERY_WAY[:2]) == tls for each in way.mechanisms}
    assert told == offered


def test_one_language_without_the_other_is_a_mistake() -> None:
    with pytest.raises(GuideError, match="name_en"):
        card(name_en=None)


def test_each_class_of_accounts_has_its_values() -> None:
    staff = AudienceSettings(domain="a.invalid", name_ja="教職員", name_en="staff", host="smtp.a.invalid")
    students = AudienceSettings(domain="b.invalid", name_ja="学生", name_en="students", username="local_part")
    made = card(audience=(staff, students))
    assert [(each.host, each.user_name) for each in made.audiences] == [
        ("smtp.a.invalid", "name@a.invalid"),
        ("smtp.johoku.invalid", "name"),
    ]
    assert made.for_person("rin@b.invalid").user_name == "rin"
    assert made.for_person("rin@a.invalid").user_name == "rin@a.invalid"
    assert made.for_person("rin@c.invalid").host == "smtp.johoku.invalid"


CONFIG = """
hostname = "mail.example.jp"
[listener.submission]
addresses = ["127.0.0.1:2587"]
[local]
domains = ["example.jp"]
"""


def read(tmp_path: Path, more: str = "") -> Settings:
    (tmp_path / "sekisho.toml").write_text(CONFIG + more, "utf-8")
    return load(Settings, tmp_path / "sekisho.toml", {})


def test_the_card_and_the_automatic_configuration_tell_the_same(tmp_path: Path) -> None:
    settings = read(tmp_path)
    told = {(server.host, server.port) for server in provider(settings).outgoing}
    made = guide_card(settings)
    assert told == {(made.hostname, way.port) for way in made.ways}
    text = settings_card(settings, "rin@example.jp", language="en")
    for host, port in told:
        assert host in text
        assert str(port) in text


def test_the_card_knows_the_servers_of_the_mailboxes(tmp_path: Path) -> None:
    """S-76."""
    made = guide_card(read(tmp_path, '[incoming]\nimap = "imap.example.jp"\nimap_tls = "starttls"\nimap_port = 143\n'))
    page = build_site(catalog(), replace(made, name=Both("名", "n"), contact=Both("窓口", "c")))["en/encryption.html"]
    assert "The IMAP server of this service is imap.example.jp, port 143, STARTTLS." in page
    assert "The POP server of this service" not in page


def test_a_user_name_that_the_service_would_look_for_elsewhere_is_refused(tmp_path: Path) -> None:
    more = """
[accounts]
default_domain = "example.jp"
[[guide.audience]]
domain = "st.example.jp"
name_ja = "学生"
name_en = "students"
username = "local_part"
"""
    with pytest.raises(ConfigErrors, match=r"a bare user name of st\.example\.jp would be looked for in example\.jp"):
        read(tmp_path, more)


def test_a_translation_that_is_missing_in_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="contact_en"):
        read(tmp_path, '[guide]\ncontact_ja = "窓口"\n')


@pytest.mark.parametrize("url", ["mail.example.jp/guide", "https://mail.example.jp/a b", "https://例え.jp/"])
def test_an_address_of_the_guide_that_a_refusal_cannot_end_with_is_told(tmp_path: Path, url: str) -> None:
    """S-09."""
    with pytest.raises(ConfigErrors, match=r"guide\.url.*no web address"):
        read(tmp_path, f'[guide]\nurl = "{url}"\n')


@pytest.mark.parametrize("zone", ["Tokyo", "../../etc/passwd", "", "/etc/localtime"])
def test_a_time_zone_that_is_none_is_told(tmp_path: Path, zone: str) -> None:
    with pytest.raises(ConfigErrors, match=r"guide\.time_zone.*no time zone.*Asia/Tokyo"):
        read(tmp_path, f'[guide]\ntime_zone = "{zone}"\n')


def test_a_port_that_portal_and_mail_both_want_is_told(tmp_path: Path) -> None:
    more = '[portal]\naddresses = ["127.0.0.1:2587"]\n'
    with pytest.raises(ConfigErrors, match=r"portal\.addresses.*is also in listener\.submission\.addresses"):
        read(tmp_path, more)


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ("", None),
        ('[portal]\naddresses = [":443", ":80"]\n', "https://mail.example.jp/account/password"),
        ('[portal]\naddresses = ["192.0.2.1:8443"]\n', "https://mail.example.jp:8443/account/password"),
        (
            '[portal]\naddresses = ["192.0.2.1:8443"]\ntrusted_proxies = ["192.0.2.80/32"]\n',
            "https://mail.example.jp/account/password",
        ),
        (
            '[portal]\naddresses = ["127.0.0.1:8080"]\n[autoconfig]\nweb_host = "help.example.jp"\n',
            "https://help.example.jp/account/password",
        ),
        (
            '[portal]\naddresses = [":443"]\n[guide]\npassword_url = "https://other.example.jp/"\n',
            "https://other.example.jp/",
        ),
    ],
)
def test_passwords_are_changed_in_the_portal_where_there_is_one(tmp_path: Path, more: str, url: str | None) -> None:
    assert guide_card(read(tmp_path, more)).parameters.get("operator.password_change_url") == url


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ('[portal]\naddresses = [":443"]\n', None),
        ('[incoming]\nimap = "mail.example.jp"\n', None),
        (
            '[portal]\naddresses = [":443"]\n[incoming]\nimap = "mail.example.jp"\n',
            "https://mail.example.jp/profile/mail.mobileconfig",
        ),
        (
            '[portal]\naddresses = [":443"]\n[incoming]\npop3 = "mail.example.jp"\n'
            '[guide]\nprofile_url = "https://other.example.jp/"\n',
            "https://other.example.jp/",
        ),
    ],
)
def test_devices_get_their_profile_from_the_portal_where_it_has_one(tmp_path: Path, more: str, url: str | None) -> None:
    assert guide_card(read(tmp_path, more)).profile_url == url


def test_notices_come_newest_first() -> None:
    """S-82."""
    first, second = (NoticeSettings(date=f"2026-0{month}-01", ja="文", en="words") for month in (3, 9))
    assert [each.date.month for each in card(notice=(first, second)).notices] == [9, 3]


def test_a_notice_without_a_day_is_told_with_its_remedy() -> None:
    broken = NoticeSettings(date="tomorrow", ja="文", en="words")
    assert ("notice", '"tomorrow" is no day', "Write it as 2026-04-01.") in list(
        GuideSettings(notice=(broken,)).problems()
    )
    with pytest.raises(GuideError, match=r"\[guide\] notice: .*tomorrow"):
        card(notice=(broken,))


def test_a_choice_of_ways_is_one_row_each() -> None:
    (view,) = card_views(card(), card().ways, "en")
    rows = dict(view.rows)
    assert rows["Port and encryption"] == "587 · STARTTLS"
    assert rows["or"] == "465 · SSL/TLS"
    (single,) = card_views(card(), card().ways[:1], "en", card().for_person("rin@johoku.invalid"))
    assert dict(single.rows)["Port"] == "587"
    assert (view.is_example, single.is_example) == (True, False)
