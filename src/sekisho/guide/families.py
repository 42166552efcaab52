"""Reading a family file: one mail client with its versions, words and guides."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .model import (
    CAPABILITIES,
    TLS_ORDER,
    Both,
    ClientError,
    ClientGuide,
    Family,
    Recommendation,
    Step,
    Version,
)
from .table import Table

__all__ = ["read_family"]

KINDS = ("desktop", "mobile", "cli", "mta", "app", "device")
STATUS = ("current", "legacy")
PLATFORMS = ("windows", "macos", "macos-classic", "linux", "ios", "ipados", "android", "web", "device")
TLS = (*TLS_ORDER, "os", "library", "unknown")
KNOWN = ("yes", "no", "unknown", "disputed")
CERTIFICATE = ("prompt", "strict", "override_once", "optional_off", "none", "unknown")
MECHANISMS = (
    *("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "EXTERNAL", "XOAUTH2", "OAUTHBEARER"),
    *("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"),
)
AUTOCONFIG = (
    *("thunderbird_autoconfig", "ispdb", "autodiscover", "mobileconfig", "srv", "mx_guess", "port_probe"),
    *("vendor_database", "none"),
)
EHLO = ("netbios_name", "address_literal", "localhost", "fqdn", "fixed", "unknown")
SETTINGS = {
    "security": ("starttls", "starttls_opportunistic", "tls", "none", "auto"),
    "auth": ("password", "password_insecure", "cram-md5", "ntlm", "gssapi", "oauth2", "none"),
}
AREAS = ("tls", "auth", "ehlo", "encoding", "headers", "session", "retry", "ui", "port25")
SITUATIONS = (
    *("port25_blocked", "connect_failed", "unknown_host", "auth_required", "auth_failed", "auth_mechanism"),
    *("certificate", "relay_denied", "security_mismatch", "starttls_missing", "too_many_recipients", "size"),
    "rate_limited",
)
ON_SCREEN = ("open_menu", "select", "check", "uncheck", "set_field", "click_button", "choose")
IN_A_FILE = ("add_line", "run_command")
TASKS = ("change_outgoing", "add_account", "profile")
READINESS = ("ready", "review", "draft")


def read_family(table: Table, stem: str) -> Family:
    """Read the family that the file *stem* holds."""
    if table.number("schema") != 1:
        table.complain("schema: is not 1")
    if (name := table.text("id")) != stem:
        table.complain("id: differs from the file name")
    table.source()
    versions = tuple(_version(each) for each in table.tables("version"))
    if not versions:
        table.complain("version: there is none")
    ids = tuple(version.id for version in versions)
    choices = _choices(table, ids)
    family = Family(
        id=name,
        names=table.both("names"),
        vendor=table.text("vendor"),
        kind=table.one_of("kind", KINDS),
        status=table.one_of("status", STATUS),
        platforms=table.texts("platforms", PLATFORMS),
        versions=versions,
        choices=choices,
        guides=tuple(_guide(each, ids) for each in table.tables("guide")),
        errors=tuple(_error(each, ids) for each in table.tables("error")),
    )
    for each in table.tables("quirk"):
        each.one_of("area", AREAS)
        each.text("text")
        _expand(each, ids)
        each.source()
        each.finish("server_action")
    for each in table.tables("note"):
        each.text("text")
        _expand(each, ids)
        each.source()
        each.finish()
    table.finish()
    _check_guides(family, table)
    return family


def _expand(table: Table, ids: Collection[str]) -> tuple[str, ...]:
    names = table.texts("versions", optional=False)
    if names == ("*",):
        return tuple(ids)
    for name in names:
        if name not in ids:
            table.complain(f"versions: there is no version {name} in this file")
    return names


def _version(table: Table) -> Version:
    tls, auth, smtp, autoconfig = (table.table(key) for key in ("tls", "auth", "smtp", "autoconfig"))
    sure = [each.source() for each in (table, tls, auth, smtp, autoconfig)]
    for part in (tls, auth, smtp, autoconfig):
        for key in part.texts("unverified"):
            if not part.has(key):
                part.complain(f"unverified: names the missing key {key}")
    version = Version(
        id=table.text("id"),
        names=table.both("names"),
        platforms=table.texts("platforms", PLATFORMS),
        release=_year(table, "release"),
        end=_year(table, "end"),
        status=table.one_of("status", STATUS),
        replace_by=table.texts("replace_by"),
        tls=tls.one_of("max_possible", TLS),
        tls_by_os={each.text("os"): each.one_of("max", TLS) for each in tls.tables("by_os")},
        starttls=tls.one_of("starttls_587", KNOWN),
        implicit=tls.one_of("implicit_465", KNOWN),
        mechanisms=auth.texts("mechanisms", MECHANISMS),
        preference=auth.texts("preference", MECHANISMS),
        ehlo=smtp.one_of("ehlo", EHLO),
        recommended=tuple(_recommendations(table)),
        sure=all(sure),
    )
    tls.one_of("max_default", TLS)
    tls.one_of("certificate", CERTIFICATE)
    autoconfig.texts("methods", AUTOCONFIG)
    smtp.number("default_port")
    if (version.release or version.end) and not table.has("dates_confidence"):
        table.complain("dates_confidence: is missing")
    if version.release and version.end and version.end < version.release:
        table.complain("end: is before release")
    _check_recommended(version, table)
    table.finish("dates_confidence", "named_by")
    tls.finish("note", "sni", "starttls_25")
    for part in (auth, smtp, autoconfig):
        part.finish("note")
    return version


def _year(table: Table, key: str) -> int | None:
    year = table.number(key)
    if year is not None and not 1980 <= year <= 2040:
        table.complain(f"{key}: {year} is not a year")
    return year


def _recommendations(table: Table) -> Iterator[Recommendation]:
    for number, each in enumerate(table.tables("recommended"), 1):
        if each.number("rank") != number:
            each.complain("rank: the ranks are not 1, 2, 3 …")
        yield Recommendation(each.one_of("capability", CAPABILITIES), each.both("advice"))
        each.finish()


def _check_recommended(version: Version, table: Table) -> None:
    for each in version.recommended:
        if (each.capability == "starttls_587" and version.starttls == "no") or (
            each.capability == "tls_465" and version.implicit == "no"
        ):
            table.complain(f"recommended: {each.capability}, which tls says it cannot do")
        if each.capability == "crammd5_587" and "CRAM-MD5" not in version.mechanisms:
            table.complain("recommended: crammd5_587, but CRAM-MD5 is not among auth.mechanisms")
    if not version.recommended and not version.replace_by:
        table.complain("replace_by: is missing, and nothing is recommended")


def _choices(table: Table, ids: Collection[str]) -> dict[tuple[str, str, str], Both]:
    found: dict[tuple[str, str, str], Both] = {}
    for each in table.tables("choice"):
        setting = each.one_of("setting", SETTINGS)
        canonical = each.one_of("canonical", SETTINGS.get(setting, ()))
        label = each.both("label")
        each.source_of("label")
        for version in _expand(each, ids):
            if found.setdefault((version, setting, canonical), label) is not label:
                each.complain(f"canonical: a second choice of {setting} {canonical} for {version}")
        each.finish("note")
    return found


def _error(table: Table, ids: Collection[str]) -> ClientError:
    error = ClientError(
        versions=_expand(table, ids),
        situation=table.one_of("situation", SITUATIONS),
        code=table.optional_text("code"),
        text=table.both("text"),
    )
    table.source_of("text")
    table.check_words("text", error.text.ja, error.text.en)
    table.finish()
    return error


def _guide(table: Table, ids: Collection[str]) -> ClientGuide:
    capabilities = table.texts("capabilities", CAPABILITIES, optional=False)
    guide = ClientGuide(
        id=table.text("id"),
        title=table.both("title"),
        versions=_expand(table, ids),
        capabilities=capabilities,
        task=table.one_of("task", TASKS),
        readiness=table.one_of("readiness", READINESS),
        port_fixed=table.texts("port_fixed", capabilities),
        caution=table.optional_both("caution"),
        steps=tuple(_step(each, capabilities) for each in table.tables("step")),
        where=table.where,
    )
    table.texts("platforms", PLATFORMS)
    table.finish()
    return guide


def _step(table: Table, capabilities: Collection[str]) -> Step:
    kind = table.one_of("kind", (*ON_SCREEN, *IN_A_FILE))
    step = Step(
        kind=kind,
        screen=table.both("screen") if kind in ON_SCREEN else table.optional_both("screen"),
        tab=table.optional_both("tab"),
        group=table.optional_both("group"),
        path=table.paths("path"),
        label=table.both("label") if kind in ON_SCREEN and kind != "open_menu" else table.optional_both("label"),
        option=table.optional_both("option"),
        value=table.text("value") if kind in ("set_field", "add_line") else table.optional_text("value"),
        file=table.text("file") if kind == "add_line" else table.optional_text("file"),
        section=table.optional_text("section"),
        command=table.text("command") if kind == "run_command" else table.optional_text("command"),
        note=table.optional_both("note"),
        optional=table.flag("optional"),
        capabilities=table.texts("when", capabilities),
        sure=_sureness(table),
    )
    if kind == "open_menu" and not step.path:
        table.complain("path: is missing")
    for key in ("screen", "tab", "group", "label", "option", "note"):
        if (both := getattr(step, key)) is not None:
            table.check_words(key, both.ja, both.en)
    for each in step.path:
        table.check_words("path", each.ja, each.en)
    for key in ("value", "command"):
        if (text := getattr(step, key)) is not None:
            table.check_words(key, text)
    table.finish()
    return step


def _sureness(table: Table) -> dict[str, bool]:
    step = table.source()
    if any(table.has(key) for key in ("label", "path", "option")):
        return table.source_of("label")
    return {"ja": step, "en": step}


def _readiness(guide: ClientGuide) -> str:
    """Derive from the Japanese wording how much of a guide was compared with anything."""
    worded = [each for each in guide.steps if each.label or each.path or each.option]
    # a step whose label is the value itself says nothing about wording
    worded = [each for each in worded if not (each.label and each.value == each.label.ja)] or list(guide.steps)
    sure = [each.sure["ja"] for each in worded]
    return "ready" if sure and all(sure) else "review" if any(sure) else "draft"


def _check_guides(family: Family, table: Table) -> None:
    covered = {(version, way) for guide in family.guides for version in guide.versions for way in guide.capabilities}
    for version in family.versions:
        for each in version.recommended:
            if (version.id, each.capability) not in covered:
                table.complain(f"version {version.id}, recommended: no guide covers {each.capability}")
    for guide in family.guides:
        if guide.readiness != (should := _readiness(guide)):
            table.problems.append(f"{guide.where}: readiness: should be {should}")
        for way in guide.capabilities:
            _check_way(family, guide, way, table.problems)
    names = [guide.id for guide in family.guides]
    for name in sorted({name for name in names if names.count(name) > 1}):
        table.complain(f"guide {name}: stands twice")


def _check_way(family: Family, guide: ClientGuide, way: str, problems: list[str]) -> None:
    """A guide for a way names the host, the port and every choice, or the reader gets stuck."""
    steps = [step for step in guide.steps if way in (step.capabilities or guide.capabilities)]
    text = " ".join((step.value or "") + (step.command or "") for step in steps)
    if not steps:
        problems.append(f"{guide.where}: step: there is none for {way}")
    if guide.task == "profile":
        return
    if "{smtp_host}" not in text:
        problems.append(f"{guide.where}: step: none for {way} uses {{smtp_host}}")
    if ("{port}" in text) == (way in guide.port_fixed):
        problems.append(f"{guide.where}: port_fixed: {way} needs a step with {{port}}, or to stand here")
    capability = CAPABILITIES[way]
    for version in guide.versions:
        for setting, canonical in (("security", capability.security), ("auth", capability.auth)):
            if f"{{{setting}}}" in text and (version, setting, canonical) not in family.choices:
                problems.append(f"{guide.where}: choice: {version} has no words for {setting} {canonical}")
