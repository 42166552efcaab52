"""Settings of the guide: who speaks to the reader, and what is offered to whom."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sekisho.config import setting
from sekisho.smtp.replies import MAX_ADVICE_CHARACTERS, is_advice

__all__ = ["AudienceSettings", "GuideSettings", "NoticeSettings"]

Offer = Literal["starttls_587", "tls_465", "crammd5_587", "plain_587"]


def _check_url(url: str) -> tuple[str, str] | None:
    """Refusals of the mail server end with it."""
    if is_advice(url):
        return None
    return (
        "is no web address that a mail server can tell",
        f"Write it with https://, in ASCII without spaces, at most {MAX_ADVICE_CHARACTERS} characters.",
    )


def _check_zone(name: str) -> tuple[str, str] | None:
    import zoneinfo  # only where a zone is named

    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return (
            "is no time zone that this machine knows",
            "Write it as Asia/Tokyo; Debian has them in its package tzdata.",
        )
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class AudienceSettings:
    """A class of accounts whose user names or server differ from those of others."""

    domain: str = setting(prose="Domain of their addresses.", example="cs.example.jp", reload=True)
    name_ja: str = setting(prose="What the class is called, in Japanese.", example="教職員", reload=True)
    name_en: str = setting(prose="What the class is called, in English.", example="staff", reload=True)
    username: Literal["address", "local_part"] = setting(
        "address", "What they type as user name: the whole address, or what stands before the @.", reload=True
    )
    host: str | None = setting(
        None,
        "Server name for them; without it `hostname`. The certificate has to have it.",
        example="smtp.example.jp",
        reload=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NoticeSettings:
    """Something that the readers should know of, shown on the first page of the guide and in its feed."""

    date: str = setting(prose="Its day.", example="2026-04-01", reload=True)
    ja: str = setting(
        prose="The notice in Japanese, one or two sentences.",
        example="4月1日から25番ポートでの送信を止めます。",
        reload=True,
    )
    en: str = setting(
        prose="The notice in English, one or two sentences.",
        example="From April 1, sending through port 25 is blocked.",
        reload=True,
    )
    in_guides: bool = setting(
        False,
        "Put it into the log of changes of every guide, too: whoever has set up a program has to do it again.",
        reload=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class GuideSettings:
    """The guide for users: written by `sekisho guide build`, from what is configured here and elsewhere."""

    name_ja: str | None = setting(
        None, "Who runs this service, in Japanese. The guide needs it.", example="情報センター", reload=True
    )
    name_en: str | None = setting(
        None, "Who runs this service, in English. The guide needs it.", example="Information Center", reload=True
    )
    contact_ja: str | None = setting(
        None, "Where to ask, in Japanese. The guide needs it.", example="情報センター窓口 内線1234", reload=True
    )
    contact_en: str | None = setting(
        None, "Where to ask, in English. The guide needs it.", example="help desk, extension 1234", reload=True
    )
    hours_ja: str | None = setting(None, "When somebody is there, in Japanese.", example="平日 9:00-17:00", reload=True)
    hours_en: str | None = setting(
        None, "When somebody is there, in English.", example="weekdays 9:00-17:00", reload=True
    )
    time_zone: str | None = setting(
        None,
        "Time zone of every time on the pages, by its IANA name; without it that of this machine.",
        example="Asia/Tokyo",
        reload=True,
        check=_check_zone,
    )
    url: str | None = setting(
        None,
        "Address under which the guide is published. The feed needs it, and the mail server tells it with refusals "
        "that other settings of the mail program would mend.",
        example="https://mail.example.jp/guide",
        reload=True,
        check=_check_url,
    )
    offer: tuple[Offer, ...] = setting(
        ("starttls_587", "tls_465"),
        "Ways to send that the guide may show. crammd5_587 and plain_587 are without TLS; they are shown to those "
        "whose program can do nothing better, and only where the settings of accounts allow them too.",
        reload=True,
    )
    audience: tuple[AudienceSettings, ...] = setting(
        (), "Classes of accounts; without any, everybody of local.domains logs in with the whole address.", reload=True
    )
    notice: tuple[NoticeSettings, ...] = setting((), "Notices of the operator, in any order.", reload=True)
    access_network: bool = setting(
        True,
        "Lines to the Internet (or a campus network) come from here and block port 25: the flow chart asks.",
        reload=True,
    )
    webmail_url: str | None = setting(
        None, "Web mail, as another way to send.", example="https://webmail.example.jp/", reload=True
    )
    vpn_url: str | None = setting(None, "Instructions for the VPN.", example="https://www.example.jp/vpn", reload=True)
    password_url: str | None = setting(
        None,
        "Page where passwords are changed; without it that of the portal, where there is one.",
        example="https://www.example.jp/password",
        reload=True,
    )
    accounts_renewed: str | None = setting(
        None,
        "Day since which passwords are kept in the present way, if they were not before.",
        example="2026-04-01",
        reload=True,
    )
    profile_url: str | None = setting(
        None,
        "Address of a configuration profile for Apple devices; without it the portal's own, where [incoming] is set.",
        example="https://www.example.jp/mail.mobileconfig",
        reload=True,
    )

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What stands in one language only: key, problem, remedy."""
        for key in ("name", "contact", "hours"):
            ja, en = getattr(self, f"{key}_ja"), getattr(self, f"{key}_en")
            if bool(ja) != bool(en):
                missing, there = ("en", "ja") if ja else ("ja", "en")
                yield f"{key}_{missing}", f"is missing, and {key}_{there} is there", "The guide is in both languages."
        for each in self.notice:
            try:
                datetime.date.fromisoformat(each.date)
            except ValueError:
                yield "notice", f'"{each.date}" is no day', "Write it as 2026-04-01."

    def strangers(self, default_domain: str | None) -> Iterator[tuple[str, str, str]]:
        """User names that the guide would give and the service would not know: key, problem, remedy."""
        for each in self.audience:
            if each.username == "local_part" and default_domain not in (None, each.domain):
                yield (
                    "audience",
                    f"a bare user name of {each.domain} would be looked for in {default_domain}",
                    'Set username = "address", or accounts.default_domain to their domain.',
                )
