"""Imports point down, the pure packages are pure, and the boundaries that style and design draw are held."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "sekisho"

LAYERS = (  # from the bottom up; packages of one row do not import one another
    {"kernel"},
    {"smtp", "sasl", "milter"},
    {"message"},
    {"config", "store", "text"},
    {"telemetry", "net"},
    {"accounts", "queue"},
    {"policy"},
    {"server", "delivery", "edge", "doctor"},
    {"guide", "autoconfig"},
    {"campaign"},
    {"supervise"},
    {"lab"},
    {"portal"},
    {"cli"},
    {"__main__"},
)

RANK = {name: row for row, names in enumerate(LAYERS) for name in names}

PURE = ("kernel", "smtp", "sasl", "milter", "message")

IMPURE_MODULES = frozenset(
    {"asyncio", "socket", "ssl", "time", "os", "random", "secrets", "logging", "threading", "sqlite3"}
)

MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name == "__main__.py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every absolute import, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            yield node.lineno, f"{'.' * node.level}{node.module or ''}"


def own_package(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    """Style: a module imports its own package, lower rows, and nothing else; never sideways."""
    own = own_package(path)
    assert own in RANK, f"{own} stands in no row of LAYERS"
    for line, module in imports_of(path):
        assert not module.startswith(".."), f"{name_of(path)}:{line} reaches out of its package with {module}"
        if not module.startswith("sekisho."):
            continue
        other = module.split(".")[1]
        assert other in RANK, f"{name_of(path)}:{line} imports {module}, which stands in no row of LAYERS"
        if other == own:  # a folder inside a package names it in full; a module beside it uses a relative import
            assert len(path.relative_to(ROOT).parts) > 2, f"{name_of(path)}:{line} imports its own package as {module}"
            continue
        assert RANK[other] < RANK[own], f"{name_of(path)}:{line} imports {module}, which is not below {own}"


@pytest.mark.parametrize("path", [path for path in MODULES if own_package(path) in PURE], ids=name_of)
def test_the_protocol_packages_do_no_io(path: Path) -> None:
    """Boundary 1: time, nonces and signers are arguments."""
    wrong = [(line, name) for line, name in imports_of(path) if name.split(".")[0] in IMPURE_MODULES]
    if name_of(path) == "kernel/__init__.py":  # whether the kernel is wanted is said in the environment, nothing else
        wrong = [(line, name) for line, name in wrong if name != "os"]
    assert not wrong, f"{name_of(path)} imports {wrong}"


@pytest.mark.parametrize("path", [path for path in MODULES if own_package(path) in PURE], ids=name_of)
def test_the_protocol_packages_use_the_standard_library_alone(path: Path) -> None:
    import sys

    for line, module in imports_of(path):
        top = module.split(".")[0]
        assert top == "sekisho" or top in sys.stdlib_module_names, f"{name_of(path)}:{line} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_tls_contexts_are_made_in_one_place(path: Path) -> None:
    """Boundary 9. The demonstration is a client of its own service, which trusts one certificate alone."""
    if name_of(path) in ("net/tls.py", "supervise/demo.py"):
        return
    text = path.read_text(encoding="utf-8")
    assert "SSLContext(" not in text, f"{name_of(path)} makes a TLS context"
    assert "create_default_context(" not in text, f"{name_of(path)} makes a TLS context"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_owners_touch_their_databases(path: Path) -> None:
    """Boundary 3: storage belongs to `queue` and `accounts`, over the machinery of `store`."""
    touches = any(name.split(".")[0] == "sqlite3" for _, name in imports_of(path))
    assert not touches or own_package(path) in ("store", "queue", "accounts"), f"{name_of(path)} uses sqlite3"


def test_every_package_of_the_source_has_a_row() -> None:
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert packages <= set(RANK)


def test_every_package_says_what_others_may_use() -> None:
    for package in sorted(path for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))):
        assert "__all__" in (package / "__init__.py").read_text(encoding="utf-8"), f"{package.name} has no __all__"
