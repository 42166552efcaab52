"""The gate: port 25 policy on the edge, compiled, proven, explained and watched."""

from __future__ import annotations

from .checks import Mistake, mistakes_of
from .load import load_policy
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

__all__ = [
    "AccessNetwork",
    "Action",
    "Announcement",
    "Exemption",
    "Explainer",
    "Line",
    "Mistake",
    "Phase",
    "Policy",
    "Prefix",
    "ServerGroup",
    "SourceCheck",
    "Wave",
    "expiring",
    "load_policy",
    "mistakes_of",
]
