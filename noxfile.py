"""The project's tasks: `nox -s NAME`; what follows `--` is passed on."""

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"
# pip, because its configuration says where packages come from; uv has one of its own.
nox.options.default_venv_backend = "virtualenv"

PYTHONS = ("3.11", "3.12", "3.13")
COVERAGE_FLOOR = 97

# They wait for what others' programs do, and have sessions: see `frontends`, `proxies`, `browser`.
OWN_SESSION = ("--ignore=tests/frontends", "--ignore=tests/proxies", "--ignore=tests/browser")

# Programs in processes of their own, whose coverage nobody measures: `tests` runs them.
PROGRAMS = ("--ignore=tests/test_examples.py", "--ignore=tests/test_tutorial.py")

# A process for each core. What follows `--` comes later, so that `-n0` keeps it to one.
IN_PARALLEL = ("--numprocesses=auto", "--dist=worksteal")

# What passes through the compiled modules. Tests of memory and time would measure the sanitizers.
SANITIZED = (
    "tests/_core",
    "tests/_io",
    "tests/fuzz",
    "tests/simulation",
    "tests/test_compression.py",
    "tests/test_connection.py",
    "tests/test_connection_close.py",
    "tests/test_connection_receive.py",
    "tests/test_connection_send.py",
    "tests/test_keepalive.py",
    "tests/test_streams.py",
    "--deselect=tests/_core/test_protocol.py::test_a_million_empty_fragments_keep_memory_flat",
)

FAIL_UNLESS_COMPILED = """
import sys
from anyws._build import COMPILED, describe
sys.exit(None if COMPILED else f"ANYWS_REQUIRE_COMPILED=1, but this build is {describe()}")
"""

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """Return the requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def install_with_tests(session: nox.Session) -> None:
    """Install the checkout with every backend, compiled if it can be, and what the tests need."""
    session.install("-e", ".[trio,uvloop,routing,socks,cli]", *group("test"))


def install_sources(session: nox.Session, extras: str, *requirements: str) -> None:
    """Install the checkout to be run, or read, as it is; compiling takes half a minute."""
    session.install("-e", f".[{extras}]", *requirements, env={"CC": "false"})
    session.env["ANYWS_PURE_PYTHON"] = "1"


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on asyncio, uvloop and trio, compiled where there is a compiler."""
    install_with_tests(session)
    session.run("python", "-m", "anyws", "--version")
    if os.environ.get("ANYWS_REQUIRE_COMPILED") == "1":
        session.run("python", "-c", FAIL_UNLESS_COMPILED)
    session.run("pytest", *OWN_SESSION, *IN_PARALLEL, *session.posargs)


@nox.session
def pure(session: nox.Session) -> None:
    """Run the tests on what is not compiled, recording branch coverage."""
    install_sources(session, "trio,uvloop,routing,socks,cli", *group("test"))
    session.run("python", "-m", "anyws", "--version")
    session.run("coverage", "erase")
    left_out = (*OWN_SESSION, *PROGRAMS)
    session.run("coverage", "run", "-m", "pytest", *left_out, *IN_PARALLEL, *session.posargs)


for python in PYTHONS:
    # `tests` takes the Python that runs nox; `tests-3.12` asks for that one.
    nox.session(tests.func, python=python, name=f"tests-{python}", default=False)


# What is compiled does not tell which of its lines are run.
@nox.session(requires=["pure"])
def coverage(session: nox.Session) -> None:
    """Run the tests, then print what they covered; fail below the floor."""
    session.install(*(line for line in group("test") if line.startswith("coverage")))
    session.run("coverage", "combine")
    session.run("coverage", "report", f"--fail-under={COVERAGE_FLOOR}")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, and that every public name has one."""
    install_sources(session, "trio,uvloop,routing,socks,cli", *group("test"), *group("types"))
    session.run("mypy", "--strict")
    session.run("pyright", "--verifytypes", "anyws", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, also as plain text; a warning, or a broken link, is an error."""
    install_sources(session, "trio,routing", *group("docs"))
    html, text = "docs/_build/html", "docs/_build/text"
    build = ("sphinx-build", "-W", "--keep-going", "-q")
    session.run(*build, "-b", "html", "docs", html)
    session.run(*build, "-b", "text", "docs", text)
    session.run("python", "docs/llms.py", text, html)
    session.run("python", "docs/check_links.py", html)


