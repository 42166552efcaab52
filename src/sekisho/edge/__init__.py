"""The gate: port 25 policy on the edge, compiled, proven, explained and watched.

The names below come from their modules when they are first asked for: who only asks the helper reads no compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .checker import Problem, prove
    from .checks import Mistake, mistakes_of
    from .compile import compile_policy
    from .document import DocumentError, decode, encode
    from .load import load_policy
    from .lookups import EdgeUnavailable, LineRecord, Lookups
    from .model import Fate, Packet, Verdict, decide
    from .policy import (
        AccessNetwork,
        Action,
        Announcement,
        Exemption,
        Explainer,
        Line,
        Phase,
        Policy,
        ServerGroup,
        SourceCheck,
        Wave,
        expiring,
    )
    from .prefix import Prefix
    from .ruleset import Mark, Ruleset

__all__ = [
    "AccessNetwork",
    "Action",
    "Announcement",
    "DocumentError",
    "EdgeUnavailable",
    "Exemption",
    "Explainer",
    "Fate",
    "Line",
    "LineRecord",
    "Lookups",
    "Mark",
    "Mistake",
    "Packet",
    "Phase",
    "Policy",
    "Prefix",
    "Problem",
    "Ruleset",
    "ServerGroup",
    "SourceCheck",
    "Verdict",
    "Wave",
    "compile_policy",
    "decide",
    "decode",
    "encode",
    "expiring",
    "load_policy",
    "mistakes_of",
    "prove",
]

_HOMES: Final = {
    "checker": ("Problem", "prove"),
    "checks": ("Mistake", "mistakes_of"),
    "compile": ("compile_policy",),
    "document": ("DocumentError", "decode", "encode"),
    "load": ("load_policy",),
    "lookups": ("EdgeUnavailable", "LineRecord", "Lookups"),
    "model": ("Fate", "Packet", "Verdict", "decide"),
    "prefix": ("Prefix",),
    "ruleset": ("Mark", "Ruleset"),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF.get(name, 'policy')}", __name__), name)
