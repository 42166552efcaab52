"""The chart of questions in the portal: which answer the visitor's line tells already."""

from __future__ import annotations

from collections.abc import Mapping

from sekisho.guide.situation import Place

__all__ = ["FLOW_PAGES", "known_answer"]

FLOW_PAGES: Mapping[str, str] = {"questions": "index", "start": "b_client"}
"""Pages of the guide by the names that they have here, where the way in is a page of the portal; and the first one."""

OWN_LINE = "b_network"
ANSWERS = {Place.LINE: "yes", Place.CAMPUS: "yes", Place.VPN: "yes", Place.OUTSIDE: "no"}


def known_answer(question: str, place: Place | None) -> str | None:
    """Return ``yes`` or ``no`` where the visitor's line answers *question*; the visitor may answer otherwise."""
    return ANSWERS[place] if question == OWN_LINE and place is not None else None