@nox.session
def autobahn(session: nox.Session) -> None:
    """Run the Autobahn test suite against the server and the client (needs a Python 2.7)."""
    install_with_tests(session)
    session.run("python", "-m", "tests.autobahn.run", *session.posargs)


@nox.session
def interop(session: nox.Session) -> None:
    """Run the matrix of compression against other libraries (needs Node.js, and npm once)."""
    install_with_tests(session)
    for backend in ("trio", "asyncio", "uvloop"):
        session.run("python", "-m", "tests.interop.deflate", "--backend", backend, *session.posargs)


@nox.session
def frontends(session: nox.Session) -> None:
    """Run the tests behind nginx and HAProxy; one that is not installed is left out."""
    install_sources(session, "trio,uvloop", *group("test"))
    session.run("pytest", "tests/frontends", *session.posargs)


@nox.session
def proxies(session: nox.Session) -> None:
    """Run the tests through proxies that others wrote; one that is not installed is left out."""
    install_sources(session, "trio,uvloop,socks", *group("test"), *group("proxies"))
    session.run("pytest", "tests/proxies", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Run the tests with Chromium; without it, they are left out."""
    install_sources(session, "trio,uvloop", *group("test"))
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run the property tests with many examples, or with what follows `--`.

    Without that, ten million frames go through both builds too, a million sequences of frames
    through wsproto beside the core, and each target is fuzzed for ten minutes.
    """
    install_with_tests(session)
    # With many examples one test may take longer than any other is given before it counts as hung.
    many = ["--hypothesis-profile=fuzz", "-o", "faulthandler_timeout=3600"]
    session.run("pytest", "tests/fuzz", *(session.posargs or many))
    if not session.posargs:
        session.run("python", "-m", "tests.fuzz.builds", "--frames", "10_000_000")
        session.run("python", "-m", "tests.fuzz.differential", "--sequences", "1_000_000")
        session.install(*group("fuzz"))
        session.run("python", "-m", "tests.fuzz.guided", "--seconds", "600")


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Run tests and the corpora on a build that watches memory and arithmetic (gcc, Linux).

    In a copy of the checkout: what is compiled here belongs to the other sessions.
    """
    copy = Path(session.create_tmp()) / "checkout"
    shutil.rmtree(copy, ignore_errors=True)
    left_out = shutil.ignore_patterns(".*", "*.so", "*.c", "build", "_build", "*.egg-info")
    shutil.copytree(Path(__file__).parent, copy, ignore=left_out)
    session.chdir(copy)
    watch = "-fsanitize=address,undefined"
    flags = f"{watch} -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1"
    extras = ".[trio,uvloop,routing,socks,cli]"
    session.install("-e", extras, *group("test"), env={"CFLAGS": flags, "LDFLAGS": watch})
    libraries = [
        subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        # Before the interpreter's own: it was not built so.
        "LD_PRELOAD": ":".join(libraries),
        # One block for each object, with guards around it.
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    session.run("python", "-c", FAIL_UNLESS_COMPILED, env=environment)
    session.run("pytest", *IN_PARALLEL, *(session.posargs or SANITIZED), env=environment)


@nox.session
def hostile(session: nox.Session) -> None:
    """Run the test of each advisory, and measure what each flood of a hostile peer costs."""
    install_with_tests(session)
    session.run("python", "-m", "tests.hostile")
    session.run("python", "-m", "tests.hostile", "floods", *session.posargs)


@nox.session
def simulation(session: nox.Session) -> None:
    """Run 200,000 simulated lifetimes, or as what follows `--` says, and find the planted bugs."""
    install_with_tests(session)
    arguments = session.posargs or ["--lifetimes", "200_000"]
    session.run("python", "-m", "tests.simulation", *arguments)
    session.run("python", "-m", "tests.simulation", "plant")


@nox.session
def faults(session: nox.Session) -> None:
    """Bring about every fault of the network and of peers; without root, some are left out."""
    install_with_tests(session)
    session.run("python", "-m", "tests.faults", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run the soak for an hour in all, or as what follows `--` says."""
    install_with_tests(session)
    session.run(
        "python", "-m", "tests.endurance", "soak", *(session.posargs or ["--seconds", "1200"])
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed and memory beside the peers."""
    install_with_tests(session)
    session.run("python", "-m", "tests.bench", *session.posargs)
