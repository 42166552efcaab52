"""What is written about settings comes from their declarations, and an example file can be loaded as it is."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sekisho.config import Duration, Secret, Size, changed, example, load, reference, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A route."""

    host: str = setting(prose="Host of the route.", example="smtp.example.net")
    password: Secret | None = setting(None, "Its password.", reload=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    """Inner things.

    With a second paragraph.
    """

    lifetime: Duration = setting(Duration(5400.0), "How long.", reload=True)
    limit: Size = setting(Size(1024), "How much.")
    mode: Literal["a", "b"] = setting("a", "Which.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    """The service."""

    hostname: str = setting(prose="Name of the host.", example="mail.example.jp")
    inner: Inner = setting(Inner(mode="b"), "Inner.")
    route: tuple[Route, ...] = setting((), "Routes.")


def test_the_reference_tells_key_type_default_and_whether_a_reload_takes_it() -> None:
    text = reference(Outer)
    assert "### `hostname`\nText; default: required; takes: restart.\n\nName of the host." in text
    assert '### `lifetime`\nDuration; default: `"1h30m"`; takes: reload.' in text
    assert '`a` or `b`; default: `"b"`' in text  # the default that the field gives, not the class
    assert "## `[[route]]`" in text
    assert "`password_file`" in text


def test_the_example_is_valid_and_gives_only_what_is_required(tmp_path: Path) -> None:
    text = example(Outer)
    assert tomllib.loads(text) == {"hostname": "mail.example.jp", "inner": {}}
    path = tmp_path / "sekisho.toml"
    path.write_text(text)
    assert load(Outer, path, {}) == Outer(hostname="mail.example.jp")
    assert '#lifetime = "1h30m"' in text
    assert "#[[route]]" in text


def test_each_commented_line_of_the_example_loads_when_uncommented(tmp_path: Path) -> None:
    lines = [line.removeprefix("#") if line[:2] != "# " else line for line in example(Outer).splitlines()]
    path = tmp_path / "sekisho.toml"
    path.write_text("\n".join(lines))
    assert load(Outer, path, {}).route == (Route(host="smtp.example.net", password=Secret("")),)


def test_changes_are_told_by_whether_they_wait_for_a_restart() -> None:
    old = Outer(hostname="a", route=(Route(host="x"),))
    new = Outer(
        hostname="b", inner=Inner(lifetime=Duration(1.0), mode="a"), route=(Route(host="y", password=Secret("p")),)
    )
    changes = changed(old, new)
    assert changes.waiting == ["hostname", "inner.mode", "route[1].host"]
    assert changes.reloaded == ["inner.lifetime", "route[1].password"]
    assert changed(old, old) == ([], [])
    assert changed(old, Outer(hostname="a")).waiting == ["route"]
