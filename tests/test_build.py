"""Which build runs: the compiled one if it is there as a whole and no other is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from anyws import _build
from anyws._build import COMPILED, EXTENSIONS, describe

from .builds import PURE_NAME, load_pure

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = Path(_build.__file__)
SUFFIX: Final = EXTENSION_SUFFIXES[0]
WITHOUT_SOURCE: Final = "_core._speedups"


def loaders(package: str) -> dict[str, type]:
    """Return how the modules that could be compiled were loaded, those that are in use."""
    return {
        name: type(spec.loader)
        for name in EXTENSIONS
        if (module := sys.modules.get(f"{package}.{name}")) is not None
        and (spec := module.__spec__) is not None
    }


def test_extensions_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    modules = project["tool"]["setuptools"]["ext-modules"]
    assert sorted(f"anyws.{name}" for name in EXTENSIONS) == sorted(
        module["name"] for module in modules
    )
    assert all(module["optional"] for module in modules)


def test_modules_run_as_the_build_says() -> None:
    found = loaders("anyws")
    assert "_core.protocol" in found
    assert set(found.values()) == {ExtensionFileLoader if COMPILED else SourceFileLoader}
    assert (WITHOUT_SOURCE in found) is COMPILED
    assert describe().startswith("compiled by Cython 3." if COMPILED else "pure Python")


def test_sources_can_be_loaded_beside_it() -> None:
    load_pure()
    found = loaders(PURE_NAME)
    assert "_core.protocol" in found
    assert set(found.values()) == {SourceFileLoader}
    assert sys.modules[f"{PURE_NAME}._build"].describe() == "pure Python"


@pytest.mark.parametrize(
    ("setting", "pure"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_environment_asks_for_the_sources(setting: str, pure: bool) -> None:
    as_built = described_with({})
    assert described_with({"ANYWS_PURE_PYTHON": setting}) == ("pure Python" if pure else as_built)


def described_with(settings: dict[str, str]) -> str:
    """Return what the package says of itself in a process with these settings."""
    environment = {name: os.environ[name] for name in os.environ if name != "ANYWS_PURE_PYTHON"}
    done = subprocess.run(
        [sys.executable, "-c", "import anyws; print(anyws._build.describe())"],
        env=environment | settings,
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return done.stdout.strip()


# Builds that are not this one


class Package:
    """A package on disk with our `_build`, each of its modules as a source unless it has none.

    What stands for compiled modules are empty files: they are looked for, never loaded.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._folder = folder / name
        for module in EXTENSIONS:
            place = self._place(module, ".py")
            place.parent.mkdir(parents=True, exist_ok=True)
            if module != WITHOUT_SOURCE:
                place.touch()
        for package in {self._folder, *(place.parent for place in self._folder.rglob("*.py"))}:
            (package / "__init__.py").touch()

    def _place(self, module: str, suffix: str) -> Path:
        return self._folder.joinpath(*module.split(".")).with_suffix(suffix)

    def compile(self, *modules: str) -> None:
        for module in modules:
            self._place(module, SUFFIX).touch()

    def start(self) -> ModuleType:
        """Run our `_build` as that of this package."""
        build = ModuleType(f"{self.name}._build")
        build.__file__ = str(self._folder / "_build.py")
        exec(compile(SOURCE.read_text("utf-8"), SOURCE, "exec"), vars(build))
        return build

    def load(self, module: str) -> type:
        """Import a module, and say which kind of loader it has come by."""
        spec = import_module(f"{self.name}.{module}").__spec__
        assert spec is not None
        return type(spec.loader)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Package:
    """Return a package that can be imported during this test."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path.copy())
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.delenv("ANYWS_PURE_PYTHON", raising=False)
    return Package(tmp_path, "built_otherwise")


def test_package_without_a_compiler_is_pure_python(package: Package) -> None:
    finders = sys.meta_path.copy()
    build = package.start()
    assert not build.COMPILED
    assert build.describe() == "pure Python"
    assert sys.meta_path == finders


def test_package_with_all_modules_compiled_runs_them(package: Package) -> None:
    package.compile(*EXTENSIONS)
    finders = sys.meta_path.copy()
    build = package.start()
    speedups = ModuleType(f"{package.name}.{WITHOUT_SOURCE}")
    vars(speedups)["cython_version"] = "3.9.1"
    sys.modules[speedups.__name__] = speedups
    assert build.COMPILED
    assert build.describe() == "compiled by Cython 3.9.1"
    assert sys.meta_path == finders


def test_package_with_some_modules_compiled_runs_none_and_names_the_others(
    package: Package,
) -> None:
    package.compile(
        *(name for name in EXTENSIONS if name not in ("_core.protocol", "_io.epoll_set"))
    )
    build = package.start()
    assert not build.COMPILED
    assert (
        build.describe()
        == "pure Python, since these are not compiled: _core.protocol, _io.epoll_set"
    )
    assert package.load("_message_path") is SourceFileLoader


def test_package_that_is_compiled_runs_from_its_sources_if_asked_to(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYWS_PURE_PYTHON", "1")
    package.compile(*EXTENSIONS)
    build = package.start()
    assert not build.COMPILED
    assert build.describe() == "pure Python"
    for module in EXTENSIONS:
        if module != WITHOUT_SOURCE:
            assert package.load(module) is SourceFileLoader
    with pytest.raises(ModuleNotFoundError, match="has no source"):
        package.load(WITHOUT_SOURCE)
