"""Rules for new passwords."""

import pytest

from sekisho.accounts import WeakPassword, generate_password
from sekisho.accounts.passwords import accept_password


def test_generated_passwords_are_short_typable_and_all_different() -> None:
    made = {generate_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert password.isascii()
        assert len(password) <= 20
        assert not set(password) & set("0O1lIo |")
        assert accept_password(password, login="rin@example.jp", minimum_length=8) == password


@pytest.mark.parametrize(
    "password",
    ["", "kort", "Rin.Sakura@example.jp", "rin.sakura", "aaaaaaaaaa", "with\0nul--", "a" * 1025, "tab\tulator"],
)
def test_weak_passwords_are_refused_with_words_and_without_the_password(password: str) -> None:
    with pytest.raises(WeakPassword) as caught:
        accept_password(password, login="rin.sakura@example.jp", minimum_length=8)
    assert "Choose" in str(caught.value)
    assert len(password) < 2 or password not in str(caught.value)


def test_a_password_may_be_japanese() -> None:
    assert accept_password("さくらさくらやよい", login="rin@example.jp", minimum_length=8) == "さくらさくらやよい"
