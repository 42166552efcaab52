"""Tests of `sekisho.smtp.failures`."""

from __future__ import annotations

from sekisho.smtp import DeliveryFailure, PermanentFailure, RemoteProtocolError, TemporaryFailure, replies


def test_a_failure_carries_what_may_be_told_and_what_only_the_log_is_told() -> None:
    failure = TemporaryFailure(replies.LOCAL_ERROR, "connection reset")
    assert failure.reply is replies.LOCAL_ERROR
    assert failure.detail == "connection reset"
    assert "connection reset" not in failure.reply.text
    assert "connection reset" in str(failure)


def test_temporary_and_permanent_failures_are_told_apart_by_type() -> None:
    assert issubclass(TemporaryFailure, DeliveryFailure)
    assert issubclass(PermanentFailure, DeliveryFailure)
    assert not issubclass(PermanentFailure, TemporaryFailure)
    assert not issubclass(RemoteProtocolError, DeliveryFailure)
    assert str(PermanentFailure(replies.MAILBOX_UNKNOWN)) == "550 5.1.1 No such mailbox here"
    assert RemoteProtocolError("no code").detail == "no code"
