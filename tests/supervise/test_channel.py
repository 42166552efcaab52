"""What the supervisor and a worker say to each other."""

from __future__ import annotations

import pytest

from sekisho.supervise.channel import Channel, Drain, Failed, Message, Ready, Reloaded


def test_messages_arrive_whole_and_in_order() -> None:
    ours, theirs = Channel.pair()
    said: list[Message] = [Drain(3.5), Ready(), Failed("no room"), Reloaded(None)]
    for message in said:
        assert ours.send(message)
    assert theirs.receive() == said
    ours.close()
    assert theirs.receive() is None
    theirs.close()


@pytest.mark.parametrize("size", [1, 3, 4, 5, 50])
def test_messages_read_the_same_however_they_are_cut(size: int) -> None:
    ours, theirs = Channel.pair()
    ours.send(Failed("x" * 100))
    ours.send(Drain(1.0))
    octets = theirs.socket.recv(65536)
    ours.close()
    theirs.close()
    reader = Channel(theirs.socket)
    heard = [message for at in range(0, len(octets), size) for message in reader.feed(octets[at : at + size])]
    assert heard == [Failed("x" * 100), Drain(1.0)]


def test_a_peer_that_is_gone_is_noticed_by_the_sender() -> None:
    ours, theirs = Channel.pair()
    theirs.close()
    assert not ours.send(Ready())
    ours.close()
