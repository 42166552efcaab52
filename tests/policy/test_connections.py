"""No address takes all connections, and the last ones are for those who have none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sekisho.policy import Acquaintances, ConnectionCounter
from sekisho.policy.addresses import fold


def test_an_address_holds_at_most_its_limit() -> None:
    counter = ConnectionCounter()
    answers = [counter.opened("192.0.2.1", limit=3, total=100) for _ in range(5)]
    assert [answer is None for answer in answers] == [True, True, True, False, False]
    assert answers[3] is not None
    assert answers[3].code == 421
    assert counter.opened("192.0.2.2", limit=3, total=100) is None
    for _ in range(3):
        counter.closed("192.0.2.1")
    assert counter.opened("192.0.2.1", limit=3, total=100) is None


def test_a_crowd_leaves_the_last_places_to_newcomers() -> None:
    counter = ConnectionCounter()
    for n in range(3):
        for _ in range(30):
            assert counter.opened(f"192.0.2.{n}", limit=40, total=100) is None
    assert counter.opened("192.0.2.1", limit=40, total=100) is not None
    counter.closed("192.0.2.1")
    newcomers = [counter.opened(f"198.51.100.{n}", limit=40, total=100) for n in range(10)]
    assert newcomers == [None] * 10
    full = counter.opened("203.0.113.1", limit=40, total=100)
    assert full is not None
    assert full.status == "4.3.2"


def test_each_process_holds_its_share() -> None:
    counter = ConnectionCounter(processes=4)
    assert sum(counter.opened("192.0.2.1", limit=10, total=1000) is None for _ in range(10)) == 3


@given(steps=st.lists(st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]), st.booleans()), max_size=60))
def test_counts_come_back_to_nothing(steps: list[tuple[str, bool]]) -> None:
    counter = ConnectionCounter()
    open_now: list[str] = []
    for address, opens in steps:
        if opens:
            counter.opened(address, limit=4, total=8)
            open_now.append(address)
        elif address in open_now:
            counter.closed(address)
            open_now.remove(address)
        assert counter.total == len(open_now)
        assert counter.held_by(address) == open_now.count(address)
    for address in open_now:
        counter.closed(address)
    counter.closed("10.0.0.1")
    assert counter.total == 0
    assert not counter._open


def test_ipv6_is_counted_by_its_64_bit_network() -> None:
    assert fold("2001:db8:0:1::5") == fold("2001:db8:0:1:ffff::") == "2001:db8:0:1::/64"
    assert fold("2001:db8:0:2::5") != fold("2001:db8:0:1::5")
    assert fold("::ffff:192.0.2.1") == "192.0.2.1"
    assert fold("fe80::1%eth0") == "fe80::/64"
    assert fold("192.0.2.1") == "192.0.2.1"
    assert fold("no:address") == "no:address"


def test_acquaintances_are_bounded_and_the_longest_unseen_go_first() -> None:
    known = Acquaintances(size=2)
    known.remember("a")
    known.remember("b")
    known.remember("a")
    known.remember("c")
    assert known.knows("a")
    assert known.knows("c")
    assert not known.knows("b")
    known.forget("a")
    known.forget("never seen")
    assert not known.knows("a")
