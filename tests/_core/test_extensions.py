"""How two sides agree on extensions, and what one does unless it says more (RFC 6455 §9)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pytest

from anyws import LocalProtocolError, NamedExtension, NegotiationError
from anyws._core.extensions import (
    Extension,
    ExtensionCodec,
    agree_extensions,
    check_extensions,
    new_codecs,
    offer_extensions,
    select_extensions,
)
from anyws._core.grammar import ExtensionParameters

NONE: ExtensionParameters = ()


class Plain(Extension):
    """An extension that says nothing of its own but its name and its reserved bits."""

    def __init__(self, name: str = "x-plain", rsv: int = 0) -> None:
        self.name = name
        self.rsv = rsv

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        return ExtensionCodec()


class Choosy(Plain):
    """An extension that takes some parameters only, and answers with others."""

    def __init__(
        self, *takes: ExtensionParameters, answer: ExtensionParameters = NONE, rsv: int = 0
    ) -> None:
        super().__init__("x-choosy", rsv)
        self.takes = takes
        self.answer = answer
        self.asked: list[ExtensionParameters] = []

    def offers(self) -> Iterable[ExtensionParameters]:
        return self.takes

    def accept(self, offered: ExtensionParameters) -> ExtensionParameters | None:
        self.asked.append(offered)
        return self.answer if offered in self.takes else None

    def check_answer(self, chosen: ExtensionParameters) -> None:
        self.asked.append(chosen)
        if chosen not in self.takes:
            raise NegotiationError(f"choosy about {NamedExtension(self.name, chosen)}")


class Both(Extension, ExtensionCodec):
    """An extension that works on messages itself."""

    name = "x-both"
    rsv = 1

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        return self


def named(name: str, *parameters: tuple[str, str | None]) -> NamedExtension:
    return NamedExtension(name, parameters)


A, B = (("a", None),), (("b", "1"),)


# What an extension is unless it says more


def test_codec_as_it_stands_changes_nothing() -> None:
    codec = ExtensionCodec()
    assert codec.begin_message(text=True, size=None, compress=None) == 0
    assert codec.begin_message(text=False, size=5, compress=False) == 0
    assert codec.encode(b"data", flush=False, final=False) == b"data"
    assert codec.encode(b"", flush=True, final=True) == b""
    codec.cancel_message()
    codec.begin_receiving(text=False, rsv=0b101)
    assert list(codec.decode(b"data", final=False)) == [b"data"]
    assert list(codec.decode(b"", final=True)) == [b""]


@pytest.mark.parametrize("size", [0, 1, 125, 1 << 20])
def test_codec_as_it_stands_may_double_a_message(size: int) -> None:
    assert ExtensionCodec().largest_encoded(size) == 2 * size + 1024


def test_extension_as_it_stands_has_no_parameters_and_no_reserved_bits() -> None:
    extension = Plain()
    assert Extension.rsv == 0
    assert list(extension.offers()) == [()]
    assert extension.accept(()) == ()
    assert extension.accept(A) is None
    extension.check_answer(())


def test_extension_as_it_stands_refuses_parameters_in_the_answer() -> None:
    message = "the server answered x-plain; a; b=1, which was not offered"
    with pytest.raises(NegotiationError, match=f"^{re.escape(message)}$"):
        Plain().check_answer(A + B)


def test_extension_without_a_codec_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="codec"):
        Extension()  # type: ignore[abstract]  # the point of it


# What an application may pass


@pytest.mark.parametrize(
    "extensions",
    [(), [Plain()], (Plain(), Both()), [Plain(rsv=0), Plain(rsv=7)]],
    ids=["none", "one", "two", "same name twice"],
)
def test_extensions_are_checked_and_kept_in_order(extensions: Sequence[Extension]) -> None:
    assert check_extensions(extensions) == tuple(extensions)


def test_extensions_of_a_generator_are_kept() -> None:
    one, two = Plain("x-one"), Plain("x-two")
    assert check_extensions(e for e in (one, two)) == (one, two)  # type: ignore[arg-type]  # callers without types do it


@pytest.mark.parametrize(
    "extension",
    ["permessage-deflate", None, Plain, ExtensionCodec(), NamedExtension("x")],
    ids=["str", "None", "class", "codec", "NamedExtension"],
)
def test_what_is_no_extension_is_rejected(extension: object) -> None:
    message = f"extension {extension!r} is not an Extension"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        check_extensions([Plain(), extension])  # type: ignore[list-item]  # the point of it


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a;b", "é", 'x"', "a\n"], ids=ascii)
def test_name_that_is_no_token_is_rejected(name: str) -> None:
    message = f"extension {name!r} is not a token (RFC 6455 §9.1)"
    with pytest.raises(LocalProtocolError, match=f"^{re.escape(message)}$"):
        check_extensions([Plain(name)])


@pytest.mark.parametrize("rsv", [-1, 8, 0x40])
def test_reserved_bits_that_do_not_exist_are_rejected(rsv: int) -> None:
    message = f"rsv of extension x-plain is {rsv}, expected 0 to 7"
    with pytest.raises(LocalProtocolError, match=f"^{message}$"):
        check_extensions([Plain(rsv=rsv)])


@pytest.mark.parametrize("rsv", range(8))
def test_every_sum_of_the_reserved_bits_is_taken(rsv: int) -> None:
    assert check_extensions([Plain(rsv=rsv)])


# What a client offers


@pytest.mark.parametrize(
    ("extensions", "value"),
    [
        ([], ""),
        ([Plain()], "x-plain"),
        ([Choosy(A + B, NONE)], "x-choosy; a; b=1, x-choosy"),
        ([Choosy(A), Plain(), Both()], "x-choosy; a, x-plain, x-both"),
        ([Both(), Choosy()], "x-both"),
        ([Plain(), Plain()], "x-plain, x-plain"),
    ],
    ids=["nothing", "one", "two offers", "in order", "no offer at all", "same name twice"],
)
def test_offers_are_listed_in_order(extensions: Sequence[Extension], value: str) -> None:
    assert offer_extensions(extensions) == value


# What a server chooses


def test_nothing_is_chosen_from_nothing() -> None:
    assert select_extensions([], []) == []
    assert select_extensions([Plain()], []) == []
    assert select_extensions([], [named("x-plain")]) == []
    assert select_extensions([Plain()], [named("x-other")]) == []


def test_extensions_are_chosen_in_the_order_of_the_server() -> None:
    plain, both = Plain(), Both()
    offered = [named("x-other"), named("x-both"), named("x-plain")]
    assert select_extensions([plain, both], offered) == [
        (plain, named("x-plain")),
        (both, named("x-both")),
    ]


def test_first_offer_that_is_taken_counts() -> None:
    choosy = Choosy(B, NONE, answer=A)
    offered = [named("x-choosy", *A), named("x-other"), named("x-choosy", *B), named("x-choosy")]
    assert select_extensions([choosy], offered) == [(choosy, named("x-choosy", *A))]
    assert choosy.asked == [A, B]


def test_extension_that_takes_no_offer_is_left_out() -> None:
    choosy, plain = Choosy(B), Plain()
    offered = [named("x-choosy"), named("x-plain")]
    assert select_extensions([choosy, plain], offered) == [(plain, named("x-plain"))]


def test_extension_of_a_name_that_is_taken_is_left_out() -> None:
    first, second = Plain(), Plain()
    offered = [named("x-plain"), named("x-plain")]
    (chosen,) = select_extensions([first, second], offered)
    assert chosen[0] is first


def test_extension_of_the_same_name_may_take_what_the_first_did_not() -> None:
    first, second = Choosy(A), Choosy(NONE)
    (chosen,) = select_extensions([first, second], [named("x-choosy")])
    assert chosen[0] is second


@pytest.mark.parametrize(
    ("bits", "chosen"),
    [
        ((4, 4), [0]),
        ((4, 2, 4, 1), [0, 1, 3]),
        ((6, 3, 1), [0, 2]),
        ((0, 7, 0, 1), [0, 1, 2]),
    ],
    ids=str,
)
def test_of_extensions_with_a_reserved_bit_in_common_the_first_is_chosen(
    bits: tuple[int, ...], chosen: list[int]
) -> None:
    extensions = [Plain(f"x-{i}", rsv) for i, rsv in enumerate(bits)]
    # Whatever the client likes best.
    offered = [named(e.name) for e in reversed(extensions)]
    selected = select_extensions(extensions, offered)
    assert [extensions.index(extension) for extension, _ in selected] == chosen  # type: ignore[arg-type]  # all are Plain


def test_extension_that_is_declined_takes_no_reserved_bits() -> None:
    choosy, plain = Choosy(A, rsv=4), Plain(rsv=4)
    offered = [named("x-choosy"), named("x-plain")]
    assert select_extensions([choosy, plain], offered) == [(plain, named("x-plain"))]


# What a client makes of the answer


def test_answer_without_extensions_is_agreed_on() -> None:
    assert agree_extensions([], []) == []
    assert agree_extensions([Plain(), Both()], []) == []


def test_extensions_are_agreed_on_in_the_order_of_the_answer() -> None:
    choosy, both = Choosy(A), Both()
    answered = [named("x-both"), named("x-choosy", *A)]
    assert agree_extensions([choosy, both], answered) == [
        (both, answered[0]),
        (choosy, answered[1]),
    ]


def test_first_extension_of_a_name_that_takes_the_answer_is_agreed_on() -> None:
    extensions = [Choosy(A), Choosy(NONE), Choosy(NONE, B)]
    for answer, at in ((A, 0), (NONE, 1), (B, 2)):
        ((chosen, _),) = agree_extensions(extensions, [named("x-choosy", *answer)])
        assert chosen is extensions[at]


@pytest.mark.parametrize(
    ("extensions", "answered", "message"),
    [
        (
            [],
            [named("x-plain")],
            "the server chose an extension that was not offered: x-plain",
        ),
        (
            [Plain()],
            [named("x-plain"), named("X-Plain", *A)],
            "the server chose an extension that was not offered: X-Plain; a",
        ),
        ([Plain()], [named("x-plain")] * 2, "the server chose x-plain twice"),
        ([Plain(), Plain()], [named("x-plain")] * 2, "the server chose x-plain twice"),
        (
            [Plain("x-one", 6), Both(), Plain("x-two", 2)],
            [named("x-two"), named("x-both"), named("x-one")],
            "the server chose x-two and x-one, which use the same reserved bits",
        ),
        (
            [Plain()],
            [named("x-plain", *B)],
            "the server answered x-plain; b=1, which was not offered",
        ),
        ([Choosy(A)], [named("x-choosy")], "choosy about x-choosy"),
        ([Choosy(A), Choosy(B)], [named("x-choosy")], "choosy about x-choosy"),
    ],
    ids=[
        "not offered",
        "other case",
        "twice",
        "twice offered, twice chosen",
        "same bits",
        "parameters",
        "refused",
        "refused by both",
    ],
)
def test_answer_that_does_not_fit_is_refused(
    extensions: Sequence[Extension], answered: Sequence[NamedExtension], message: str
) -> None:
    with pytest.raises(NegotiationError, match=f"^{re.escape(message)}$"):
        agree_extensions(extensions, answered)


@pytest.mark.parametrize(
    ("other_bits", "conflict"), [(4, False), (2, True)], ids=["of the other", "of the one taken"]
)
def test_reserved_bits_are_those_of_the_extension_that_takes_the_answer(
    other_bits: int, conflict: bool
) -> None:
    # Two of one name, with bits of their own; the answer fits the second one.
    taken = Choosy(B, rsv=2)
    extensions = [Plain("x-other", other_bits), Choosy(A, rsv=4), taken]
    answered = [named("x-other"), named("x-choosy", *B)]
    if conflict:
        with pytest.raises(NegotiationError, match="which use the same reserved bits"):
            agree_extensions(extensions, answered)
    else:
        assert agree_extensions(extensions, answered)[1][0] is taken


# What works on messages then


class Recording(Plain):
    """An extension that keeps what its codecs were asked for."""

    def __init__(self) -> None:
        super().__init__("x-recording", 2)
        self.asked: list[tuple[ExtensionParameters, bool]] = []

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        self.asked.append((agreed, is_client))
        return ExtensionCodec()


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
def test_codecs_are_made_for_what_was_agreed_on(is_client: bool) -> None:
    recording, both = Recording(), Both()
    agreed = [(recording, named("x-recording", *A)), (both, named("x-both"))]
    (first, codec), second = new_codecs(agreed, is_client=is_client)
    assert first == 2
    assert type(codec) is ExtensionCodec
    assert second == (1, both)
    assert recording.asked == [(A, is_client)]


def test_each_connection_has_codecs_of_its_own() -> None:
    plain = Plain()
    agreed = [(plain, named("x-plain"))]
    assert new_codecs(agreed, is_client=True)[0][1] is not new_codecs(agreed, is_client=True)[0][1]


def test_nothing_agreed_on_makes_no_codecs() -> None:
    assert new_codecs([], is_client=True) == []


def test_class_that_is_both_is_offered_chosen_and_agreed_on() -> None:
    both = Both()
    extensions = check_extensions([both])
    assert offer_extensions(extensions) == "x-both"
    selected = select_extensions(extensions, [named("x-both")])
    agreed = agree_extensions(extensions, [answer for _, answer in selected])
    assert new_codecs(agreed, is_client=True) == [(1, both)]
