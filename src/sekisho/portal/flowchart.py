"""The chart of questions in the portal: which answer the visitor's line tells already."""

from __future__ import annotations

from collections.abc import Mapping

from sekisho.guide.situation import Place

__all__ = ["FLOW_PAGES", "OWN_LINE", "known_answer"]

FLOW_PAGES: Mapping[str, str] = {"questions": "index", "start": "b_client"}
"""Pages of the guide by the names that they have here, where the way in is a page of the portal; and the first one."""

OWN_LINE = "b_network"
"""The question that the visitor's line answers."""

ANSWERS = {Place.LINE: "yes", Place.CAMPUS: "yes", Place.VPN: "yes", Place.OUTSIDE: "no"}


def known_answer(place: Place | None) -> str | None:
    """Return ``yes`` or ``no``, what `OWN_LINE` is answered by; None when the place is not known.

    It is offered, not taken: the visitor may ask about another line.
    """
    return ANSWERS[place] if place is not None else None
