"""What `anyws` and `anyws.testing` give: every name, where it says it is from, the errors."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import resources
from types import ModuleType

import anyio
import pytest

import anyws
import anyws.sansio
import anyws.testing

# API.md's tree; each with its direct bases.
ERRORS: dict[str, tuple[type, ...]] = {
    "WebSocketError": (Exception,),
    "ConnectionClosed": (anyws.WebSocketError,),
    "ConnectionClosedOK": (anyws.ConnectionClosed, anyio.EndOfStream),
    "ConnectionClosedError": (anyws.ConnectionClosed, anyio.BrokenResourceError),
    "HandshakeError": (anyws.WebSocketError,),
    "InvalidURI": (anyws.HandshakeError, ValueError),
    "InvalidHandshake": (anyws.HandshakeError,),
    "NegotiationError": (anyws.InvalidHandshake,),
    "HandshakeRejected": (anyws.HandshakeError,),
    "TooManyRedirects": (anyws.HandshakeError,),
    "ProxyError": (anyws.HandshakeError,),
    "ProtocolError": (anyws.WebSocketError,),
    "LocalProtocolError": (anyws.ProtocolError,),
    "RemoteProtocolError": (anyws.ProtocolError,),
    "MessageTypeError": (anyws.WebSocketError, TypeError),
    "QueueFull": (anyws.WebSocketError, anyio.WouldBlock),
    "InvalidJSON": (anyws.WebSocketError, ValueError),
    "ConcurrencyError": (anyws.WebSocketError, anyio.BusyResourceError),
}

MODULES = (anyws, anyws.sansio, anyws.testing)

# A class that may be compiled, which says where it is.
COMPILED = anyws.sansio.Protocol

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
each_name = pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in MODULES for name in module.__all__]
)


def kind(name: str) -> int:
    """Order constants before classes before functions, as the import sorter does."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2


@each_name
def test_public_name_can_be_imported(module: ModuleType, name: str) -> None:
    assert getattr(module, name) is not None


@each_name
def test_public_name_does_not_begin_with_an_underscore(module: ModuleType, name: str) -> None:
    assert not name.startswith("_")


@each_name
def test_class_or_function_says_that_it_is_from_the_module_itself(
    module: ModuleType, name: str
) -> None:
    value = getattr(module, name)
    if (inspect.isclass(value) or inspect.isfunction(value)) and value is not COMPILED:
        assert value.__module__ == module.__name__


@each_name
def test_class_or_function_has_a_docstring(module: ModuleType, name: str) -> None:
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


@each_module
def test_public_names_are_sorted_and_come_once(module: ModuleType) -> None:
    names = module.__all__
    assert list(names) == sorted(set(names), key=lambda name: (kind(name), name))


@each_module
def test_star_gives_what_all_lists(module: ModuleType) -> None:
    names: dict[str, object] = {}
    exec(f"from {module.__name__} import *", names)
    assert names.keys() - {"__builtins__"} == set(module.__all__)


@each_module
def test_nothing_else_is_public(module: ModuleType) -> None:
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    # `annotations` is the future import.
    assert public - {"annotations"} == set(module.__all__)


def test_package_is_marked_as_typed() -> None:
    assert resources.files(anyws).joinpath("py.typed").is_file()


def test_tree_of_errors_is_the_documented_one() -> None:
    errors = {
        name: value.__bases__
        for name in anyws.__all__
        if inspect.isclass(value := getattr(anyws, name)) and issubclass(value, BaseException)
    }
    assert errors == ERRORS


@each_module
@pytest.mark.parametrize("name", ["trio", "uvloop", "werkzeug"])
def test_import_loads_nothing_that_is_optional(module: ModuleType, name: str) -> None:
    program = f"import sys, {module.__name__}; print({name!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
