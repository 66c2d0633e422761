"""Find `wstest`, the command of the Autobahn test suite, or install it.

The suite runs on Python 2.7 only. This file knows where such a command may be and how to
make one inside the cache directory; it knows nothing about running cases.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

REQUIREMENT = "autobahntestsuite"
# The last releases of virtualenv that run on Python 2.7 and that seed it with a pip for 2.7.
VIRTUALENV_REQUIREMENT = "virtualenv<20.16"
PYTHON2_CHECK = "import ssl, sys; assert sys.version_info[:2] == (2, 7)"
PROBE_TIMEOUT = 30.0
INSTALL_TIMEOUT = 600.0

ADVICE = f"""\
wstest, the command of the Autobahn test suite, was not found. One of these gives it:
  - name it with --wstest PATH or the environment variable WSTEST;
  - put it on PATH;
  - install Python 2.7, as python2.7 on PATH or with pyenv ("pyenv install 2.7.18"),
    and run this again: it then runs "pip install {REQUIREMENT}" in a virtual environment."""


class WstestNotFound(Exception):
    """No usable `wstest` exists and none could be installed; the message says what to do."""


def find_wstest(given: Path | None, *, cache: Path) -> Path:
    """Return a `wstest` that starts: given, from WSTEST, from PATH, cached or installed.

    Args:
        given: the path that the user named, which is then the only one tried.
        cache: directory that holds the virtual environment; created if needed.

    Raises:
        WstestNotFound: there is none and none could be installed.
    """
    named = given or _path_from_environment()
    if named is not None:
        if not _starts([str(named.absolute()), "--autobahnversion"]):
            raise WstestNotFound(f"{named} does not run as wstest\n{ADVICE}")
        return named.absolute()
    for candidate in _on_path("wstest"):
        if _starts([str(candidate), "--autobahnversion"]):
            return candidate
    environment = cache / "py27"
    installed = environment / "bin" / "wstest"
    if not _starts([str(installed), "--autobahnversion"]):
        _install(environment, cache=cache)
    return installed


def find_python2() -> Path | None:
    """Return a Python 2.7 interpreter that starts, or None."""
    for candidate in _python2_candidates():
        # A pyenv shim is on PATH even when no version is selected, and then fails.
        if _starts([str(candidate), "-c", PYTHON2_CHECK]):
            return candidate
    return None


def _install(environment: Path, *, cache: Path) -> None:
    python2 = find_python2()
    if python2 is None:
        raise WstestNotFound(ADVICE)
    print(f"installing {REQUIREMENT} for {python2} in {environment}", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    try:
        variables = _virtualenv_variables(python2, cache / "virtualenv")
        _run([str(python2), "-m", "virtualenv", str(environment)], variables)
        _run([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", REQUIREMENT])
        _run([str(environment / "bin" / "wstest"), "--autobahnversion"])
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(environment, ignore_errors=True)
        raise WstestNotFound(f"{_explain(error)}\n{ADVICE}") from error


def _virtualenv_variables(python2: Path, target: Path) -> dict[str, str]:
    """Return the environment in which `python2 -m virtualenv` works, installing it if needed."""
    if _starts([str(python2), "-m", "virtualenv", "--version"]):
        return dict(os.environ)
    # Into a directory of the cache: the interpreter itself stays as it is.
    shutil.rmtree(target, ignore_errors=True)
    command = [str(python2), "-m", "pip", "install", "--quiet", "--target", str(target)]
    _run([*command, VIRTUALENV_REQUIREMENT])
    return {**os.environ, "PYTHONPATH": str(target)}


def _path_from_environment() -> Path | None:
    value = os.environ.get("WSTEST")
    return Path(value) if value else None


def _on_path(name: str) -> Iterator[Path]:
    found = shutil.which(name)
    if found is not None:
        yield Path(found)


def _python2_candidates() -> Iterator[Path]:
    yield from _on_path("python2.7")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/2.7*/bin/python2.7"), reverse=True)


def _starts(command: list[str]) -> bool:
    try:
        _run(command, timeout=PROBE_TIMEOUT)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


def _run(
    command: list[str],
    variables: dict[str, str] | None = None,
    *,
    timeout: float = INSTALL_TIMEOUT,
) -> None:
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env=variables,
    )


def _explain(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError) and error.stdout:
        return f"{error}\n{error.stdout.strip()[-2000:]}"
    return str(error)
