"""Digest authentication (RFC 7616), the client's part, without a connection."""

from __future__ import annotations

import traceback
from urllib.request import parse_http_list, parse_keqv_list

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import DigestAuth, Headers, LocalProtocolError, Response, parse_uri
from anyws._auth import encode_text
from anyws._digest import DigestExchange, best_challenge

from .digest_verifier import DigestVerifier
from .timing import HOSTILE_SIZE, is_linear

URI = parse_uri("wss://example.org/chat?room=1")
TARGET = "/chat?room=1"


def refusal(*challenges: str, status_code: int = 401) -> Response:
    """Return a response with these values of WWW-Authenticate."""
    headers = Headers([("WWW-Authenticate", challenge) for challenge in challenges])
    return Response(status_code, headers)


def accepted(*values: str) -> Response:
    """Return a response that opens the connection, with these values of Authentication-Info."""
    return Response(101, Headers([("Authentication-Info", value) for value in values]))


def answer(username: str, password: str, target: str, challenge: str, cnonce: str) -> str:
    """Return what answers a challenge, with a client's nonce that is known."""
    chosen = best_challenge(refusal(challenge))
    assert chosen is not None
    chosen.cnonce = cnonce
    return chosen.answer(encode_text("", username), encode_text("", password), target)


def fields(value: str | None) -> dict[str, str]:
    """Return what is in a value of Authorization, without quotes."""
    assert value is not None
    assert value.startswith("Digest ")
    return parse_keqv_list(parse_http_list(value.removeprefix("Digest ")))


def challenged(*challenges: str) -> str | None:
    """Return what answers the best of some challenges, with any password."""
    exchange = DigestExchange(DigestAuth("ann", "secret"), URI)
    assert exchange.take_response(refusal(*challenges)) is (exchange.header_value() is not None)
    return exchange.header_value()


# Vectors of the RFCs

RFC_7616_1 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_7616_2 = (
    'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
    'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
    'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
)
RFC_2617 = (
    'Digest realm="testrealm@host.com", qop="auth,auth-int", '
    'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_rfc_7616_is_answered(algorithm: str, response: str) -> None:
    # RFC 7616 §3.9.1
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    value = answer(
        "Mufasa", "Circle of Life", "/dir/index.html", RFC_7616_1.format(algorithm), cnonce
    )
    assert fields(value) == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "nc": "00000001",
        "cnonce": cnonce,
        "qop": "auth",
        "response": response,
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    }


