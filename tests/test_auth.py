"""Basic authentication (RFC 7617), both sides."""

from __future__ import annotations

import base64
import inspect
import traceback
from collections.abc import Awaitable, Callable

import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from anyws import BasicAuth, Headers, LocalProtocolError, Request

from .timing import HOSTILE_SIZE, is_linear

ANN = BasicAuth("ann", "secret")
USERS = {"ann": "secret", "böb": "pässwörd ☃", "": "token", "eve": ""}


def encoded(pair: str | bytes) -> str:
    """Return the value of Authorization for a name and a password with a colon between."""
    data = pair.encode() if isinstance(pair, str) else pair
    return "Basic " + base64.b64encode(data).decode()


def request(*values: str) -> Request:
    """Return a request with these values of Authorization, as an HTTP parser passes them on."""
    return Request(
        "/", Headers.from_wire((b"Authorization", value.encode("iso-8859-1")) for value in values)
    )


def authenticated(auth: BasicAuth, *values: str) -> str | None:
    """Return who is found to have sent a request, where nothing has to be awaited."""
    found = auth.authenticate(request(*values))
    assert not isinstance(found, Awaitable)
    return found


def test_client_sends_what_the_rfc_says() -> None:
    # §2, §2.1
    assert (
        BasicAuth("Aladdin", "open sesame").header_value() == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    )
    assert BasicAuth("test", "123£").header_value() == "Basic dGVzdDoxMjPCow=="


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "secret"),
        ("", ""),
        ("a", ":b:"),
        ("é", "☃\U0001f600"),
        ("a b", "\\\"'"),
        ("a" * 999, "b"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_server_takes_what_a_client_sends(name: str, password: str) -> None:
    value = BasicAuth(name, password).header_value()
    assert authenticated(BasicAuth(name, password), value) == name
    assert authenticated(BasicAuth(users={"other": "a", name: password}), value) == name
    assert authenticated(BasicAuth(check=lambda *pair: pair == (name, password)), value) == name


@pytest.mark.parametrize(("name", "password"), USERS.items())
def test_each_user_has_a_password_of_its_own(name: str, password: str) -> None:
    auth = BasicAuth(users=USERS)
    # Twice: the first one prepares the comparison.
    for _ in range(2):
        assert authenticated(auth, encoded(f"{name}:{password}")) == name
    for other in {*USERS.values()} - {password}:
        assert authenticated(auth, encoded(f"{name}:{other}")) is None


WRONG_PAIRS = [
    "ann:",
    "ann:Secret",
    "ann:secret ",
    "ann:secre",
    "ann:secret\0",
    "ann:secret\n",
    "ann:secret:",
    "Ann:secret",
    "ann :secret",
    "annsecret:",
    "eve:secret",
    ":secret",
    ":",
    # That of an unknown user is compared with a digest of zeros.
    "unknown:" + "\0" * 32,
    "unknown:",
    "",
    "ann",
    "ann\0:secret",
    "ann\xe9:secret",
]


@pytest.mark.parametrize("pair", WRONG_PAIRS, ids=ascii)
def test_wrong_name_or_password_is_refused(pair: str) -> None:
    assert authenticated(ANN, encoded(pair)) is None
    assert authenticated(BasicAuth(users={"ann": "secret"}), encoded(pair)) is None


def test_without_users_nobody_is_let_in() -> None:
    assert authenticated(BasicAuth(users={}), encoded(":")) is None


def test_users_are_copied() -> None:
    users = {"ann": "secret"}
    auth = BasicAuth(users=users)
    users["ann"] = "other"
    assert authenticated(auth, encoded("ann:secret")) == "ann"


def test_characters_are_composed_before_they_are_compared() -> None:
    # §2.1: Normalization Form C, which is what clients send.
    composed, decomposed = "\xe9", "e\u0301"
    assert BasicAuth(decomposed, decomposed).header_value() == encoded(f"{composed}:{composed}")
    auth = BasicAuth(users={decomposed: decomposed})
    assert authenticated(auth, encoded(f"{composed}:{composed}")) == composed


RIGHT = encoded("ann:secret")


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_scheme_is_compared_without_regard_to_case(scheme: str) -> None:
    assert authenticated(ANN, RIGHT.replace("Basic", scheme)) == "ann"


def test_more_than_one_space_may_stand_before_the_credentials() -> None:
    # RFC 9110 §11.4
    assert authenticated(ANN, RIGHT.replace(" ", "   ")) == "ann"


MALFORMED = [
    (),
    (RIGHT, RIGHT),
    ("",),
    ("Basic",),
    ("Basic ",),
    (RIGHT[:-1],),
    (RIGHT + "=",),
    (RIGHT + " " + RIGHT,),
    (RIGHT + ", Bearer a",),
    (RIGHT.replace("Basic", "Bearer"),),
    (RIGHT.replace("Basic", "Digest"),),
    (RIGHT.replace("Basic ", "Basic"),),
    (RIGHT.replace("Basic ", "Basic\t"),),
    (RIGHT.replace("Basic ", ""),),
    ("Basic ann:secret",),
    ("Basic ====",),
    ("Basic \xe9",),
    ("Basic !" + RIGHT.removeprefix("Basic "),),
    (encoded(b"ann\xff:secret"),),
    (encoded(b"ann:secret\xff"),),
    (encoded(b"ann:\xed\xa0\x80"),),
    (encoded("ann:secret".encode("utf-16")),),
]


@pytest.mark.parametrize("values", MALFORMED, ids=ascii)
def test_what_cannot_be_read_is_refused(values: tuple[str, ...]) -> None:
    assert authenticated(ANN, *values) is None
    assert authenticated(BasicAuth(check=lambda name, password: True), *values) is None


@pytest.mark.parametrize("pair", ["a\0:b", "a:b\n", "a:\x7f", "a\t:b"], ids=ascii)
def test_function_never_sees_control_characters(pair: str) -> None:
    # §2
    assert authenticated(BasicAuth(check=lambda name, password: True), encoded(pair)) is None


@given(st.one_of(st.text(st.characters(max_codepoint=255)), st.binary().map(encoded)))
def test_any_header_is_refused_without_an_error(value: str) -> None:
    assert authenticated(ANN, value) is None


@pytest.mark.parametrize("text", ["A", "=", " ", "/", ":", "\xe9", "AA==", "Og=="], ids=ascii)
def test_hostile_header_is_read_in_linear_time(text: str) -> None:
    # R-C2
    hostile = request("Basic " + text * (HOSTILE_SIZE // len(text)))
    assert ANN.authenticate(hostile) is None
    assert is_linear(lambda: ANN.authenticate(hostile))


@pytest.mark.parametrize("text", [":", "a", "\u0301\u0316", "\u0316\u0301", "\u1100"], ids=ascii)
def test_hostile_password_is_compared_in_linear_time(text: str) -> None:
    hostile = request(encoded("ann:" + text * (HOSTILE_SIZE // len(text))))
    assert is_linear(lambda: ANN.authenticate(hostile))


# A function that checks


def secret_only(name: str, password: str) -> bool:
    return password == "secret"


async def secret_only_async(name: str, password: str) -> bool:
    await checkpoint()
    return password == "secret"


def secret_only_later(name: str, password: str) -> Awaitable[bool]:
    return secret_only_async(name, password)


def test_sync_function_is_asked_at_once() -> None:
    auth = BasicAuth(check=secret_only)
    assert authenticated(auth, encoded("ann:secret")) == "ann"
    assert authenticated(auth, encoded("ann:other")) is None


@pytest.mark.anyio
@pytest.mark.parametrize("check", [secret_only_async, secret_only_later])
async def test_async_function_is_awaited(check: Callable[[str, str], Awaitable[bool]]) -> None:
    auth = BasicAuth(check=check)
    for password, expected in (("secret", "ann"), ("other", None)):
        found = auth.authenticate(request(encoded(f"ann:{password}")))
        assert isinstance(found, Awaitable)
        assert inspect.isawaitable(found)
        assert await found == expected


def test_nothing_is_awaited_where_there_is_nothing_to_ask() -> None:
    assert authenticated(BasicAuth(check=secret_only_async), "Basic ?") is None


def fails(name: str, password: str) -> bool:
    raise LookupError(name)


async def fails_async(name: str, password: str) -> bool:
    await checkpoint()
    raise LookupError(name)


@pytest.mark.anyio
async def test_what_a_function_raises_is_raised() -> None:
    with pytest.raises(LookupError, match="ann"):
        BasicAuth(check=fails).authenticate(request(RIGHT))
    found = BasicAuth(check=fails_async).authenticate(request(RIGHT))
    assert isinstance(found, Awaitable)
    with pytest.raises(LookupError, match="ann"):
        await found


@pytest.mark.anyio
async def test_function_that_returns_no_bool_lets_nobody_in() -> None:
    async def forgets_to_await(name: str, password: str) -> object:
        await checkpoint()
        return secret_only

    with pytest.raises(TypeError, match=r"^check of BasicAuth returned str, expected a bool$"):
        BasicAuth(check=lambda name, password: name).authenticate(request(RIGHT))  # type: ignore[arg-type, return-value]
    found = BasicAuth(check=forgets_to_await).authenticate(request(RIGHT))  # type: ignore[arg-type]
    assert isinstance(found, Awaitable)
    with pytest.raises(TypeError, match=r"returned function, expected a bool$"):
        await found


# The challenge


def test_challenge_is_an_answer_with_401() -> None:
    # §2, §2.1
    response = ANN.challenge()
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="", charset="UTF-8"'
    assert response.headers["Connection"] == "close"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Length"] == str(len(response.body))
    assert b"Basic authentication" in response.body


@pytest.mark.parametrize(
    ("realm", "quoted"),
    [("staff only", '"staff only"'), ('a "b" \\', r'"a \"b\" \\"'), ("a, b=c", '"a, b=c"')],
)
def test_realm_is_quoted(realm: str, quoted: str) -> None:
    # RFC 9110 §5.6.4
    for auth in (BasicAuth("a", "b", realm=realm), BasicAuth(users={}, realm=realm)):
        challenge = auth.challenge().headers["WWW-Authenticate"]
        assert challenge == f'Basic realm={quoted}, charset="UTF-8"'


def test_challenges_are_independent() -> None:
    ANN.challenge().headers["WWW-Authenticate"] = "changed"
    assert ANN.challenge().headers["WWW-Authenticate"] != "changed"


# What an application may give


@pytest.mark.parametrize("realm", ["a\r\nX: b", "a\0", "a\tb", "é", "\x7f"], ids=ascii)
def test_realm_that_cannot_be_quoted_is_rejected(realm: str) -> None:
    with pytest.raises(LocalProtocolError, match="expected printable ASCII"):
        BasicAuth("a", "b", realm=realm)


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("a:b", "secret", "user name 'a:b' has a colon"),
        ("a\n", "secret", r"user name 'a\\n' has control characters"),
        ("a\ud800", "secret", r"user name 'a\\ud800' has lone surrogates"),
        ("a", "secret\r\n", "the password has control characters"),
        ("a", "secret\0", "the password has control characters"),
        ("a", "secret\x7f", "the password has control characters"),
        ("a", "secret\ud800", "the password has lone surrogates"),
    ],
    ids=ascii,
)
def test_wrong_name_or_password_is_rejected_without_showing_it(
    name: str, password: str, problem: str
) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{problem}") as caught:
        BasicAuth(name, password)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    with pytest.raises(LocalProtocolError, match=f"^{problem}"):
        BasicAuth(users={"b": "c", name: password})


@pytest.mark.parametrize(
    "make",
    [
        lambda: BasicAuth(),  # type: ignore[call-overload]
        lambda: BasicAuth("a"),  # type: ignore[call-overload]
        lambda: BasicAuth(password="a"),  # type: ignore[call-overload]
        lambda: BasicAuth("a", "b", users={}),  # type: ignore[call-overload]
        lambda: BasicAuth("a", "b", check=secret_only),  # type: ignore[call-overload]
        lambda: BasicAuth("a", users={}),  # type: ignore[call-overload]
        lambda: BasicAuth(users={}, check=secret_only),  # type: ignore[call-overload]
    ],
)
def test_it_is_made_in_one_of_three_ways(make: Callable[[], BasicAuth]) -> None:
    with pytest.raises(TypeError, match="takes a user name and a password, or users, or check"):
        make()


@pytest.mark.parametrize("auth", [BasicAuth(users={"a": "b"}), BasicAuth(check=secret_only)])
def test_client_needs_one_name_and_password(auth: BasicAuth) -> None:
    with pytest.raises(ValueError, match=r"give BasicAuth\(username, password\)$"):
        auth.header_value()


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        (ANN, "<BasicAuth: 'ann'>"),
        (BasicAuth(users=USERS), "<BasicAuth: 4 users>"),
        (BasicAuth(check=secret_only), "<BasicAuth: by a function>"),
    ],
)
def test_repr_shows_no_password(auth: BasicAuth, shown: str) -> None:
    assert repr(auth) == shown
