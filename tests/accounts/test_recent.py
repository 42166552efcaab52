"""The memory of recent successes."""

from sekisho.accounts.recent import RecentSuccesses


def test_a_success_is_remembered_for_its_lifetime_and_not_longer() -> None:
    recent = RecentSuccesses(600, 10)
    digest = recent.digest(1, "verifier", "password")
    assert not recent.holds(digest, 0)
    recent.add(digest, 0)
    assert recent.holds(digest, 599)
    assert not recent.holds(digest, 600)
    assert len(recent) == 0


def test_account_verifier_and_password_all_count() -> None:
    recent = RecentSuccesses(600, 10)
    recent.add(recent.digest(1, "verifier", "password"), 0)
    for other in ((2, "verifier", "password"), (1, "another", "password"), (1, "verifier", "passwort")):
        assert not recent.holds(recent.digest(*other), 1)


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    recent = RecentSuccesses(600, 3)
    digests = [recent.digest(number, "verifier", "password") for number in range(4)]
    for digest in digests[:3]:
        recent.add(digest, 0)
    assert recent.holds(digests[0], 1)
    recent.add(digests[3], 1)
    assert len(recent) == 3
    assert [recent.holds(digest, 2) for digest in digests] == [True, False, True, True]


def test_no_lifetime_remembers_nothing() -> None:
    recent = RecentSuccesses(0, 10)
    recent.add(b"digest", 0)
    assert not recent.holds(b"digest", 0)


def test_digests_of_one_process_mean_nothing_in_another() -> None:
    assert RecentSuccesses(1, 1).digest(1, "v", "p") != RecentSuccesses(1, 1).digest(1, "v", "p")
