"""Reading a policy: what is wrong is told at once, each with file, line, key and remedy."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.config import ConfigErrors, reference
from sekisho.edge.document import DocumentError, decode, encode, policy_of
from sekisho.edge.load import PolicyFile, load_policy
from sekisho.edge.policy import Phase, Policy
from sekisho.edge.prefix import Prefix

from .strategies import TODAY, policies

HERE = Path(__file__).parent
DAY = date(2026, 12, 1)
GOOD = (HERE / "example.toml").read_text(encoding="utf-8")
CSV = (HERE / "exemptions.csv").read_text(encoding="utf-8")


def read(directory: Path, text: str = GOOD, rows: str = CSV, day: date = DAY, force: bool = False) -> Policy:
    (directory / "policy.toml").write_text(text, encoding="utf-8")
    (directory / "exemptions.csv").write_text(rows, encoding="utf-8")
    return load_policy(directory / "policy.toml", today=day, force=force)


def complaints(directory: Path, text: str = GOOD, rows: str = CSV, day: date = DAY) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(directory, text, rows, day)
    return [str(error).replace(f"{directory}/", "") for error in caught.value.errors]


def line_of(text: str, needle: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if needle in line)


def test_the_example_is_read_whole(tmp_path: Path) -> None:
    policy = read(tmp_path)
    assert [network.name for network in policy.networks] == ["home", "shared", "business", "campus"]
    assert policy.network("campus").allowed == ("mail", "campus-relay")  # omitted: all
    assert [str(e.prefix) for e in policy.exemptions] == ["198.51.100.17", "198.51.100.25", "2001:db8:100:2500::/56"]
    assert policy.exemptions[1].note.endswith("exemptions.csv:2")
    assert policy.phase_of("home", date(2027, 4, 1)) is Phase.ENFORCE
    assert set(policy.reasons) == {"ja", "en"}


MISTAKES = {
    'prefixes = ["198.51.100.0/25"': ('prefixes = ["198.51.100.1/25"', "names a host inside a network"),
    'action = "reject"': ('action = "reset"', 'is not one of "drop", "reject"'),
    "delegated_prefix = 64": ("delegated_prefix = 57", "cannot be used"),
    'on = "2027-02-01"': ('on = "2027-02-31"', "is not a date"),
    'interfaces = ["eth2"]': ('interfaces = ["eth2; flush"]', "cannot be an interface"),
    'interfaces = ["mape0"]': ('interfaces = ["ppp0"]', "covers 'ppp0'"),
    'allowed = ["mail"]\nshared': ('allowed = ["mial"]\nshared', "no server group is called 'mial'"),
    '["203.0.113.0/24", ': ('["198.51.100.64/26", ', "lies within 198.51.100.0/25 of network 'home'"),
    '["203.0.113.0/24"': ('["0.0.0.0/0"', "covers everybody"),
    'prefixes = ["192.0.2.24/29", ': ('prefixes = ["0.0.0.0/0", ', "covers the whole Internet"),
    'prefixes = ["192.0.2.40", ': ('prefixes = ["203.0.113.40", ', "lies within network 'campus' and would be cut off"),
    'management = ["192.0.2.240/28"]': ('management = ["198.51.100.96/28"]', "would be cut off"),
    'prefix = "198.51.100.17"': ('prefix = "198.51.100.0/25"', "is all of a network's prefix"),
    'owner = "Example Trading, contract 4711"': ('owner = ""', "has no owner"),
    'reason = "own mail server; moves to a fixed address"': ('reason = " "', "has no reason"),
    'expires = "2027-03-31"': ('expires = "2026-11-30"', "ended on 2026-11-30; its owner is Example Trading"),
    'networks = ["campus"]': ('networks = ["home"]', "is to be blocked on 2026-12-01, but nobody was told before"),
    "shared_ports = 16": ("shared_ports = 15", "is no power of two"),
    "psid_offset = 4": ("psid_offset = 12", "leaves no bits for lines"),
    'ipv6 = ":2525"': ('ipv6 = "192.0.2.1:2525"', "is no IPv6 address"),
    "version = 1": ("version = 2", "version 2 is unknown"),
}


@pytest.mark.parametrize("right", list(MISTAKES))
def test_each_mistake_is_refused_with_its_line_and_a_remedy(tmp_path: Path, right: str) -> None:
    wrong, problem = MISTAKES[right]
    assert right in GOOD
    text = GOOD.replace(right, wrong, 1)
    told = complaints(tmp_path, text)
    assert any(problem in line for line in told), told
    first = next(line for line in told if problem in line)
    assert first.startswith("policy.toml:")
    assert first.endswith((".", "?", '"', "addresses"))


def test_the_line_that_is_told_is_that_of_the_mistake(tmp_path: Path) -> None:
    text = GOOD.replace('allowed = ["mail"]\nshared', 'allowed = ["mial"]\nshared')
    assert complaints(tmp_path, text) == [
        f"policy.toml:{line_of(text, 'mial')}: networks.shared.allowed: no server group is called 'mial'. "
        "Known: campus-relay, mail."
    ]
    text = GOOD.replace('expires = "2027-03-31"', 'expires = "2026-11-30"')
    (told,) = complaints(tmp_path, text)
    assert told.startswith(f"policy.toml:{line_of(text, '[[exemptions]]')}: exemptions[1]: ")


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('["203.0.113.0/24", ', '["198.51.100.64/26", ').replace('action = "reject"', "own_sace = true")
    assert len(complaints(tmp_path, text)) == 1  # what does not read is told first
    text = GOOD.replace('["203.0.113.0/24", ', '["198.51.100.64/26", ').replace("psid_offset = 4", "psid_offset = 15")
    rows = CSV + "198.51.100.300,owner,reason,\n192.0.2.77,,reason,\n198.51.100.25,x,y,\n198.51.100.26,x\n"
    told = complaints(tmp_path, text, rows)
    assert len(told) == 6
    assert [line.split(":")[0] for line in told] == ["policy.toml"] * 2 + ["exemptions.csv"] * 4
    assert "exemptions.csv:4: exemption.prefix: '198.51.100.300' is not a network" in told[2]
    assert "exemptions.csv:7: exemption: 2 columns instead of 4" in "\n".join(told)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("198.51.100.25,x,y,\n", "the columns are not named"),
        (CSV + "198.51.100.30,x,y,tomorrow\n", '"tomorrow" is not a date'),
        (CSV + "203.0.114.1,x,y,\n", "lies in no access network"),
        (CSV + '198.51.100.30,"x\ty\x07",y,\n', "control characters"),
        (CSV + "198.51.100.30,x,y,2026-11-30\n", "ended on 2026-11-30; its owner is x"),
    ],
)
def test_mistakes_in_the_list_of_exemptions(tmp_path: Path, rows: str, problem: str) -> None:
    assert any(problem in line for line in complaints(tmp_path, rows=rows))


def test_a_missing_list_or_policy_is_told(tmp_path: Path) -> None:
    told = complaints(tmp_path, GOOD.replace('"exemptions.csv"', '"exempt.csv"'))
    assert told[0].startswith("policy.toml:6: exemptions_file: ")
    with pytest.raises(ConfigErrors, match="no such file"):
        load_policy(tmp_path / "none.toml", today=DAY)
    (tmp_path / "policy.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "exemptions.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigErrors, match="not UTF-8"):
        load_policy(tmp_path / "policy.toml", today=DAY)


def test_enforcing_unannounced_takes_force(tmp_path: Path) -> None:
    text = GOOD.replace('networks = ["campus"]\non', 'networks = ["home"]\non')
    with pytest.raises(ConfigErrors, match="nobody was told"):
        read(tmp_path, text)
    assert read(tmp_path, text, force=True).phase_of("campus", DAY) is Phase.ENFORCE


def test_a_wave_may_enforce_only_after_the_announcement(tmp_path: Path) -> None:
    text = GOOD.replace('on = "2027-01-10"', 'on = "2027-04-02"')
    (told,) = complaints(tmp_path, text)
    assert "network 'home' is to be blocked on 2027-04-01" in told
    assert "waves[2].phase" in told


def test_every_key_of_the_file_has_its_words_in_the_reference() -> None:
    text = reference(PolicyFile)
    for key in ("exemptions_file", "relay_only", "triangular", "psid_offset", "announcements"):
        assert key in text


@given(policies())
@settings(max_examples=40, deadline=None)
def test_a_document_is_read_as_it_was_written(policy: Policy) -> None:
    assert decode(encode(policy), today=TODAY) == policy


def test_a_document_is_trusted_in_nothing() -> None:
    good = encode(load_policy(HERE / "example.toml", today=DAY)).decode("latin-1")
    assert decode(good.encode("latin-1"), today=DAY).name == "Example Net"
    for right, wrong in [
        ('"interfaces":["ppp*"]', '"interfaces":["ppp*\\"; flush ruleset"]'),
        ('"198.51.100.0/25"', '"198.51.100.0/25; flush ruleset"'),
        ('"log_rate":20', '"log_rate":"20"'),
        ('"log_rate":20', '"log_rate":true'),
        ('"mark_shift":28', '"mark_shift":29'),
        ('"guard":true', '"guard":1'),
        ('"action":"drop"', '"action":"accept"'),
        ('"version":1', '"version":2'),
        ('"ipv4":":2525"', '"ipv4":"unix:/tmp/x"'),
        ("\0002027-03-31\0", "\0002026-03-31\0"),
        ("\0002027-03-31\0", "\0002027-02-31\0"),
        ("\0002027-03-31\0", "\000soon\0"),
        ("Example Trading, contract 4711", ""),
        ("Example Trading, contract 4711", "Example\x1b[2J"),
        ("Example Trading, contract 4711", "Example\0Trading"),
        ('"count":', '"count":1'),
        ('"ipv4":', '"ipv4":1'),
        ('"ipv4":', '"ipv6":'),
        ('"name":"Example Net"', '"name":"Example\\nNet"'),
        ('"name":"Example Net"', '"title":"Example Net"'),
    ]:
        assert right in good
        with pytest.raises(DocumentError):
            decode(good.replace(right, wrong, 1).encode("latin-1"), today=DAY)


def test_the_columns_of_exemptions_are_trusted_in_nothing_either() -> None:
    """Every octet of lengths and addresses may come to mean other addresses, but never what is no prefix."""
    policy = load_policy(HERE / "example.toml", today=DAY)
    octets = encode(policy)
    start = octets.index(b"\n") + 1
    four = sum(exemption.prefix.family == 4 for exemption in policy.exemptions)
    packed = len(policy.exemptions) + 4 * four + 16 * (len(policy.exemptions) - four)
    for at in range(start, start + packed):
        for octet in (0, 1, 32, 33, 161, 162, 255, octets[at] ^ 1):
            changed = octets[:at] + bytes([octet]) + octets[at + 1 :]
            try:
                found = policy_of(changed)
            except DocumentError:
                continue
            assert len(found.exemptions) == len(policy.exemptions)
            for exemption in found.exemptions:
                assert Prefix.parse(str(exemption.prefix)) == exemption.prefix
    for shorter in range(start, len(octets)):
        with pytest.raises(DocumentError):
            decode(octets[:shorter], today=DAY)
    for more in (b"\0", b"x", b"\0\0\0\0"):
        with pytest.raises(DocumentError):
            decode(octets + more, today=DAY)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
@settings(max_examples=60)
def test_no_octets_raise_anything_but_a_document_error(octets: bytes) -> None:
    with pytest.raises(DocumentError):
        decode(octets, today=DAY)
