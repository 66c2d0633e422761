"""Extensions: their interface, and how two sides agree on them (RFC 6455 §9).

Owns the negotiation and what an extension may do to messages. It must not know any particular
extension, nor frames beyond their reserved bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence

from .._errors import LocalProtocolError, NegotiationError
from .grammar import ExtensionParameters, NamedExtension, is_token

__all__ = [
    "Extension",
    "ExtensionCodec",
    "agree_extensions",
    "check_extensions",
    "new_codecs",
    "offer_extensions",
    "select_extensions",
]

# §5.2: RSV1 to RSV3, as `rsv` of an extension has them.
_RESERVED_BITS = 0b111


class ExtensionCodec:
    """What an extension does to the messages of one connection.

    There is one for each connection; messages of one direction come one after another. As it
    stands it changes nothing: an extension overrides what it needs. None of it may block.
    """

    __slots__ = ()

    # Sending

    def begin_message(self, *, text: bool, size: int | None, compress: bool | None) -> int | None:
        """Begin a message that is to be sent.

        Args:
            text: the kind of message.
            size: of the message, in bytes or, for a long text, in characters; None if it is sent
                in fragments.
            compress: what `send` was told; None leaves it to the extension.

        Returns:
            The reserved bits to set in its first frame (4 is RSV1, 2 is RSV2, 1 is RSV3), out of
            those of the extension; None to leave this message alone, where nothing else of this
            class is called for it. Without reserved bits the peer cannot tell the one from the
            other.
        """
        return 0

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        """Encode the next piece of the message that has begun.

        Args:
            data: a piece of the payload, maybe empty.
            flush: the peer must be able to decode all of `data` by what is returned.
            final: the message ends with it; `flush` is True then.
        """
        return data

    def same_encoding(self) -> Hashable | None:
        """Return what two codecs have in common that encode every message alike.

        A message to many connections is encoded once for those that return the same. None, as it
        stands, is for one that shares nothing: because what it sends depends on the messages
        before, for instance.
        """
        return None

    def cancel_message(self) -> None:
        """Forget the message that has begun: nothing of it was sent, nor will be."""

    # Receiving

    def begin_receiving(self, *, text: bool, rsv: int) -> None:
        """Begin a message of the peer.

        It is called for a message whose first frame has any of the extension's reserved bits set;
        if the extension has none, for every message.

        Args:
            text: the kind of message.
            rsv: the reserved bits that are set, those of other extensions too.
        """

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        """Decode the next piece of the payload, cut wherever bytes happened to arrive.

        What is returned is iterated over only as far as the limits of the connection allow, and
        in steps with other work in between: yield pieces of at most 64 KiB, and do no more work
        than that before the next one, which may be empty.

        Args:
            data: the next bytes; unmasked.
            final: the message ends with them.

        Raises:
            ValueError: the peer sent what cannot be decoded: the connection is failed with 1007.
        """
        return (data,)

    def largest_encoded(self, size: int) -> int:
        """Return how many bytes a message of `size` can take on the wire at most.

        More than that for `max_size` fails the connection, whatever it decodes to; with 16 bytes
        more for each fragment.
        """
        return 2 * size + 1024


class Extension(ABC):
    """An extension to be offered and accepted (RFC 6455 §9).

    One object may serve any number of connections; what a connection needs of its own is in the
    `ExtensionCodec` that `codec` returns. A class may be both.

    Attributes:
        name: the registered name, a token.
        rsv: the reserved bits that it uses in the first frame of a message: 4 is RSV1, 2 is RSV2,
            1 is RSV3, and any sum of them. Two extensions with a bit in common cannot be in use
            on one connection.
    """

    name: str
    rsv: int = 0

    def offers(self) -> Iterable[ExtensionParameters]:
        """Return what a client offers: the parameters of each offer, the best one first."""
        return ((),)

    def accept(self, offered: ExtensionParameters) -> ExtensionParameters | None:
        """Answer one offer of a client: the parameters to agree on, or None to decline it."""
        return None if offered else ()

    def check_answer(self, chosen: ExtensionParameters) -> None:
        """Check what the server has made of the offers.

        Raises:
            NegotiationError: it fits none of them, or cannot be fulfilled.
        """
        if chosen:
            answer = NamedExtension(self.name, chosen)
            raise NegotiationError(f"the server answered {answer}, which was not offered")

    @abstractmethod
    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        """Return what works on the messages of one connection, for the parameters agreed on."""


def check_extensions(extensions: Sequence[Extension]) -> tuple[Extension, ...]:
    """Check the extensions that an application wants to be offered, or accepted.

    Raises:
        TypeError: one of them is not an `Extension`.
        LocalProtocolError: a name that is no token, or reserved bits that do not exist.
    """
    extensions = tuple(extensions)
    for extension in extensions:
        if not isinstance(extension, Extension):
            raise TypeError(f"extension {extension!r} is not an Extension")
        if not is_token(extension.name):
            raise LocalProtocolError(f"extension {extension.name!r} is not a token (RFC 6455 §9.1)")
        if not 0 <= extension.rsv <= _RESERVED_BITS:
            raise LocalProtocolError(
                f"rsv of extension {extension.name} is {extension.rsv}, expected 0 to 7"
            )
    return extensions


def offer_extensions(extensions: Sequence[Extension]) -> str:
    """Return the value of a client's Sec-WebSocket-Extensions (§9.1), empty if there is none."""
    return ", ".join(
        str(NamedExtension(extension.name, parameters))
        for extension in extensions
        for parameters in extension.offers()
    )


