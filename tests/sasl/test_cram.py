"""CRAM-MD5, both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.sasl import Challenge, CramClaim, CramServer, Malformed, SaslError, client

CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
ANSWER = b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_the_example_of_the_rfc_is_proven_by_its_secret_alone() -> None:
    """RFC 2195 §2."""
    server = CramServer(CHALLENGE)
    assert server.step(None) == Challenge(CHALLENGE)
    claim = server.step(ANSWER)
    assert isinstance(claim, CramClaim)
    assert claim.authcid == "tim"
    assert claim.is_proven_by(b"tanstaaftanstaaf")
    assert not claim.is_proven_by(b"tanstaaftanstaag")


def test_the_client_gives_the_answer_of_the_rfc_once() -> None:
    speaker = client("CRAM-MD5", "tim", "tanstaaftanstaaf", "unused")
    assert speaker.initial is None
    assert speaker.respond(CHALLENGE) == ANSWER
    assert speaker.done
    with pytest.raises(SaslError):
        speaker.respond(CHALLENGE)


def test_a_user_name_may_contain_spaces() -> None:
    server = CramServer(CHALLENGE)
    server.step(None)
    claim = server.step(b"tim of reston " + ANSWER[4:].upper())
    assert isinstance(claim, CramClaim)
    assert claim.authcid == "tim of reston"
    assert claim.is_proven_by(b"tanstaaftanstaaf")


def test_an_initial_response_is_malformed() -> None:
    """RFC 4954 §4: the server speaks first."""
    assert isinstance(CramServer(CHALLENGE).step(ANSWER), Malformed)


@given(st.none() | st.binary(max_size=80) | st.just(b"a" * 2000) | st.binary(max_size=20).map(lambda o: o + ANSWER[3:]))
def test_nothing_a_peer_sends_raises(answer: bytes | None) -> None:
    server = CramServer(CHALLENGE)
    server.step(None)
    assert isinstance(server.step(answer), CramClaim | Malformed)
