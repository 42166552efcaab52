"""Every guide is played against the real service: each version of each client, on each way that the guide names.

Two services: one as it is by default, and one whose operator allows what is without TLS. A version that the guide sends
to another program has to be unable to send here, or the guide would send people away for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from sekisho.config import load
from sekisho.guide.card import Card, Way
from sekisho.guide.choose import choose
from sekisho.guide.facts import catalog
from sekisho.guide.model import CAPABILITIES, Version
from sekisho.guide.wire import wire_profile
from sekisho.supervise.card import guide_card
from sekisho.supervise.sections import Settings

from .certificates import Authority
from .fixtures import PASSWORD, NewPlace
from .instance import Instance
from .player import CouldNotSend, TlsRefused, play

CHEAP = {"argon2_passes": 1, "argon2_memory": "64KiB"}
EVERYTHING = {
    "cram_md5": True,
    "allow_without_tls": True,
    "allow_cleartext_passwords": True,
    "default_domain": "home.test",
}
VERSIONS = tuple(catalog().versions.values())
CASES = [
    pytest.param(version, way, id=f"{version.id}-{way}")
    for version in VERSIONS
    for way in CAPABILITIES
    if any(each.capability == way for each in version.recommended)
]


@dataclass(frozen=True)
class Stage:
    """A service with its settings card, and what was played on it: many clients do the same on the wire."""

    instance: Instance
    authority: Authority
    card: Card
    played: dict[object, str]

    def play(self, version: Version, way: Way, *, source: str = "127.0.0.1", **changes: object) -> str:
        """Play a client, in both forms of the initial response, and return the mechanism that it chose."""
        profile = replace(wire_profile(version, way, self.card.for_person("rin@home.test")), **changes)  # type: ignore[arg-type]
        if profile not in self.played:
            real = {587: self.instance.submission_port, 465: self.instance.submissions_port}
            for initial_response in profile.initial_response:
                self.played[profile] = play(
                    profile,
                    port=real[profile.port],
                    host=self.card.hostname,
                    authority=self.authority.certificate,
                    user_name=profile.user_name,
                    password=PASSWORD,
                    sender="rin@home.test",
                    recipient="aoi@home.test",
                    initial_response=initial_response,
                    source=source,
                )
        return self.played[profile]


def _stage(new_place: NewPlace, authority: Authority, changes: dict[str, object]) -> Iterator[Stage]:
    pair = authority.issue("mail.home.test", "127.0.0.1")
    instance = Instance(new_place("guide"), pair, authority.certificate, changes={**changes, "service": {"workers": 1}})
    instance.initialize()
    for login in ("rin@home.test", "aoi@home.test"):
        instance.add_account(login, PASSWORD, *(["--cram-md5"] if "guide" in changes else []))
    card = guide_card(load(Settings, instance.config, {}))
    # the service of a test cannot have the usual ports, which some programs insist on
    usual = {instance.submission_port: 587, instance.submissions_port: 465}
    card = replace(card, ways=tuple(replace(way, port=usual[way.port]) for way in card.ways))
    instance.start()
    yield Stage(instance, authority, card, {})
    assert instance.stop() == 0
    assert "Traceback" not in instance.daemon.output()


@pytest.fixture(scope="module")
def default(new_place: NewPlace, authority: Authority) -> Iterator[Stage]:
    yield from _stage(new_place, authority, {"accounts": CHEAP})


@pytest.fixture(scope="module")
def lenient(new_place: NewPlace, authority: Authority) -> Iterator[Stage]:
    audience = {"domain": "home.test", "name_ja": "皆さん", "name_en": "everybody", "username": "local_part"}
    guide = {"offer": [*CAPABILITIES], "audience": [audience]}
    yield from _stage(new_place, authority, {"accounts": {**CHEAP, **EVERYTHING}, "guide": guide})


def _check(stage: Stage, version: Version, capability: str) -> None:
    choice = choose(catalog(), stage.card, version, capability)
    way = stage.card.way(capability)
    if choice.way is not None:
        stage.play(version, choice.way)
    elif choice.reason == "tls" and way is not None and version.tls != "none":
        with pytest.raises(TlsRefused, match=r"ALERT_PROTOCOL_VERSION|alert protocol version"):
            stage.play(version, way)
    elif choice.reason == "mechanism" and way is not None:
        with pytest.raises(CouldNotSend, match="knows"):
            stage.play(version, way)
    else:
        assert way is None or version.tls == "none", f"{version.id} is sent away without a reason"


@pytest.mark.parametrize(("version", "capability"), CASES)
def test_who_follows_the_guide_can_send(default: Stage, version: Version, capability: str) -> None:
    _check(default, version, capability)


@pytest.mark.parametrize(("version", "capability"), CASES)
def test_who_follows_the_guide_of_a_lenient_operator_can_send(
    lenient: Stage, version: Version, capability: str
) -> None:
    _check(lenient, version, capability)


@pytest.mark.parametrize("version", ["outlook-2003", "eudora-7-win"])
def test_ssl_ticked_with_587_typed_in_is_served(default: Stage, version: str) -> None:
    """S-X1, S-X2: one page says 465, another 587, for the same box. The server takes TLS first on both, were it new."""
    client, way = catalog().versions[version], default.card.way("tls_465")
    assert way is not None
    source = f"127.0.58.{len(version)}"  # its own line: one on which others were greeted at once needs a second try
    for port in (587, 465):
        default.play(client, way, port=port, tls_ceiling="TLS1.2", source=source)
        with pytest.raises(TlsRefused):
            default.play(client, way, port=port, source=source)


def test_cram_md5_without_tls_is_for_those_who_were_allowed_it(default: Stage, lenient: Stage) -> None:
    """S-X3: by default the program is sent away; where the operator opted in, its guide works, and uses CRAM-MD5."""
    edmax = catalog().versions["edmax-2"]
    assert choose(catalog(), default.card, edmax).way is None
    choice = choose(catalog(), lenient.card, edmax)
    assert choice.way is not None
    assert lenient.play(edmax, choice.way) == "CRAM-MD5"
    with pytest.raises(CouldNotSend, match="knows"):
        default.play(edmax, choice.way)


def test_becky_sends_with_the_check_of_the_certificate_left_on(default: Stage) -> None:
    """S-X4: the step that turns the check off is gone from the guide; the player checks, as the program then does."""
    becky = catalog().versions["becky-2.30"]
    choice = choose(catalog(), default.card, becky)
    assert choice.way is not None
    default.play(becky, choice.way)
    for guide in choice.guides:
        for step in guide.steps:
            assert not (step.kind == "check" and step.label and "検証しない" in step.label.ja)


def test_a_client_that_cannot_send_fails_the_play(default: Stage) -> None:
    """The player is no rubber stamp: STARTTLS asked of the wrong port, and a mechanism that is not there."""
    client, way = catalog().versions["thunderbird-current"], default.card.way("starttls_587")
    assert way is not None
    with pytest.raises(CouldNotSend):
        default.play(client, way, mechanisms=("NTLM",))
    with pytest.raises(CouldNotSend):
        default.play(client, way, tls="none")
