"""Masking, and keys that nobody can guess and none of which is used twice."""

from __future__ import annotations

import os
import random as random_module
import runpy
import subprocess
import sys
import textwrap
import threading

import pytest

from anyws._core import masking
from anyws._core.masking import (
    GrowingBuffer,
    GrowingText,
    Masking,
    MaskSource,
    apply_mask,
    join_frame,
    mask_source,
    turn_mask,
    unmask,
    unmask_text,
)

from .wire import MASK, masked

# Around every length at which the work changes its shape.
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 125, 126, 399, 400, 401, 402, 403, 404, 4099)


class CountedRandom:
    """Stands in for the operating system's random source: distinct words of four bytes."""

    def __init__(self) -> None:
        self.words = 0
        self.calls = 0

    def __call__(self, n: int) -> bytes:
        assert n % 4 == 0
        first = self.words
        self.words += n // 4
        self.calls += 1
        return b"".join(word.to_bytes(4, "big") for word in range(first, self.words))


@pytest.fixture
def random(monkeypatch: pytest.MonkeyPatch) -> CountedRandom:
    """Put a source that never repeats itself in the place of `os.urandom`."""
    source = CountedRandom()
    monkeypatch.setattr(os, "urandom", source)
    return source


@pytest.mark.parametrize("n", SIZES)
def test_octet_i_is_xored_with_octet_i_mod_4_of_the_mask(n: int) -> None:
    payload = bytes((i * 7 + 3) & 0xFF for i in range(n))
    assert apply_mask(payload, MASK) == masked(payload, MASK)


@pytest.mark.parametrize("n", SIZES)
def test_masking_twice_gives_the_payload_again(n: int) -> None:
    payload = bytes((i * 5 + 1) & 0xFF for i in range(n))
    assert apply_mask(apply_mask(payload, MASK), MASK) == payload


@pytest.mark.parametrize("n", SIZES)
def test_mask_of_zeros_changes_nothing(n: int) -> None:
    assert apply_mask(bytes(n), bytes(4)) == bytes(n)


def test_example_of_the_rfc_is_masked() -> None:
    # §5.7
    assert apply_mask(b"Hello", MASK) == bytes.fromhex("7f9f4d5158")


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("start", [4, 5, 11])
def test_payload_is_unmasked_with_the_key_before_it(n: int, start: int) -> None:
    payload = bytes((i * 7 + 3) & 0x7F for i in range(n))
    data = bytes(start - 4) + MASK + masked(payload, MASK) + b"behind"
    assert unmask(data, start, start + n) == payload
    assert unmask_text(data, start, start + n) == payload.decode()


def test_text_that_is_not_utf8_is_an_error() -> None:
    for n in (1, 5000):
        with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
            unmask_text(MASK + masked(b"\xff" * n, MASK), 4, 4 + n)


@pytest.mark.parametrize("n", SIZES)
def test_frame_is_joined_from_its_header_and_its_payload(n: int) -> None:
    payload = bytes((i * 7 + 3) & 0xFF for i in range(n))
    assert join_frame(b"header", payload, None) == b"header" + payload
    assert join_frame(b"header", payload, MASK) == b"header" + masked(payload, MASK)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1000])
def test_slices_are_masked_as_the_whole_is(size: int) -> None:
    payload = bytes((i * 7 + 3) & 0xFF for i in range(4099))
    masking, plain = Masking(MASK), Masking(None)
    slices = [payload[at : at + size] for at in range(0, len(payload), size)]
    assert b"".join(map(masking.apply, slices)) == masked(payload, MASK)
    assert b"".join(map(plain.apply, slices)) == payload


def test_mask_turns_with_the_bytes_before() -> None:
    assert [turn_mask(b"abcd", n) for n in range(6)] == [
        b"abcd",
        b"bcda",
        b"cdab",
        b"dabc",
        b"abcd",
        b"bcda",
    ]
    assert turn_mask(b"", 3) == b""


def test_buffer_takes_what_is_appended_and_what_is_put_into_its_room() -> None:
    rng = random_module.Random(1)
    for mask in (b"", MASK):
        buffer = GrowingBuffer()
        expected = b""
        for _ in range(200):
            piece = rng.randbytes(rng.choice((0, 1, 5, 1000, 70_000)))
            if not piece or rng.random() < 0.5:
                buffer.append(b"<" + piece + b">", 1, 1 + len(piece), mask, 2 * len(piece))
            else:
                with buffer.room(len(piece), 10 * len(piece)) as room:
                    assert len(room) == len(piece)
                    filled = rng.randrange(len(piece) + 1)
                    room[:filled] = piece[:filled]
                piece = piece[:filled]
                buffer.filled(filled, mask)
            expected += masked(piece, mask) if mask else piece
            assert len(buffer) == len(expected)
        assert buffer.take() == expected
        assert (len(buffer), buffer.take()) == (0, b"")


@pytest.mark.parametrize("kinds", ["a", "aé", "aé世", "aé世🌍", "🌍a", "世é"])
def test_text_grows_by_pieces_of_any_width(kinds: str) -> None:
    text, expected = GrowingText(), ""
    for n, character in enumerate(character for character in kinds for _ in range(50)):
        piece = character * (n % 40) * 100
        text.append(piece, n * len(piece))
        expected += piece
    assert text.take() == expected
    assert text.take() == ""


def test_keys_come_from_the_operating_system_each_once(random: CountedRandom) -> None:
    source = MaskSource()
    keys = [source.next() for _ in range(5000)]
    assert all(len(key) == 4 for key in keys)
    assert len(set(keys)) == 5000
    assert {int.from_bytes(key, "big") for key in keys} <= set(range(random.words))


def test_most_keys_cost_no_system_call(random: CountedRandom) -> None:
    source = MaskSource()
    for _ in range(2560):
        source.next()
    assert random.calls == 10


def test_forgotten_keys_are_never_given(random: CountedRandom) -> None:
    source = MaskSource()
    source.next()
    known = random.words
    source.forget()
    assert int.from_bytes(source.next(), "big") >= known


def test_no_two_threads_get_the_same_key(
    random: CountedRandom, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()

    def urandom(n: int) -> bytes:
        with lock:
            return random(n)

    monkeypatch.setattr(os, "urandom", urandom)
    source = MaskSource()
    taken: list[bytes] = []

    def take() -> None:
        taken.extend([source.next() for _ in range(5000)])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(set(taken)) == len(taken) == 20_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_keys_are_forgotten_after_a_fork() -> None:
    # In a process of its own: this one may have threads, which a fork does not agree with.
    program = """
        import os
        from anyws._core.masking import mask_source

        mask_source.next()
        ours, theirs = os.pipe()
        child = os.fork()
        keys = b"".join(mask_source.next() for _ in range(100))
        if not child:
            os.write(theirs, keys)
            os._exit(0)
        os.waitpid(child, 0)
        print(keys.hex(), os.read(ours, 1000).hex())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=True,
        capture_output=True,
        text=True,
    )
    ours, theirs = map(bytes.fromhex, done.stdout.split())
    assert len(ours) == len(theirs) == 400
    # 200 random words of 32 bits: that any two are alike by chance has odds of 1 to 200,000.
    words = {keys[at : at + 4] for keys in (ours, theirs) for at in range(0, 400, 4)}
    assert len(words) == 200


def test_module_loads_where_processes_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    loaded = runpy.run_path(masking.__file__)
    assert len(loaded["mask_source"].next()) == 4


def test_source_of_the_process_gives_four_bytes() -> None:
    assert len(mask_source.next()) == 4