def select_extensions(
    extensions: Sequence[Extension], offered: Sequence[NamedExtension]
) -> list[tuple[Extension, NamedExtension]]:
    """Choose from a client's offers (§4.2.2): each extension once, the first offer that it takes.

    Of two extensions with a reserved bit in common the first one is taken.
    """
    selected: list[tuple[Extension, NamedExtension]] = []
    names: set[str] = set()
    taken = 0
    for extension in extensions:
        if extension.name in names or extension.rsv & taken:
            continue
        for name, parameters in offered:
            answer = extension.accept(parameters) if name == extension.name else None
            if answer is not None:
                selected.append((extension, NamedExtension(name, answer)))
                names.add(name)
                taken |= extension.rsv
                break
    return selected


def agree_extensions(
    extensions: Sequence[Extension], answered: Sequence[NamedExtension]
) -> list[tuple[Extension, NamedExtension]]:
    """Match a server's answer to what was offered (§4.1).

    Raises:
        NegotiationError: an extension that was not offered, one that comes twice, two that use
            the same reserved bits, or parameters that do not fit.
    """
    agreed: list[tuple[Extension, NamedExtension]] = []
    for answer in answered:
        candidates = [extension for extension in extensions if extension.name == answer.name]
        if not candidates:
            raise NegotiationError(f"the server chose an extension that was not offered: {answer}")
        extension = _first_that_fits(candidates, answer)
        for other, _ in agreed:
            if other.name == answer.name:
                raise NegotiationError(f"the server chose {answer.name} twice")
            if other.rsv & extension.rsv:
                raise NegotiationError(
                    f"the server chose {other.name} and {answer.name}, "
                    "which use the same reserved bits"
                )
        agreed.append((extension, answer))
    return agreed


def new_codecs(
    agreed: Sequence[tuple[Extension, NamedExtension]], *, is_client: bool
) -> list[tuple[int, ExtensionCodec]]:
    """Return the reserved bits of each extension, and what it does to one connection's messages."""
    return [
        (extension.rsv, extension.codec(named.parameters, is_client=is_client))
        for extension, named in agreed
    ]


def _first_that_fits(candidates: Sequence[Extension], answer: NamedExtension) -> Extension:
    """Return the first of an application's extensions of one name that takes the answer."""
    for candidate in candidates[:-1]:
        try:
            candidate.check_answer(answer.parameters)
        except NegotiationError:
            continue
        return candidate
    candidates[-1].check_answer(answer.parameters)
    return candidates[-1]