def test_example_with_a_hashed_name_is_answered() -> None:
    # RFC 7616 §3.9.2, whose name and response are those of the erratum 4897.
    cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    value = answer("Jäsøn Doe", "Secret, or not?", "/doe.json", RFC_7616_2, cnonce)
    got = fields(value)
    assert got["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert got["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
    assert got["userhash"] == "true"


def test_example_of_rfc_2617_is_answered() -> None:
    # RFC 2617 §3.5
    value = answer("Mufasa", "Circle Of Life", "/dir/index.html", RFC_2617, "0a4f113b")
    got = fields(value)
    assert got["response"] == "6629fae49393a05397450978507c4ef1"
    assert "algorithm" not in got


def test_what_is_quoted_and_what_is_not_is_as_the_rfc_says() -> None:
    # §3.4
    value = answer("Mufasa", "Circle of Life", "/", RFC_7616_2, "c")
    quoted = {part.partition("=")[0] for part in value[7:].split(", ") if part.endswith('"')}
    assert quoted == {"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
    assert "userhash=true" in value.split(", ")
    assert "nc=00000001" in value.split(", ")


# Against a verifier

ALGORITHMS = [
    None,
    "MD5",
    "SHA-256",
    "SHA-512-256",
    "MD5-sess",
    "SHA-256-sess",
    "SHA-512-256-sess",
    "sha-256",
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("qop", ["auth", "auth-int", "auth-int,auth", "auth , other"])
@pytest.mark.parametrize("userhash", [False, True])
def test_challenge_is_answered(algorithm: str | None, qop: str, userhash: bool) -> None:
    verifier = DigestVerifier("jäne", "pässwörd", algorithm=algorithm, qop=qop, userhash=userhash)
    exchange = DigestExchange(DigestAuth("jäne", "pässwörd"), URI)
    assert exchange.header_value() is None
    assert exchange.take_response(refusal(verifier.challenge()))
    assert verifier.accepts(exchange.header_value(), TARGET)
    assert not exchange.take_response(accepted())


@pytest.mark.parametrize("algorithm", [None, "MD5", "SHA-256"])
def test_challenge_of_rfc_2069_is_answered(algorithm: str | None) -> None:
    verifier = DigestVerifier("ann", "secret", algorithm=algorithm, qop=None, utf8=False)
    exchange = DigestExchange(DigestAuth("ann", "secret"), URI)
    assert exchange.take_response(refusal(verifier.challenge()))
    value = exchange.header_value()
    assert verifier.accepts(value, TARGET)
    assert not fields(value).keys() & {"qop", "nc", "cnonce"}


def test_algorithm_without_a_name_is_not_named_in_the_answer() -> None:
    # `algorithm=` with nothing behind it would be no parameter (RFC 9110 §11.2).
    value = challenged('Digest realm="r", nonce="n", algorithm="", qop="auth"')
    assert value is not None
    assert "algorithm" not in fields(value)


def test_wrong_password_is_not_accepted() -> None:
    # The verifier is worth something.
    verifier = DigestVerifier("ann", "secret")
    exchange = DigestExchange(DigestAuth("ann", "Secret"), URI)
    assert exchange.take_response(refusal(verifier.challenge()))
    assert not verifier.accepts(exchange.header_value(), TARGET)


visible = st.text(st.characters(exclude_categories=["C"]), max_size=20)


@given(
    username=visible,
    password=visible,
    realm=visible,
    opaque=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9),
    algorithm=st.sampled_from(ALGORITHMS),
    qop=st.sampled_from(["auth", "auth-int"]),
    userhash=st.booleans(),
    utf8=st.booleans(),
    attempts=st.integers(1, 3),
)
def test_any_name_and_password_is_proved(
    username: str,
    password: str,
    realm: str,
    opaque: str | None,
    algorithm: str | None,
    qop: str,
    userhash: bool,
    utf8: bool,
    attempts: int,
) -> None:
    auth = DigestAuth(username, password)
    # §4: Normalization Form C.
    verifier = DigestVerifier(
        encode_text("", username).decode(),
        encode_text("", password).decode(),
        realm=realm,
        algorithm=algorithm,
        qop=qop,
        opaque=opaque,
        userhash=userhash,
        utf8=utf8,
    )
    assert DigestExchange(auth, URI).take_response(refusal(verifier.challenge()))
    for _ in range(attempts):
        value = DigestExchange(auth, URI).header_value()
        # What is made can stand in a header.
        assert Headers({"Authorization": value or ""})["Authorization"] == value
        assert verifier.accepts(value, TARGET)


@pytest.mark.parametrize("utf8", [True, False])
def test_name_outside_ascii_is_sent_as_the_server_knows_it(utf8: bool) -> None:
    verifier = DigestVerifier("Jäsøn Doe", "secret", utf8=utf8)
    exchange = DigestExchange(DigestAuth("Ja\u0308søn Doe", "secret"), URI)
    assert exchange.take_response(refusal(verifier.challenge()))
    got = fields(exchange.header_value())
    if utf8:
        # RFC 7616 §3.4, RFC 8187
        assert got["username*"] == "UTF-8''J%C3%A4s%C3%B8n%20Doe"
        assert "username" not in got
    else:
        assert got["username"].encode("iso-8859-1").decode() == "Jäsøn Doe"
        assert "username*" not in got


# Which challenge is answered


def challenge(algorithm: str | None = None, *, extra: str = ', qop="auth"') -> str:
    named = "" if algorithm is None else f", algorithm={algorithm}"
    return f'Digest realm="{algorithm}", nonce="n"{named}{extra}'


@pytest.mark.parametrize(
    ("offered", "realm"),
    [
        (["MD5", "SHA-256", "SHA-512-256"], "SHA-512-256"),
        (["SHA-512-256", "MD5"], "SHA-512-256"),
        (["MD5-sess", "SHA-256-sess"], "SHA-256-sess"),
        (["SHA-256", "SHA-256-sess"], "SHA-256"),
        (["SHA-256-sess", "SHA-256"], "SHA-256-sess"),
        ([None, "SHA-256"], "SHA-256"),
        (["SHA-3", "MD5"], "MD5"),
        (["SHA-512", "SHA-256-", "-sess", "MD5-sess-sess", "token"], None),
    ],
)
@pytest.mark.parametrize("joined", [True, False], ids=["one field", "several fields"])
def test_strongest_algorithm_is_chosen(
    offered: list[str | None], realm: str | None, joined: bool
) -> None:
    # §3.7
    values = ['Basic realm="b"', *map(challenge, offered), "Negotiate", "NTLM abc=="]
    value = challenged(*([", ".join(values)] if joined else values))
    assert (value and fields(value)["realm"]) == realm


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        'Basic realm="b", nonce="n"',
        "Digest",
        "Digest abc==",
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", qop="other"',
        'Digest realm="r", nonce="n", qop="' + "auth," * 257 + '"',
        'Digest realm="r", nonce="n", algorithm=MD5-sess',
        'Digest realm="r", nonce="n", nonce="m"',
        'Digest realm="r", nonce="n", Nonce="n"',
        'Digest realm="r", nonce="n',
        'Digest realm="r", nonce="n\\"',
        'Digest realm="r", nonce="n" qop="auth"',
        'Digest realm="r", nonce="n", qop="auth',
        'Digest realm="r", nonce="n"; qop="auth"',
        'Digestrealm="r", nonce="n"',
        'Digest\xe9 realm="r", nonce="n"',
        '"Digest" realm="r", nonce="n"',
    ],
    ids=lambda value: ascii(value[:60]),
)
def test_what_cannot_be_answered_is_not(value: str) -> None:
    assert challenged(value) is None
    assert fields(challenged(value, challenge("MD5")))["realm"] == "MD5"


