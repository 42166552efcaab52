"""Settings of the queue."""

from dataclasses import dataclass

from sekisho.config import DAY, GIB, KIB, MIB, Duration, Size, at_least, between, setting

__all__ = ["QueueSettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSettings:
    """The queue: where accepted mail waits until it is delivered."""

    lifetime: Duration = setting(
        Duration(5 * DAY),
        "Give up and send a DSN after this long (RFC 5321 §4.5.4.1: 4-5 days).",
        check=at_least(60),
    )
    hold_new: bool = setting(
        False, "Accept mail but keep it from delivery until `sekisho queue release`; for maintenance of the next hop."
    )
    minimum_free: Size = setting(
        Size(256 * MIB),
        "Answer 452 to new mail when the disk has less free space than this, so that outcomes can still be recorded.",
        check=at_least(0),
    )
    inline_limit: Size = setting(
        Size(256 * KIB),
        "Content up to this size is kept in the database, larger content in a file of its own.",
        check=between(64 * KIB, 16 * MIB),
    )
    history_days: int = setting(
        14, "Keep envelope and history of finished mail for this many days, for tracing.", check=between(1, 3650)
    )
    window: int = setting(
        5000,
        "Messages that each mail process considers for delivery at one time; the rest wait on disk.",
        check=between(10, 1_000_000),
    )
    hot_content: Size = setting(
        Size(32 * MIB),
        "Fresh content each mail process keeps in memory, so that its delivery need not read the disk.",
        check=between(0, 4 * GIB),
    )
