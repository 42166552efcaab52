"""The facts that come with the program keep their rules, and a broken rule is told with file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sekisho.guide.errors import CatalogError
from sekisho.guide.facts import catalog, load_catalog
from sekisho.guide.model import CAPABILITIES

from .samples import FACTS, broken_facts


def test_every_family_of_the_sources_is_there() -> None:
    facts = catalog()
    assert len(facts.families) == 35
    assert len(facts.versions) == 88
    assert sum(len(family.guides) for family in facts.families) == 68
    assert len(facts.terms) == 57


def test_every_client_that_the_sources_name_has_a_guide() -> None:
    """S-20 to S-22, S-43 to S-53, S-66 to S-68, S-104, S-105, S-124."""
    covered = {version for family in catalog().families for guide in family.guides for version in guide.versions}
    for version in (
        *("outlook-2000", "outlook-2002", "outlook-2003", "outlook-2007", "oe-5.5", "oe-6", "oe-mac-5"),
        *("thunderbird-1.0", "thunderbird-1.5", "thunderbird-3.0", "thunderbird-17", "edmax-2", "becky-2.30"),
        *("apple-mail-10.4", "apple-mail-10.6", "eudora-6.2-mac", "eudora-7-win", "windows-mail-vista", "wlm-2009"),
        *("netscape-7.0", "netscape-7.1", "al-mail32-1.13", "postpet-3.2", "opera-8.5"),
    ):
        assert version in covered, version


def test_a_recommended_way_has_a_guide_or_a_way_out() -> None:
    for version in catalog().versions.values():
        assert version.recommended or version.replace_by, version.id


def test_a_step_that_weakens_the_check_of_certificates_is_no_step() -> None:
    """S-X4: a guide may tell to clear such a box, never to tick it."""
    weakening = re.compile(r"検証しない|do not verify|don't verify|ignore.*certificate|accept any", re.IGNORECASE)
    for family in catalog().families:
        for guide in family.guides:
            for step in guide.steps:
                if step.label and weakening.search(f"{step.label.ja} {step.label.en}"):
                    assert step.kind == "uncheck", f"{guide.where}: {step.label.en}"
                for text in (step.value, step.command):
                    assert not re.search(r"(?i)tls_certcheck\s+off|insecure|verify\s*=?\s*no\b", text or ""), (
                        guide.where
                    )


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("becky.toml", 'en = "Becky', 'xx = "Becky', r"becky\.toml, names\.en: is missing|names\.en: is missing"),
        ("becky.toml", 'kind = "desktop"', 'kind = "toaster"', r'becky\.toml: kind: "toaster" is none of'),
        ("becky.toml", "[version.tls]", "[version.tsl]", r"becky\.toml, version becky-2\.05: tls: is missing"),
        ("becky.toml", "[version.tls]", "[version.tsl]", r"becky\.toml, version becky-2\.05: tsl: unknown key"),
        (
            "becky.toml",
            'value = "{port}"',
            'value = "{prot}"',
            r"becky\.toml, guide becky-2\.30, step \d+: value: unknown",
        ),
        (
            "becky.toml",
            'value = "{smtp_host}"',
            'value = "smtp.example.jp"',
            r"value: names the host smtp\.example\.jp",
        ),
        (
            "becky.toml",
            'value = "{smtp_host}"',
            'value = "x"',
            r"guide becky-2\.30: step: none for \w+ uses {smtp_host}",
        ),
        ("becky.toml", "rank = 1", "rank = 2", r"becky\.toml, version becky-2\.05, recommended 1: rank"),
        (
            "becky.toml",
            'readiness = "review"',
            'readiness = "ready"',
            r"guide becky-2\.30: readiness: should be review",
        ),
        ("becky.toml", 'canonical = "tls"', 'canonical = "auto"', r"becky-2\.30 has no words for security tls"),
        ("becky.toml", 'source = "from memory, unverified"', 'source = "a friend"', r"does not go with the confidence"),
        ("becky.toml", '["becky-current"]', '["becky-9"]', r"becky-2\.05, replace_by: there is no version becky-9"),
        ("becky.toml", "schema = 1", "schema = 1\nschema = 2", r"becky\.toml: not valid TOML"),
        ("becky.toml", 'id = "becky-2.05"', 'id = "oe-6"', r"version oe-6: stands 2 times"),
        (
            "selfcheck.toml",
            'yes = "b_network"',
            'yes = "nowhere"',
            r"selfcheck\.toml: question b_client: leads to nowhere",
        ),
        ("selfcheck.toml", 'yes = "b_address"', 'yes = "b_client"', r"leads in a circle through b_client"),
        ("selfcheck.toml", "{operator.name}", "{operator.nmae}", r"there is no parameter operator\.nmae"),
        ("selfcheck.toml", '"op25b", "local', '"op25c", "local', r"symptom, causes: there is no cause op25c"),
        (
            "selfcheck.toml",
            '["open:symptoms"]',
            '["open:sesame"]',
            r'outcome lookup_symptom: actions: nobody knows "open:s',
        ),
        (
            "glossary.toml",
            'see = ["submission_port"',
            'see = ["submarine"',
            r"glossary\.toml, term op25b: see: there is no",
        ),
        ("glossary.toml", 'reading = "あう', 'raeding = "あう', r"glossary\.toml, term op25b: reading: is missing"),
    ],
)
def test_a_broken_fact_is_told_with_file_and_key(tmp_path: Path, file: str, old: str, new: str, complaint: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load_catalog(broken_facts(tmp_path, file, old, new))
    assert re.search(complaint, str(caught.value)), str(caught.value)
    assert file in str(caught.value) or "stands 2 times" in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    broken_facts(tmp_path, "becky.toml", 'kind = "desktop"', 'kind = "toaster"')
    text = (tmp_path / "edmax.toml").read_text("utf-8").replace("schema = 1", "schema = 2", 1)
    (tmp_path / "edmax.toml").write_text(text, "utf-8")
    (tmp_path / "glossary.toml").unlink()
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path)
    for file in ("becky.toml", "edmax.toml", "glossary.toml"):
        assert any(problem.startswith(file) for problem in caught.value.problems)


def test_the_facts_hold_no_path_of_a_machine() -> None:
    for file in FACTS.glob("*.toml"):
        found = re.findall(r"""(?m)(?:^|["'\s=:(])(/(?!etc/)[A-Za-z][\w.-]*/)""", file.read_text("utf-8"))
        assert not found, file.name


def test_ways_are_named_after_the_ports_that_programs_take_for_granted() -> None:
    for name in CAPABILITIES:
        assert name.rpartition("_")[2] in ("587", "465")
