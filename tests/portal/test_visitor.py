"""Who asks, and from where: what a proxy wrote is believed, what a visitor wrote never."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.portal.visitor import Place, Surroundings, Visitor, look_at

PROXY = "192.0.2.80"
VISITOR = "203.0.113.9"
AROUND = Surroundings(
    proxies=(ipaddress.ip_network("192.0.2.80/32"), ipaddress.ip_network("2001:db8:80::/64")),
    campus=(ipaddress.ip_network("198.51.100.0/24"), ipaddress.ip_network("2001:db8:1::/48")),
    vpn=(ipaddress.ip_network("198.51.100.128/25"), ipaddress.ip_network("10.8.0.0/16")),
    lines=(ipaddress.ip_network("203.0.113.0/24"),),
    operators=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("198.51.100.1/32")),
)
RFC7239 = Surroundings(AROUND.proxies, "forwarded", AROUND.campus, AROUND.vpn, AROUND.lines, AROUND.operators)

HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"x-real-ip", b"via", b"x-forwarded-host"]
        ),
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from([b"198.51.100.1", b"https", b"for=198.51.100.1;proto=https", b"127.0.0.1, 198.51.100.1"]),
        ),
    ),
    max_size=6,
)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(
    lambda each: (
        not any(each in network for network in AROUND.proxies)
        and getattr(each, "ipv4_mapped", None) is None
        and getattr(each, "scope_id", None) is None
    )
)


def through_proxy(*headers: tuple[str, str], around: Surroundings = AROUND, peer: str = PROXY) -> Visitor:
    return look_at(peer, [(name.encode(), value.encode()) for name, value in headers], tls=False, around=around)


@given(peer=ADDRESSES.filter(lambda each: not each.is_loopback), headers=HEADERS, tls=st.booleans())
def test_headers_from_elsewhere_never_change_anything(
    peer: ipaddress.IPv4Address | ipaddress.IPv6Address, headers: list[tuple[bytes, bytes]], tls: bool
) -> None:
    for around in (AROUND, RFC7239):
        assert look_at(str(peer), headers, tls=tls, around=around) == look_at(str(peer), [], tls=tls, around=around)


@given(headers=HEADERS)
def test_on_this_machine_headers_take_rights_away_and_never_give_any(headers: list[tuple[bytes, bytes]]) -> None:
    """A web server here that is not in trusted_proxies must not make the world look like this machine."""
    plain = look_at("127.0.0.1", [], tls=False, around=AROUND)
    assert plain.secure
    assert plain.operator
    found = look_at("127.0.0.1", headers, tls=False, around=AROUND)
    if headers:
        assert (found.secure, found.operator, found.place, found.known) == (False, False, Place.OUTSIDE, False)
    else:
        assert found == plain


@given(real=ADDRESSES, forged=st.lists(st.text(max_size=40).map(lambda text: text.encode()), max_size=3))
def test_what_a_visitor_wrote_before_the_proxy_is_hearsay(
    real: ipaddress.IPv4Address | ipaddress.IPv6Address, forged: list[bytes]
) -> None:
    headers = [(b"x-forwarded-for", each) for each in forged]
    last = forged[-1] + b", " if forged else b""
    appended = [*headers[:-1], (b"x-forwarded-for", last + str(real).encode())]
    found = look_at(PROXY, appended, tls=False, around=AROUND)
    assert found.address == str(real)
    assert found == look_at(PROXY, [(b"x-forwarded-for", str(real).encode())], tls=False, around=AROUND)


@given(real=ADDRESSES, forged=st.text(max_size=60).map(lambda text: text.encode()), quoted=st.booleans())
def test_of_forwarded_too_and_a_quote_that_swallows_the_proxys_word_leaves_the_visitor_unknown(
    real: ipaddress.IPv4Address | ipaddress.IPv6Address, forged: bytes, quoted: bool
) -> None:
    """RFC 7239 §4."""
    node = f"[{real}]" if real.version == 6 else str(real)
    own = f'for="{node}";proto=https' if quoted or real.version == 6 else f"for={node};proto=https"
    found = look_at(PROXY, [(b"forwarded", forged + b", " + own.encode())], tls=False, around=RFC7239)
    if found.known:
        assert found.address == str(real)
    else:
        assert (found.place, found.operator) == (Place.OUTSIDE, False)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("2001:DB8:0:0::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("1.1.1.1, 203.0.113.9, 192.0.2.80", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 2001:db8:80::7", "203.0.113.9"),
    ],
)
def test_ways_to_write_an_address(value: str, address: str) -> None:
    found = through_proxy(("x-forwarded-for", value), ("x-forwarded-proto", "https"))
    assert (found.address, found.known, found.proxied, found.secure, found.https) == (address, True, True, True, True)


@pytest.mark.parametrize(
    "value",
    ["", "unknown", "_hidden", "203.0.113.9.9", "[2001:db8::9", "203.0.113.9:port", "192.0.2.80", "a" * 5000, "1:2:3"],
)
def test_a_proxy_that_does_not_tell_leaves_the_visitor_without_a_place(value: str) -> None:
    for headers in ([("x-forwarded-for", value)], []):
        found = through_proxy(*headers)
        assert (found.address, found.known, found.place, found.operator) == (PROXY, False, Place.OUTSIDE, False)
        assert not found.secure
        over_tls = through_proxy(*headers, ("x-forwarded-proto", "https"))
        assert over_tls.secure, "who it is does not matter to whether somebody listens"


def test_places_by_the_networks_of_the_operator() -> None:
    expected = {
        "198.51.100.7": Place.CAMPUS,
        "198.51.100.200": Place.CAMPUS,  # the VPN's range lies in the campus: who is there is on campus
        "10.8.3.4": Place.VPN,
        "203.0.113.9": Place.LINE,
        "2001:db8:1:2::3": Place.CAMPUS,
        "192.0.2.1": Place.OUTSIDE,
    }
    for address, place in expected.items():
        assert through_proxy(("x-forwarded-for", address)).place is place
        assert look_at(address, [], tls=True, around=AROUND).place is place
    assert look_at("::ffff:198.51.100.7", [], tls=True, around=AROUND).address == "198.51.100.7"


@pytest.mark.parametrize(
    ("protocols", "secure"),
    [
        (["https"], True),
        (["HTTPS"], True),
        ([], False),
        (["http"], False),
        (["https", "http"], False),
        (["https,"], False),
    ],
)
def test_behind_a_proxy_a_connection_is_as_safe_as_the_proxy_says(protocols: list[str], secure: bool) -> None:
    found = through_proxy(("x-forwarded-for", VISITOR), *(("x-forwarded-proto", each) for each in protocols))
    assert found.secure is secure


def test_of_forwarded_the_element_of_the_visitor_tells_the_protocol() -> None:
    """RFC 7239 §5.4."""
    chain = "for=203.0.113.9;proto=https;by=192.0.2.80, for=192.0.2.80;proto=http"
    found = through_proxy(("forwarded", chain), around=RFC7239)
    assert (found.address, found.secure) == (VISITOR, True)
    assert not through_proxy(("forwarded", chain.replace("https", "http")), around=RFC7239).secure


def test_only_the_kind_of_header_that_the_operator_names_counts() -> None:
    """A proxy that writes one kind passes the other on as the visitor sent it."""
    both = [("x-forwarded-for", VISITOR), ("forwarded", "for=198.51.100.1;proto=https")]
    assert through_proxy(*both).address == VISITOR
    assert through_proxy(*both).secure is False
    assert through_proxy(*both, around=RFC7239).address == "198.51.100.1"


def test_plain_http_is_safe_on_this_machine_alone() -> None:
    assert look_at("127.0.0.1", [], tls=False, around=AROUND).secure
    assert look_at("::1", [], tls=False, around=AROUND).secure
    assert not look_at("198.51.100.7", [], tls=False, around=AROUND).secure
    assert look_at("198.51.100.7", [], tls=True, around=AROUND).secure
    assert not look_at("", [], tls=False, around=AROUND).secure
