"""Imports go one way, as the layout of the package says; checked on the source, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import anyws

PACKAGE = Path(anyws.__file__).parent

# From the bottom to the top: a module imports from its own layer and from those below it.
LAYERS = (
    ("anyws._build", "anyws._logging", "anyws._options", "anyws._stats"),
    ("anyws._errors",),
    ("anyws._json", "anyws._payload", "anyws._retry"),
    ("anyws._core", "anyws._io"),
    ("anyws._auth", "anyws._cookies", "anyws._digest", "anyws._message_path"),
    ("anyws._close_scope", "anyws._keepalive", "anyws._outlet", "anyws._streams"),
    ("anyws._byte_stream",),
    ("anyws._connection",),
    ("anyws._broadcast",),
    ("anyws._lifetime",),
    ("anyws._tasks",),
    ("anyws._accepting",),
    ("anyws._server_connection",),
    ("anyws._admission",),
    ("anyws._answer",),
    ("anyws._accept",),
    ("anyws._entrance",),
    ("anyws._handlers",),
    ("anyws._visit",),
    ("anyws._proxy",),
    ("anyws._socks",),
    ("anyws._tunnel",),
    ("anyws._client", "anyws._server"),
    ("anyws._reconnect", "anyws._router"),
    ("anyws",),
    ("anyws.sansio", "anyws.testing"),
    ("anyws._cli",),
    ("anyws.__main__",),
)

# What waits, talks to the outside or logs has no place in the core.
NOT_IN_CORE = {
    "anyio",
    "asyncio",
    "logging",
    "select",
    "selectors",
    "sniffio",
    "socket",
    "ssl",
    "threading",
    "time",
    "trio",
    "uvloop",
}


def module_name(path: Path) -> str:
    """Return the name by which a file of the package is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, name: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield what a module imports at run time, absolute; a member of a module by its own name."""
    package = name if is_package else name.rpartition(".")[0]
    for node in run_time_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], base]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree without what is there for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for otherwise in child.orelse:
                yield otherwise
                yield from run_time_nodes(otherwise)
        else:
            yield child
            yield from run_time_nodes(child)


def is_within(name: str, package: str) -> bool:
    """Say whether a module, or a member of one, belongs to a package or module."""
    return name == package or name.startswith(package + ".")


def layer(name: str) -> int:
    """Return the layer of a module, or of a member of one."""
    within = [
        (package, i)
        for i, packages in enumerate(LAYERS)
        for package in packages
        if is_within(name, package)
    ]
    assert within, f"{name} is in no layer"
    # The innermost one: `anyws.testing` is in `anyws` too.
    return max(within, key=lambda found: len(found[0]))[1]


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
IMPORTS = {
    name: sorted(set(imports(path.read_text("utf-8"), name, is_package=path.name == "__init__.py")))
    for name, path in FILES.items()
}

each_module = pytest.mark.parametrize("name", FILES)
each_module_of_core = pytest.mark.parametrize(
    "name", [name for name in FILES if is_within(name, "anyws._core")]
)
each_module_of_io = pytest.mark.parametrize(
    "name", [name for name in FILES if is_within(name, "anyws._io")]
)


@each_module
def test_imports_go_downwards(name: str) -> None:
    upwards = [
        imported
        for imported in IMPORTS[name]
        if is_within(imported, "anyws") and layer(imported) > layer(name)
    ]
    assert upwards == []


def test_no_module_imports_itself_in_a_circle() -> None:
    # A name is a module, or else a member of one.
    ours = {
        name: {i if i in FILES else i.rpartition(".")[0] for i in IMPORTS[name]} & FILES.keys()
        for name in FILES
    }
    while leaves := [name for name, needed in ours.items() if not needed]:
        for leaf in leaves:
            del ours[leaf]
        ours = {name: needed.difference(leaves) for name, needed in ours.items()}
    assert ours == {}


@pytest.mark.parametrize(
    "name", ["anyws._build", "anyws._logging", "anyws._options", "anyws._stats"]
)
def test_bottom_imports_nothing_of_ours(name: str) -> None:
    assert [imported for imported in IMPORTS[name] if is_within(imported, "anyws")] == []


@each_module_of_core
def test_core_does_no_io(name: str) -> None:
    assert {imported.partition(".")[0] for imported in IMPORTS[name]} & NOT_IN_CORE == set()


@each_module_of_core
def test_core_imports_nothing_of_ours_but_itself_and_the_errors(name: str) -> None:
    allowed = ("anyws._core", "anyws._errors")
    assert [
        imported
        for imported in IMPORTS[name]
        if is_within(imported, "anyws") and not any(is_within(imported, own) for own in allowed)
    ] == []


@each_module_of_io
def test_io_knows_no_websocket(name: str) -> None:
    forbidden = ("anyws._core", "h11")
    assert [
        imported
        for imported in IMPORTS[name]
        if any(is_within(imported, package) for package in forbidden)
    ] == []


@pytest.mark.parametrize("module", ["_faults", "_frames", "_head", "_memory", "_peer"])
def test_raw_peer_shares_no_code_with_what_it_tests(module: str) -> None:
    name = f"anyws.testing.{module}"
    assert [
        imported
        for imported in IMPORTS[name]
        if is_within(imported, "anyws") and not is_within(imported, "anyws.testing")
    ] == []


@pytest.mark.parametrize("name", [name for name in FILES if is_within(name, "anyws._cli")])
def test_command_line_uses_what_is_public(name: str) -> None:
    # Which build it is, and the escaping of what a peer says, of which there shall be one.
    allowed = ("anyws._cli", "anyws._build.describe", "anyws._logging.escaped")
    assert [
        imported
        for imported in IMPORTS[name]
        if is_within(imported, "anyws")
        and imported.removeprefix("anyws.") not in anyws.__all__
        and not any(is_within(imported, own) for own in allowed)
    ] == []


def test_only_one_module_knows_h11() -> None:
    users = [
        name for name, imported in IMPORTS.items() if any(is_within(i, "h11") for i in imported)
    ]
    assert users == ["anyws._core.h11_http1"]


def test_only_the_router_knows_werkzeug() -> None:
    users = [
        name
        for name, imported in IMPORTS.items()
        if any(is_within(i, "werkzeug") for i in imported)
    ]
    assert users == ["anyws._router"]


def test_only_the_prompt_knows_prompt_toolkit() -> None:
    users = [
        name
        for name, imported in IMPORTS.items()
        if any(is_within(i, "prompt_toolkit") for i in imported)
    ]
    assert users == ["anyws._cli.prompt"]


def async_generators(source: str) -> list[str]:
    """Return the names of the async generator functions in a module."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AsyncFunctionDef) and any(map(is_yield, own_nodes(node)))
    ]


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Walk a function without those that are defined within it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from own_nodes(child)


