"""The inputs that are kept, in `tests/fuzz/corpus`: one file for a target, one input to a line.

A line is the literal of bytes in Python, so that a change can be read, and a failing input pasted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["CORPUS", "load", "save"]

#: Where the files are.
CORPUS: Final = Path(__file__).with_name("corpus")


def load(name: str) -> list[bytes]:
    """Return the inputs of a target, none if it has no file yet."""
    path = CORPUS / f"{name}.txt"
    if not path.exists():
        return []
    inputs: list[bytes] = [ast.literal_eval(line) for line in path.read_text("ascii").splitlines()]
    return inputs


def save(name: str, inputs: Iterable[bytes]) -> int:
    """Keep these inputs of a target, and no others, the shortest first; return how many."""
    lines = [repr(data) for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), "ascii")
    return len(lines)
