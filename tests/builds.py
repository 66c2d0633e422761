"""Both builds of the package in one process: as it is installed, and once more from its sources."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Final, Protocol
from unittest import mock

import anyws
from anyws._core.masking import GrowingBuffer, GrowingText
from anyws._core.protocol import Protocol as WebSocketProtocol

__all__ = ["INSTALLED", "PURE_NAME", "Build", "Masking", "load_pure"]

#: The package that runs from its sources whatever lies beside them.
PURE_NAME: Final = "anyws_pure"


class Masking(Protocol):
    """What `masking.py` gives, compiled or not."""

    GrowingBuffer: type[GrowingBuffer]
    GrowingText: type[GrowingText]
    apply_mask: Callable[[bytes, bytes], bytes]
    join_frame: Callable[[bytes, bytes, bytes | None], bytes]
    unmask: Callable[[bytes, int, int], bytes]
    unmask_text: Callable[[bytes, int, int], str]


class Build:
    """What the comparison needs of a package."""

    def __init__(self, package: str) -> None:
        self.name = package
        self.masking: Masking = import_module(f"{package}._core.masking")
        self.new_protocol: type[WebSocketProtocol] = import_module(
            f"{package}._core.protocol"
        ).Protocol

    def __repr__(self) -> str:
        return self.name


INSTALLED: Final = Build("anyws")


def load_pure(name: str = PURE_NAME) -> Build:
    """Load the package from its sources, under a name of its own; once for each name."""
    if name not in sys.modules:
        # Its own `_build` sees to its submodules, then and later.
        with mock.patch.dict(os.environ, ANYWS_PURE_PYTHON="1"):
            _load(name)
    return Build(name)


def _load(name: str) -> None:
    """Import `anyws` again as a package of this name."""
    spec = spec_from_file_location(
        name, anyws.__file__, submodule_search_locations=list(anyws.__path__)
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
