"""The policy in the languages of other routers. Each export says what it does not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

from sekisho.edge.policy import Policy

from . import iptables, junos, vyos
from .cisco import export_ios, export_iosxr
from .flowspec import Session, export_exabgp, export_gobgp
from .terms import Export, ExportError

__all__ = ["EXPORTERS", "Export", "ExportError", "Session", "export", "export_exabgp"]

EXPORTERS: Final[Mapping[str, Callable[[Policy, date], Export]]] = {
    "ios": export_ios,
    "iosxr": export_iosxr,
    "junos": junos.export,
    "vyos": vyos.export,
    "iptables": iptables.export,
    "exabgp": export_exabgp,
    "gobgp": export_gobgp,
}


def export(name: str, policy: Policy, today: date) -> Export:
    """Write *policy* as of *today* for the router called *name*.

    Raises:
        KeyError: no exporter has this name; see `EXPORTERS`.
        ExportError: the policy holds something that the router's language has no word for.
    """
    return EXPORTERS[name](policy, today)