@pytest.mark.parametrize(
    "value",
    [
        'digest REALM="r",NONCE="n",QOP=AUTH',
        'DIGEST  realm = "r" ,\tnonce\t=\tn , qop = auth',
        ', ,Digest ,, realm="r", ,nonce="n", qop="auth",,',
        'Basic, Digest realm="r", nonce="n", qop="auth"',
        'Basic realm=x, Digest realm="r", nonce="n", qop="auth", Basic realm="y"',
        'NTLM abc=, Digest realm="r", nonce="n", qop="auth", Negotiate',
        'Digest realm="r", nonce="n", qop="auth", domain="/a b", stale=false, unknown="x, y"',
        r'Digest realm="\r", nonce="\n", qop="auth"',
    ],
)
def test_challenge_is_read_however_it_is_written(value: str) -> None:
    got = fields(challenged(value))
    assert (got["realm"], got["nonce"], got["qop"]) == ("r", "n", "auth")


def test_empty_qop_is_none() -> None:
    assert "qop" not in fields(challenged('Digest realm="r", nonce="n", qop=""'))


def test_empty_realm_and_opaque_are_sent_back() -> None:
    value = challenged('Digest realm="", nonce="n", opaque=""')
    assert value is not None
    assert 'realm=""' in value
    assert 'opaque=""' in value


