"""The gate: port 25 policy on the edge, compiled, proven, explained and watched."""

from __future__ import annotations

from .checker import Problem, prove
from .checks import Mistake, mistakes_of
from .compile import compile_policy, render
from .document import DocumentError, decode, encode
from .load import load_policy
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
    "Exemption",
    "Explainer",
    "Fate",
    "Line",
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
    "render",
]
