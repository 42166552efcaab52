"""LOGIN, both sides."""

import base64

import pytest

from sekisho.sasl import Challenge, LoginServer, Malformed, PasswordClaim, SaslError, client


def test_the_prompts_are_the_ones_thunderbird_compares() -> None:
    server = LoginServer()
    username = server.step(None)
    password = server.step(b"rin")
    assert isinstance(username, Challenge)
    assert isinstance(password, Challenge)
    assert base64.b64encode(username.octets) == b"VXNlcm5hbWU6"
    assert base64.b64encode(password.octets) == b"UGFzc3dvcmQ6"
    assert server.step(b"hana-fubuki") == PasswordClaim("rin", "", "hana-fubuki")


def test_the_user_name_may_come_with_auth() -> None:
    """smtplib."""
    server = LoginServer()
    assert server.step(b"rin") == Challenge(b"Password:")
    assert server.step(b"hana-fubuki") == PasswordClaim("rin", "", "hana-fubuki")


@pytest.mark.parametrize("answers", [[b""], [None, b""], [None, None], [b"a\0b"], [b"rin", b""], [b"rin", b"a" * 1025]])
def test_a_wrong_answer_is_malformed(answers: list[bytes | None]) -> None:
    server = LoginServer()
    steps = [server.step(answer) for answer in answers]
    assert isinstance(steps[-1], Malformed)


def test_the_client_answers_two_prompts_of_any_wording_and_no_third() -> None:
    speaker = client("login", "rin", "hana-fubuki", "unused")
    assert speaker.initial is None
    done_before = speaker.done
    assert speaker.respond("ユーザ名".encode()) == b"rin"
    assert speaker.respond(b"Passcode:") == b"hana-fubuki"
    assert (done_before, speaker.done) == (False, True)
    with pytest.raises(SaslError):
        speaker.respond(b"Password:")
