"""`python -m tests.fuzz.guided`: look for inputs that reach new code, target by target.

It needs atheris, which watches what of the sources is run, and changes the inputs of the corpus
accordingly. An input that fails is printed, and the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from . import corpus

__all__ = ["Result", "main"]

_ROOT: Final = Path(__file__).parents[2]

# What is watched: ours, and those who parse for us.
_WATCHED: Final = ["anyws", "email", "h11", "http", "idna"]

# 120 s for one input: most take less than a millisecond, but the machine may be busy with others.
_TIMEOUT: Final = 120

_DONE: Final = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+)")
_HEADINGS: Final = f"{'target':12}{'executions':>12}{'CPU s':>8}{'corpus':>8}{'edges':>8}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of fuzzing one target.

    Attributes:
        name: of the target.
        executions: how often it was called.
        cpu_seconds: that took.
        inputs: of the corpus, once those that reach nothing of their own were left out.
        edges: of the code, from line to line, that the corpus reaches.
        failure: the traceback and the input, if one failed.
    """

    name: str
    executions: int
    cpu_seconds: float
    inputs: Sequence[bytes]
    edges: int
    failure: str | None

    def __str__(self) -> str:
        figures = f"{self.name:12}{self.executions:12}{self.cpu_seconds:8.0f}"
        return f"{figures}{len(self.inputs):8}{self.edges:8}"


def fuzz(name: str, seconds: int) -> Result:
    """Fuzz a target for so long, beginning with its corpus."""
    with TemporaryDirectory(prefix="anyws-fuzz-") as temporary:
        found, least = Path(temporary, "found"), Path(temporary, "least")
        failing = Path(temporary, "failing")
        for directory in (found, least, failing):
            directory.mkdir()
        for i, data in enumerate(corpus.load(name)):
            (found / str(i)).write_bytes(data)
        began = os.times()
        limits = [f"-max_total_time={seconds}", f"-artifact_prefix={failing}/"]
        said = _run(name, [*limits, str(found)])
        ended = os.times()
        inputs = [path.read_bytes() for path in failing.iterdir()]
        failure = None
        if inputs or not _DONE.search(said):
            failure = "\n".join([_interesting(said), *map(repr, inputs)])
        merged = _run(name, ["-merge=1", str(least), str(found)])
        edges = [int(match[2]) for match in _DONE.finditer(merged)]
        counts = [int(match) for match in re.findall(r"number_of_executed_units: (\d+)", said)]
        return Result(
            name,
            max(counts, default=0),
            _of_children(ended) - _of_children(began),
            [path.read_bytes() for path in least.iterdir()],
            max(edges, default=0),
            failure,
        )


def _of_children(times: os.times_result) -> float:
    return times.children_user + times.children_system


def _run(name: str, options: Sequence[str]) -> str:
    """Run a process that fuzzes; return what it said."""
    command = [*_child(name), *options]
    environment = {**os.environ, "ANYWS_PURE_PYTHON": "1"}
    finished = subprocess.run(
        command,
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return finished.stdout.decode(errors="replace")


def _child(name: str) -> list[str]:
    return [sys.executable, "-m", __spec__.name, "--child", name]


def _interesting(said: str) -> str:
    """Return what there is from the traceback on, or else the end."""
    at = said.find("=== Uncaught Python exception")
    return said[at:] if at >= 0 else said[-4000:]


def _be_child(name: str, options: Sequence[str]) -> None:
    """Fuzz in this process, which ends with it."""
    atheris = import_module("atheris")
    _find_sources_first()
    with atheris.instrument_imports(include=_WATCHED):
        target = import_module(".targets", __package__).TARGETS[name]
    # As in the tests: a warning is a fault.
    warnings.simplefilter("error")
    with TemporaryDirectory(prefix="anyws-fuzz-") as temporary:
        words = Path(temporary, "words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        # libFuzzer hands its first argument, and the others, to a shell to run itself again.
        arguments = [shlex.join(_child(name)), f"-max_len={target.max_bytes}", f"-dict={words}"]
        arguments += [
            "-print_final_stats=1",
            f"-timeout={_TIMEOUT}",
            f"-report_slow_units={_TIMEOUT}",
            *options,
        ]
        atheris.Setup(arguments, target.run)
        atheris.Fuzz()


def _find_sources_first() -> None:
    """Have the package find its sources before atheris looks at what was found."""
    name = "anyws._build"
    spec = spec_from_file_location(name, _ROOT / "anyws" / "_build.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--child"]:
        _be_child(arguments[1], arguments[2:])
    from .targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each; default: 60")
    parser.add_argument("--save", action="store_true", help="keep the inputs in the corpus")
    options = parser.parse_args(arguments)
    if not set(options.targets) <= set(TARGETS):
        parser.error(f"targets are {', '.join(TARGETS)}")
    if find_spec("atheris") is None:
        parser.error("it needs atheris: pip install --group fuzz")
    results = []
    print(_HEADINGS, flush=True)
    for name in options.targets or TARGETS:
        result = fuzz(name, options.seconds)
        results.append(result)
        print(result, flush=True)
        if result.failure is not None:
            print(result.failure, flush=True)
        if options.save:
            corpus.save(name, result.inputs)
    print(f"{sum(r.cpu_seconds for r in results):.0f} CPU seconds in all")
    return 1 if any(r.failure is not None for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
