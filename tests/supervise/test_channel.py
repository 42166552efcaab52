"""What the supervisor and a worker say to each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.config import Secret, changed
from sekisho.delivery import RouteSettings
from sekisho.supervise.channel import Channel, Configuration, Drain, Failed, Message, Ready, Reload, Reloaded
from sekisho.supervise.sections import Settings


def test_messages_arrive_whole_and_in_order() -> None:
    ours, theirs = Channel.pair()
    said: list[Message] = [Drain(3.5), Ready(), Failed("no room"), Reloaded(None)]
    for message in said:
        assert ours.send(message)
    assert theirs.receive() == said
    ours.close()
    assert theirs.receive() is None
    theirs.close()


def test_a_configuration_with_secrets_arrives_with_them(tmp_path: Path) -> None:
    """A reload once ended the service when a route had a password."""
    route = RouteSettings(name="isp", host="smtp.example.net", username="rin", password=Secret("hunter2"))
    settings = Settings(hostname="mail.example.test", route=(route,))
    ours, theirs = Channel.pair()
    assert ours.send(Reload(Configuration(tmp_path / "sekisho.toml", settings, b"chain", b"key")))
    (message,) = theirs.receive() or []
    ours.close()
    theirs.close()
    assert isinstance(message, Reload)
    assert message.configuration.settings == settings


def test_new_routes_do_not_wait_for_a_restart() -> None:
    route = RouteSettings(name="isp", host="smtp.example.net")
    old, new = Settings(hostname="mail.example.test"), Settings(hostname="mail.example.test", route=(route,))
    assert changed(old, new) == (["route"], [])


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
