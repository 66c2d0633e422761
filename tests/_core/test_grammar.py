"""Tests of `anyws._core.grammar`: header fields that are lists (RFC 9110 §5.6, RFC 6455 §9.1)."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import NamedExtension
from anyws._core.grammar import (
    is_token,
    parse_challenges,
    parse_extensions,
    parse_parameters,
    quote_string,
    split_tokens,
)

from ..timing import HOSTILE_SIZE, is_linear

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_tokens_consist_of_token_characters() -> None:
    # RFC 9110 §5.6.2
    assert {chr(code) for code in range(512) if is_token("a" + chr(code))} == set(TOKEN_CHARACTERS)


def test_empty_text_is_no_token() -> None:
    assert not is_token("")


@pytest.mark.parametrize(
    ("values", "members"),
    [
        ([], []),
        ([""], []),
        (["a"], ["a"]),
        (["a,b"], ["a", "b"]),
        ([" a ,\tb\t", "c"], ["a", "b", "c"]),
        ([",, a ,,", " , "], ["a"]),
        (["keep-alive, Upgrade"], ["keep-alive", "Upgrade"]),
    ],
)
def test_comma_separated_values_are_split(values: list[str], members: list[str]) -> None:
    # RFC 9110 §5.6.1
    assert split_tokens(values) == members


def test_a_list_has_as_many_members_as_it_may_have() -> None:
    assert len(split_tokens(["a," * 255, "a"])) == 256
    with pytest.raises(ValueError, match=r"^257 members in a list, limit 256$"):
        split_tokens(["a," * 256, "a"])


HOSTILE = [",", " ", "a,", " ,\t", "a;", "a ;b ", "a=", 'a;b="', '\\"', 'a;b="c",', "a;b=c;", ";"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("start", ["", "a", 'a; b="'], ids=ascii)
def test_hostile_value_is_read_in_linear_time(start: str, text: str) -> None:
    # R-C2
    value = start + text * (HOSTILE_SIZE // len(text))

    def parse_both() -> None:
        for parse in (split_tokens, parse_extensions):
            with suppress(ValueError):
                parse([value])

    assert is_linear(parse_both)


@pytest.mark.parametrize(
    ("values", "extensions"),
    [
        ([], []),
        (["", " , "], []),
        (["foo"], [("foo", ())]),
        (["foo, bar"], [("foo", ()), ("bar", ())]),
        (["foo", "bar"], [("foo", ()), ("bar", ())]),
        ([",foo,,\tbar ,"], [("foo", ()), ("bar", ())]),
        (["foo; bar"], [("foo", (("bar", None),))]),
        (["foo;bar=1 ;\tbar = 2"], [("foo", (("bar", "1"), ("bar", "2")))]),
        (['foo; bar="1"'], [("foo", (("bar", "1"),))]),
        (['foo; bar="\\1\\2", x'], [("foo", (("bar", "12"),)), ("x", ())]),
    ],
    ids=str,
)
def test_extensions_are_parsed(
    values: list[str], extensions: list[tuple[str, tuple[tuple[str, str | None], ...]]]
) -> None:
    assert parse_extensions(values) == extensions


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (";", "name of an extension expected at ';'"),
        ("foo bar", "comma, or parameter of an extension, expected at 'bar'"),
        ("foo=1", "comma, or parameter of an extension, expected at '=1'"),
        ("foo;", "comma, or parameter of an extension, expected at ';'"),
        ("foo; a=", "comma, or parameter of an extension, expected at '='"),
        ('foo; a="', "comma, or parameter of an extension, expected at '=\"'"),
        ('foo; a=""', "value of parameter a is '', expected a token"),
        ('foo; a="b c"', "value of parameter a is 'b c', expected a token"),
        ('foo; a="b,c"', "value of parameter a is 'b,c', expected a token"),
        ("f\xe9", "comma, or parameter of an extension, expected at '\xe9'"),
        ("a," * 256 + "a", "more than 256 extensions and parameters"),
        ("a" + ";b" * 256, "more than 256 extensions and parameters"),
    ],
    ids=ascii,
)
def test_what_does_not_follow_the_grammar_is_told(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_extensions([value])


def test_as_many_extensions_as_there_may_be_are_parsed() -> None:
    assert len(parse_extensions(["a," * 255, "a"])) == 256
    assert len(parse_extensions(["a" + ";b" * 255])[0].parameters) == 255


tokens = st.text(sorted(TOKEN_CHARACTERS), min_size=1, max_size=5)
named = st.builds(
    NamedExtension,
    tokens,
    st.lists(st.tuples(tokens, tokens | st.none()), max_size=4).map(tuple),
)


@given(st.lists(named, max_size=4))
def test_what_is_written_is_read_again(extensions: list[NamedExtension]) -> None:
    assert parse_extensions([", ".join(map(str, extensions))]) == extensions
    assert parse_extensions(map(str, extensions)) == extensions


@pytest.mark.parametrize(
    ("value", "challenges"),
    [
        ("", []),
        (" , ,", []),
        ("Basic", [("basic", {})]),
        ("Negotiate, NTLM ,Basic", [("negotiate", {}), ("ntlm", {}), ("basic", {})]),
        ("Negotiate abc==, NTLM a/b", [("negotiate", None), ("ntlm", None)]),
        ("New a=", [("new", None)]),
        ("New a=b", [("new", {"a": "b"})]),
        ('New A = "b" , c\t=\td,,', [("new", {"a": "b", "c": "d"})]),
        ('New a="", b=" , New c="', [("new", {"a": "", "b": " , New c="})]),
        (r'New a="\"\\\b"', [("new", {"a": '"\\b'})]),
        ('New a="b", Basic realm="c"', [("new", {"a": "b"}), ("basic", {"realm": "c"})]),
        ("New a=b, A=c, Basic", [("new", None), ("basic", {})]),
        # What follows an error is left out, with that which it is in.
        ("=", []),
        ('"Basic"', []),
        ("New a=b c=d", []),
        ('New a="b', []),
        ('Basic, New a="b', [("basic", {})]),
        ("Basic, New a=b; c=d, Other", [("basic", {})]),
    ],
    ids=ascii,
)
def test_challenges_are_split(value: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    # RFC 9110 §11.6.1
    assert parse_challenges(value) == challenges


def test_challenges_are_read_as_far_as_there_may_be_some() -> None:
    assert len(parse_challenges("a," * 256)) == 256
    assert len(parse_challenges("a," * 257)) == 256
    parameters = [f"a{n}=b" for n in range(257)]
    (found,) = parse_challenges("New " + ",".join(parameters[:256]))
    assert found[1] is not None
    assert len(found[1]) == 256
    assert parse_challenges("Basic, New " + ",".join(parameters)) == [("basic", {})]
    assert parse_parameters(",".join(parameters)) == {}


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        ("", {}),
        ('A="b", c=d', {"a": "b", "c": "d"}),
        ("a=b, a=c", {}),
        ("a=b, c", {}),
        ('a=b, c="', {}),
        ("New a=b", {}),
    ],
    ids=ascii,
)
def test_parameters_are_read(value: str, parameters: dict[str, str]) -> None:
    # RFC 9110 §11.6.3
    assert parse_parameters(value) == parameters


@given(st.dictionaries(tokens.map(str.lower), st.text(), max_size=4))
def test_quoted_strings_are_read_again(parameters: dict[str, str]) -> None:
    value = ", ".join(f"{name}={quote_string(text)}" for name, text in parameters.items())
    assert parse_parameters(value) == parameters
    assert parse_challenges(f"New {value}, Basic") == [("new", parameters), ("basic", {})]
