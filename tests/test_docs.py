"""The documentation says what is: generated pages are current, links lead somewhere, commands and settings exist."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sekisho.cli.main import build_parser
from sekisho.config import load
from sekisho.supervise.sections import Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs" / "reference"
TABLES = {name for name in Settings.__dataclass_fields__}  # noqa: C416


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def writer() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("write_reference", str(ROOT / "scripts" / "write-reference"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def blocks(page: Path) -> Iterator[str]:
    """Blocks of code: indented by four columns after an empty line."""
    for block in re.findall(r"(?:^|\n\n)((?: {4}.*(?:\n|$)(?:\n(?= {4}))?)+)", page.read_text(encoding="utf-8")):
        yield re.sub(r"^ {4}", "", block, flags=re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if page.parent == REFERENCE and "Written by `make docs`" in text:
            continue
        for line in "\n".join(blocks(page)).splitlines():
            if re.match(r"(\.venv/bin/)?sekisho ", line):
                found.append((name_of(page), line))
        found += [(name_of(page), line) for line in re.findall(r"`(sekisho [^`.…]+)`", text)]
    return found


def test_generated_pages_are_current() -> None:
    for file, text in writer().pages().items():
        assert (REFERENCE / file).read_text(encoding="utf-8") == text, f"docs/reference/{file} is old: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_such_as_the_program_takes(page: str, line: str) -> None:
    words = shlex.split(line.partition("|")[0], comments=True)[1:]
    parser = build_parser()
    incomplete = len(words) == 1 or (len(words) == 2 and words[0] in ("queue", "account", "config"))
    try:
        parser.parse_args(words)
    except SystemExit:
        # prose names a command without its arguments; an example gives them all
        assert incomplete, f"{page}: {line}"
        with pytest.raises(SystemExit) as caught:
            parser.parse_args([*words, "--help"])
        assert caught.value.code == 0, f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_in_examples_are_accepted(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        first = block.splitlines()[0] if block.strip() else ""
        table = re.fullmatch(r"\[{1,2}([a-z_]+)(?:\.[a-z_]+)?\]{1,2}", first)
        if table is None or table[1] not in TABLES:
            continue
        tomllib.loads(block)
        (tmp_path / "isp-password").write_text("secret\n")
        config = tmp_path / "sekisho.toml"
        config.write_text(f'hostname = "mail.example.jp"\n{block}')
        load(Settings, config, {})


def test_every_rfc_in_the_source_stands_in_the_table() -> None:
    listed = set(re.findall(r"^\| RFC (\d+) \|", (REFERENCE / "rfc.md").read_text(encoding="utf-8"), re.MULTILINE))
    cited: dict[str, str] = {}
    for path in sorted(path for kind in ("py", "c", "toml", "html") for path in (ROOT / "src").rglob(f"*.{kind}")):
        for number in re.findall(r"RFC (\d{3,5})", path.read_text(encoding="utf-8")):
            cited.setdefault(number, str(path.relative_to(ROOT)))
    missing = {f"RFC {number} ({where})" for number, where in cited.items() if number not in listed}
    assert not missing


def test_what_the_table_calls_implemented_is_named_in_the_source() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    table = (REFERENCE / "rfc.md").read_text(encoding="utf-8")
    for number in re.findall(r"^\| RFC (\d+) \|[^|]*\| (?:yes|partial) \|", table, re.MULTILINE):
        assert f"RFC {number}" in text, f"RFC {number} is called implemented, but no source names it"


def test_the_ci_entry_point_can_be_run() -> None:
    for script in (".ci/run", "scripts/install-test-peers", "scripts/write-reference"):
        assert os.access(ROOT / script, os.X_OK), script


def test_the_requirements_table_names_what_exists() -> None:
    table = (ROOT / "docs" / "project" / "requirements.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| S-X?\d+ \|.*\|$", table, re.MULTILINE)
    assert len(rows) == 131 + 8
    for row in rows:
        where, tests = row.strip("| ").split("|")[-2:] if not row.endswith("|  |  |") else ("", "")
        for path in re.findall(r"`([a-z_]+/[a-z_./]*)`", where):
            assert (ROOT / "src" / "sekisho" / path).exists(), row
        for path in re.findall(r"tests/[a-z_0-9/.]+", tests):
            assert (ROOT / path).exists(), row
