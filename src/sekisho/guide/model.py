"""The facts about mail clients as values. What each field means: docs/reference/client-facts.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "CAPABILITIES",
    "TLS_ORDER",
    "Alternative",
    "Both",
    "Capability",
    "Catalog",
    "Cause",
    "ClientError",
    "ClientGuide",
    "Family",
    "Flow",
    "Outcome",
    "Parameter",
    "Question",
    "Recommendation",
    "Selfcheck",
    "Step",
    "Symptom",
    "Term",
    "Version",
]


@dataclass(frozen=True, slots=True)
class Both:
    """The same text in both languages."""

    ja: str
    en: str

    def say(self, language: str) -> str:
        return self.ja if language == "ja" else self.en


@dataclass(frozen=True, slots=True)
class Capability:
    """One way to submit.

    Fields:
        listener: which kind of listener serves it.
        tls: "starttls", "first" or "none".
        security: canonical value of the client's choice of encryption.
        auth: canonical value of the client's choice of authentication.
    """

    name: str
    listener: str
    tls: str
    security: str
    auth: str


CAPABILITIES: Mapping[str, Capability] = {
    each.name: each
    for each in (
        Capability("starttls_587", "submission", "starttls", "starttls", "password"),
        Capability("tls_465", "submissions", "first", "tls", "password"),
        Capability("crammd5_587", "submission", "none", "none", "cram-md5"),
        Capability("plain_587", "submission", "none", "none", "password_insecure"),
    )
}

TLS_ORDER = ("none", "SSL3.0", "TLS1.0", "TLS1.1", "TLS1.2", "TLS1.3")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One way that a version can go; they stand in order of preference."""

    capability: str
    advice: Both


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a client, or several that behave alike.

    Fields:
        end: year in which its maker stopped caring; None when it has not, or nobody knows.
        tls: highest TLS version it can speak: one of `TLS_ORDER`, or "os", "library", "unknown".
        tls_by_os: highest version by operating system, where *tls* is "os".
        starttls, implicit: "yes", "no", "unknown", "disputed".
        preference: mechanisms in the order tried; empty when unknown or chosen by the user.
        ehlo: kind of name it gives.
        sure: the facts were seen somewhere, not only remembered.
    """

    id: str
    names: Both
    platforms: tuple[str, ...]
    release: int | None
    end: int | None
    status: str
    replace_by: tuple[str, ...]
    tls: str
    tls_by_os: Mapping[str, str]
    starttls: str
    implicit: str
    mechanisms: tuple[str, ...]
    preference: tuple[str, ...]
    ehlo: str
    recommended: tuple[Recommendation, ...]
    sure: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One action of the reader.

    Fields:
        sure: the words were compared with the program or its documentation, by language.
        capabilities: ways for which the step is taken; empty for all.
    """

    kind: str
    screen: Both | None
    tab: Both | None
    group: Both | None
    path: tuple[Both, ...]
    label: Both | None
    option: Both | None
    value: str | None
    file: str | None
    section: str | None
    command: str | None
    note: Both | None
    optional: bool
    capabilities: tuple[str, ...]
    sure: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class ClientGuide:
    """How to set up some versions of a client.

    Fields:
        port_fixed: ways for which the program takes no other port than the usual one.
        where: file and guide, for complaints.
    """

    id: str
    title: Both
    versions: tuple[str, ...]
    capabilities: tuple[str, ...]
    task: str
    readiness: str
    port_fixed: tuple[str, ...]
    caution: Both | None
    steps: tuple[Step, ...]
    where: str


@dataclass(frozen=True, slots=True)
class ClientError:
    """A message that the client shows when sending fails."""

    versions: tuple[str, ...]
    situation: str
    code: str | None
    text: Both


@dataclass(frozen=True, slots=True)
class Family:
    """One client through its versions."""

    id: str
    names: Both
    vendor: str
    kind: str
    status: str
    platforms: tuple[str, ...]
    versions: tuple[Version, ...]
    choices: Mapping[tuple[str, str, str], Both]
    guides: tuple[ClientGuide, ...]
    errors: tuple[ClientError, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What the operator supplies to the self-check."""

    id: str
    type: str
    text: Both


@dataclass(frozen=True, slots=True)
class Flow:
    """A chain of questions."""

    id: str
    title: Both
    start: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question; *yes*, *no* and *unknown* name what follows.

    Fields:
        skip_unless: facts about the operator without which the question makes no sense.
        skip_to: what follows then.
    """

    id: str
    flow: str
    text: Both
    help: Both | None
    yes: str
    no: str
    unknown: str | None
    skip_unless: tuple[str, ...]
    skip_to: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a chain of questions ends."""

    id: str
    change: str
    actor: str
    text: Both
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why sending fails, how to find out, what to do."""

    id: str
    text: Both
    check: Both
    remedy: Both


@dataclass(frozen=True, slots=True)
class Symptom:
    """What a person sees, with causes in order of likelihood."""

    id: str
    codes: tuple[str, ...]
    text: Both
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to get the mail out meanwhile; *requires* names the parameter it needs."""

    id: str
    text: Both
    requires: str


@dataclass(frozen=True, slots=True)
class Selfcheck:
    """Questions, ends, symptoms and causes, by id."""

    parameters: Mapping[str, Parameter]
    flows: Mapping[str, Flow]
    questions: Mapping[str, Question]
    outcomes: Mapping[str, Outcome]
    symptoms: Mapping[str, Symptom]
    causes: Mapping[str, Cause]
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """An entry of the glossary."""

    id: str
    term: Both
    reading: str
    abbreviation: str | None
    aliases: tuple[str, ...]
    definition: Both
    reference: str | None
    see: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything known about clients."""

    families: tuple[Family, ...]
    selfcheck: Selfcheck
    terms: tuple[Term, ...]
    versions: Mapping[str, Version]
    family_of: Mapping[str, Family]
