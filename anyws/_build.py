"""Which of its two builds the package runs as: compiled by Cython, or from its sources.

Imported before every other module of the package. It knows the others by name only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from types import ModuleType

__all__ = ["COMPILED", "EXTENSIONS", "describe"]

#: The modules that Cython compiles, as pyproject.toml lists them.
EXTENSIONS = (
    "_core._speedups",
    "_core.protocol",
    "_io.epoll_set",
    "_io.transport",
    "_io.socket_transport",
    "_io.asyncio_transport",
    "_message_path",
)

_PACKAGE = __name__.rpartition(".")[0]


class _SourcesOnly:
    """Finds modules as source files, and says that there are none where there is no source.

    Args:
        names: the modules to find; for any other the next finder is asked.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._names:
            return None
        for folder in path or ():
            found = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)
            if found is not None:
                return found
        raise ModuleNotFoundError(f"{name} has no source, and only sources are run", name=name)


def describe() -> str:
    """Say which build this is: "compiled by Cython 3.2.0", for instance, or "pure Python".

    Where only some modules were compiled, none of which is run, it names those that were not.
    """
    if COMPILED:
        speedups = import_module(f"{_PACKAGE}.{EXTENSIONS[0]}")
        return f"compiled by Cython {speedups.cython_version}"
    if _PURE_IS_ASKED_FOR or len(_MISSING) == len(EXTENSIONS):
        return "pure Python"
    return f"pure Python, since these are not compiled: {', '.join(_MISSING)}"


def _is_compiled(name: str) -> bool:
    """Say whether there is an extension for this Python beside the sources."""
    place = os.path.join(os.path.dirname(__file__), *name.split("."))
    return any(os.path.exists(place + suffix) for suffix in EXTENSION_SUFFIXES)


_PURE_IS_ASKED_FOR = os.environ.get("ANYWS_PURE_PYTHON", "0") not in ("", "0")

_MISSING = [name for name in EXTENSIONS if not _is_compiled(name)]

#: Whether what Cython compiles runs compiled: all of it does, or none.
COMPILED: bool = not (_MISSING or _PURE_IS_ASKED_FOR)

# Classes that are compiled build on each other in C, and cannot be imported if a base is not: the
# first module that a compiler fails on takes the others with it.
if not COMPILED and len(_MISSING) < len(EXTENSIONS):
    sys.meta_path.insert(0, _SourcesOnly([f"{_PACKAGE}.{name}" for name in EXTENSIONS]))
