"""The story of a line or account: until when sending worked, when it first failed, what was new by then. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from .meaning import HANDSHAKES, has_worked, rule_of
from .seen import Seen
from .situation import AccountFacts, LineFacts

__all__ = ["Change", "Timeline", "timeline"]


class Change(StrEnum):
    """What was different at the first failure from the last success."""

    GATE = "gate"  # port 25 of this line was closed meanwhile
    PASSWORD = "password"  # noqa: S105 - no password
    NETWORK = "network"
    LISTENER = "listener"
    TLS = "tls"
    MECHANISM = "mechanism"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Until when it worked, and what was new when it first failed.

    Fields:
        worked: the last success; None when none is known.
        failed: the first failure after it; None when nothing failed since.
        changes: in the order of `Change`; `Change.NONE` when nothing that is known did.
    """

    worked: float | None
    failed: float | None
    changes: tuple[Change, ...] = ()


def timeline(line: LineFacts, account: AccountFacts | None) -> Timeline | None:
    """Return the story of the account, or without login that of the line; None where there is none to tell.

    At an address that many share, success and failure may be two people's: no story.
    """
    if account is None and line.is_shared:
        return None
    seen = account.seen if account is not None else line.seen
    success = next((each for each in reversed(seen) if has_worked(each)), None)
    worked = success.at if success is not None else None
    after = worked if worked is not None else float("-inf")
    failure = next((each for each in seen if each.at > after and rule_of(each) is not None), None)
    failed = failure.at if failure is not None else None
    stopped = line.edge.first_explained if line.edge is not None and line.edge.closed else None
    if stopped is not None and stopped > after and (failed is None or stopped < failed):
        failure, failed = None, stopped
    if worked is None and failed is None:
        return None
    if success is None or failed is None:
        return Timeline(worked, failed)
    changes = tuple(_changes(success, failure, failed, account, line))
    return Timeline(worked, failed, changes or (Change.NONE,))


def _changes(
    success: Seen, failure: Seen | None, failed: float, account: AccountFacts | None, line: LineFacts
) -> Iterator[Change]:
    """Yield what changed; *failure* is None when the gate stopped it."""
    closed = line.edge.closed_since if line.edge is not None and line.edge.closed else None
    if failure is None and closed is not None and success.at <= closed <= failed:
        yield Change.GATE
    changed = account.password_changed if account is not None else None
    if changed is not None and success.at <= changed <= failed:
        yield Change.PASSWORD
    if failure is None:
        return
    if success.here != failure.here:
        yield Change.NETWORK
    if success.listener and failure.listener and success.listener != failure.listener:
        yield Change.LISTENER
    if failure.step in HANDSHAKES or (success.tls and failure.tls and success.tls != failure.tls):
        yield Change.TLS
    if success.mechanism and failure.mechanism and success.mechanism != failure.mechanism:
        yield Change.MECHANISM