def is_yield(node: ast.AST) -> bool:
    return isinstance(node, ast.Yield)


@each_module
def test_there_is_no_async_generator(name: str) -> None:
    # R-A6a: one that is left early holds what is in it until the garbage collector comes.
    assert async_generators(FILES[name].read_text("utf-8")) == []


# The checks themselves


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import socket", ["socket"]),
        ("import asyncio.tasks as tasks", ["asyncio.tasks"]),
        ("from logging import getLogger, DEBUG", ["logging.getLogger", "logging.DEBUG"]),
        ("from . import frames", ["anyws._core.frames"]),
        ("from .frames import Opcode", ["anyws._core.frames.Opcode"]),
        ("from .._io.dial import dial", ["anyws._io.dial.dial"]),
        ("from .. import connect", ["anyws.connect"]),
        ("def f():\n    import trio", ["trio"]),
        ("if TYPE_CHECKING:\n    import trio", []),
        ("if typing.TYPE_CHECKING:\n    import trio\nelse:\n    import ssl", ["ssl"]),
        ("try:\n    import trio\nexcept ImportError:\n    pass", ["trio"]),
    ],
)
def test_imports_are_found(source: str, expected: list[str]) -> None:
    assert list(imports(source, "anyws._core.protocol")) == expected


def test_imports_of_a_package_are_found() -> None:
    assert list(imports("from . import frames", "anyws._core", is_package=True)) == [
        "anyws._core.frames"
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("async def f():\n    yield", ["f"]),
        ("class C:\n    async def f(self):\n        async with a:\n            yield 1", ["f"]),
        ("async def f():\n    await g()", []),
        ("def f():\n    yield", []),
        ("async def f():\n    def g():\n        yield\n    h = lambda: (yield)", []),
    ],
)
def test_async_generators_are_found(source: str, expected: list[str]) -> None:
    assert async_generators(source) == expected