PIECES = [
    "Digest ",
    'a="',
    "a",
    "\\",
    '\\"',
    '"',
    "=",
    " ",
    ",",
    "a=b,",
    "a =",
    "a=",
    'a="",',
    "a,",
]


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
@pytest.mark.parametrize("start", ["", "Digest ", 'Digest a="', 'Digest realm="r", nonce="'])
def test_hostile_challenge_is_read_in_linear_time(start: str, piece: str) -> None:
    value = start + piece * (HOSTILE_SIZE // len(piece))
    response = refusal(value)
    assert is_linear(lambda: best_challenge(response))


@given(st.lists(st.sampled_from([*PIECES, 'realm="r"', 'nonce="n"', "qop=auth", "\xe9", "\x01"])))
def test_any_field_is_a_challenge_or_none(pieces: list[str]) -> None:
    value = "".join(pieces).encode("iso-8859-1")
    exchange = DigestExchange(DigestAuth("ann", "secret"), URI)
    response = Response(401, Headers.from_wire([(b"WWW-Authenticate", value)]))
    assert exchange.take_response(response) is (exchange.header_value() is not None)
    info = Response(101, Headers.from_wire([(b"Authentication-Info", value)]))
    assert not exchange.take_response(info)


# From one request to the next


def counted(value: str | None) -> tuple[str, int]:
    got = fields(value)
    return got["nonce"], int(got["nc"], 16)


def test_later_connections_need_no_challenge() -> None:
    auth = DigestAuth("ann", "secret")
    verifier = DigestVerifier("ann", "secret")
    first = DigestExchange(auth, URI)
    first.take_response(refusal(verifier.challenge()))
    nonce, count = counted(first.header_value())
    assert count == 1
    first.take_response(accepted())
    for expected in (2, 3):
        later = DigestExchange(auth, parse_uri("wss://EXAMPLE.org:443/other"))
        value = later.header_value()
        assert verifier.accepts(value, "/other")
        assert counted(value) == (nonce, expected)


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5-sess"])
def test_next_nonce_is_used_from_then_on(algorithm: str) -> None:
    # §3.5
    auth = DigestAuth("ann", "secret")
    verifier = DigestVerifier("ann", "secret", algorithm=algorithm)
    first = DigestExchange(auth, URI)
    first.take_response(refusal(verifier.challenge()))
    begun, _ = counted(first.header_value())
    first.take_response(accepted('qop=auth, NextNonce="two", nc=00000001'))
    value = DigestExchange(auth, URI).header_value()
    assert counted(value) == ("two", 1)
    if algorithm == "MD5-sess":
        # §3.4.2: the key is that of the request which began the session.
        got = fields(value)
        key = verifier.hash(b"ann:tests:secret")
        key = verifier.hash(f"{key}:{begun}:{got['cnonce']}".encode())
        request = verifier.hash(f"GET:{TARGET}".encode())
        data = f"{key}:two:00000001:{got['cnonce']}:auth:{request}"
        assert got["response"] == verifier.hash(data.encode())


@pytest.mark.parametrize(
    "value", ["", "nextnonce", 'nextnonce="', 'nextnonce=""', 'nextnonce="a", nextnonce="b"', "a=b"]
)
def test_next_nonce_that_cannot_be_read_is_left_out(value: str) -> None:
    auth = DigestAuth("ann", "secret")
    exchange = DigestExchange(auth, URI)
    exchange.take_response(refusal(challenge("MD5")))
    assert counted(exchange.header_value()) == ("n", 1)
    assert not exchange.take_response(accepted(value))
    assert counted(DigestExchange(auth, URI).header_value()) == ("n", 2)


def test_next_nonce_without_a_challenge_is_left_out() -> None:
    auth = DigestAuth("ann", "secret")
    assert not DigestExchange(auth, URI).take_response(accepted('nextnonce="a"'))
    assert DigestExchange(auth, URI).header_value() is None


@pytest.mark.parametrize("stale", ["", ", stale=false", ", stale=yes"])
def test_refused_credentials_are_not_tried_again(stale: str) -> None:
    auth = DigestAuth("ann", "wrong")
    exchange = DigestExchange(auth, URI)
    assert exchange.take_response(refusal(challenge("MD5")))
    assert exchange.header_value() is not None
    assert not exchange.take_response(refusal(challenge("MD5", extra=stale)))
    # Nor are they sent by the next connection unless it is asked.
    assert DigestExchange(auth, URI).header_value() is None


@pytest.mark.parametrize("stale", ["true", "TRUE", '"true"'])
def test_stale_nonce_is_replaced(stale: str) -> None:
    # §3.3
    exchange = DigestExchange(DigestAuth("ann", "secret"), URI)
    assert exchange.take_response(refusal(challenge("MD5")))
    assert counted(exchange.header_value()) == ("n", 1)
    fresh = f'Digest realm="r", nonce="fresh", qop="auth", stale={stale}'
    assert exchange.take_response(refusal(fresh))
    assert counted(exchange.header_value()) == ("fresh", 1)


def test_server_that_finds_every_nonce_stale_is_given_up() -> None:
    exchange = DigestExchange(DigestAuth("ann", "secret"), URI)
    sent = 0
    while exchange.take_response(refusal(challenge("MD5", extra=", stale=true"))):
        assert exchange.header_value() is not None
        sent += 1
    assert sent == 3


@pytest.mark.parametrize("extra", ["", ", stale=true"])
def test_nonce_from_an_earlier_connection_may_be_refused_once(extra: str) -> None:
    # A server that was restarted need not know that it is stale.
    auth = DigestAuth("ann", "secret")
    DigestExchange(auth, URI).take_response(refusal(challenge("MD5")))
    later = DigestExchange(auth, URI)
    assert later.header_value() is not None
    assert later.take_response(refusal('Digest realm="r", nonce="fresh"' + extra))
    assert fields(later.header_value())["nonce"] == "fresh"
    assert not later.take_response(refusal(challenge("MD5")))


def test_connections_at_once_answer_each_its_own_challenge() -> None:
    auth = DigestAuth("ann", "secret")
    verifier = DigestVerifier("ann", "secret")
    exchanges = [DigestExchange(auth, URI) for _ in range(3)]
    for exchange in exchanges:
        assert exchange.header_value() is None
        assert exchange.take_response(refusal(verifier.challenge()))
    values = [exchange.header_value() for exchange in reversed(exchanges)]
    assert len({counted(value)[0] for value in values}) == 3
    assert all(verifier.accepts(value, TARGET) for value in values)


def test_refusal_does_not_forget_what_another_connection_was_asked() -> None:
    auth = DigestAuth("ann", "secret")
    one, other = DigestExchange(auth, URI), DigestExchange(auth, URI)
    one.take_response(refusal(challenge("MD5")))
    one.header_value()
    other.take_response(refusal('Digest realm="r", nonce="other", qop="auth"'))
    assert not one.take_response(refusal(challenge("MD5")))
    assert counted(DigestExchange(auth, URI).header_value()) == ("other", 1)


@pytest.mark.parametrize(
    "uri", ["ws://example.org/", "wss://example.org:444/", "wss://www.example.org/"]
)
def test_challenge_of_one_origin_is_not_answered_at_another(uri: str) -> None:
    auth = DigestAuth("ann", "secret")
    domain = ', domain="https://www.example.org/ http://example.org/ https://example.org:444/"'
    assert DigestExchange(auth, URI).take_response(refusal(challenge("MD5", extra=domain)))
    assert DigestExchange(auth, parse_uri(uri)).header_value() is None
    assert DigestExchange(auth, URI).header_value() is not None


@pytest.mark.parametrize("status_code", [101, 200, 302, 403, 407, 500])
def test_only_a_refusal_for_want_of_credentials_is_answered(status_code: int) -> None:
    auth = DigestAuth("ann", "secret")
    response = refusal(challenge("MD5"), status_code=status_code)
    assert not DigestExchange(auth, URI).take_response(response)
    assert DigestExchange(auth, URI).header_value() is None


def test_client_s_nonce_differs_from_challenge_to_challenge() -> None:
    nonces = {fields(challenged(challenge("MD5")))["cnonce"] for _ in range(9)}
    assert len(nonces) == 9
    assert {len(nonce) for nonce in nonces} == {32}


# Names and passwords


def test_password_is_in_no_repr() -> None:
    auth = DigestAuth("ann", "secret")
    exchange = DigestExchange(auth, URI)
    exchange.take_response(refusal(challenge("MD5")))
    assert repr(auth) == "<DigestAuth: 'ann'>"
    assert "secret" not in repr((auth, exchange, auth._challenges))


@pytest.mark.parametrize(
    ("name", "password", "message"),
    [
        ("a\n", "secret", r"user name 'a\n' has control characters"),
        ("a\ud800", "secret", r"user name 'a\ud800' has lone surrogates"),
        ("a", "secret\r\n", "the password has control characters"),
        ("a", "secret\ud800", "the password has lone surrogates"),
    ],
    ids=ascii,
)
def test_what_cannot_be_sent_is_rejected(name: str, password: str, message: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        DigestAuth(name, password)
    assert str(caught.value) == message
    assert "secret" not in "".join(traceback.format_exception_only(caught.value))
