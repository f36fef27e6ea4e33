"""The command line: `slimwave COMMAND [--config FILE.yaml] [--group.name VALUE ...] [--json]`.

This file knows the commands' names, how a run ends, and nothing heavy: torch and scikit-fem are
imported by the command that needs them, so that `slimwave --help` answers at once.

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

import difflib
import importlib
import json
import math
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


@dataclass(frozen=True)
class Command:
    """One subcommand: what it does, its configuration class, and a call that works."""

    summary: str
    config: str
    example: str


COMMANDS = {
    "generate": Command(
        "solve random scenarios by finite elements and write a dataset",
        "slimwave.data.settings:GenerateConfig",
        "slimwave generate --output runs/data --seed 0 --medium.correlation_length 0.1",
    ),
    "check": Command(
        "validate a dataset: layout, checksums, physics",
        "slimwave.config:CheckConfig",
        "slimwave check runs/data",
    ),
    "show": Command(
        "draw a dataset: a contact sheet and an animation",
        "slimwave.config:ShowConfig",
        "slimwave show runs/data",
    ),
    "export": Command(
        "copy a dataset into another layout: pdebench",
        "slimwave.config:ExportConfig",
        "slimwave export runs/data --output runs/pdebench --format pdebench",
    ),
    "train": Command(
        "train a surrogate, full or one-way",
        "slimwave.surrogates.training_settings:TrainConfig",
        "slimwave train --data runs/data --output runs/one_way --network.conv cp --network.rank 16",
    ),
    "prune": Command(
        "prune a trained surrogate by SAP, guided by the PQ Index",
        "slimwave.surrogates.pruning_settings:PruneConfig",
        "slimwave prune --model runs/one_way --data runs/data --output runs/pruned --rounds 4",
    ),
    "rollout": Command(
        "forecast from a dataset's trajectory or from your own initial field",
        "slimwave.surrogates.rollout_settings:RolloutConfig",
        "slimwave rollout --model runs/one_way --data runs/data --output runs/rollout --steps 60",
    ),
    "compare": Command(
        "table and report: surrogates, persistence and the FE solver at equal error",
        "slimwave.surrogates.comparison_settings:CompareConfig",
        "slimwave compare --data runs/data --models '{full: runs/full}' --output runs/compare",
    ),
    "demo": Command(
        "all of the above on a small real problem, ending in a report",
        "slimwave.demo:DemoConfig",
        "slimwave demo --quick",
    ),
}


class Terminated(BaseException):
    """The process was asked to end (SIGTERM): work stops as on Ctrl-C, and nothing is left half-written."""


class UsageError(ValueError):
    """A command line that cannot be understood; `main` turns it into exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never lets a traceback out.

    Set the environment variable `SLIMWAVE_TRACEBACK=1` to see the traceback behind a message.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((a for a in arguments[:1]), "--help")
    try:
        if name in ("-h", "--help"):
            print(overview())
            return DONE
        if name == "--version":
            from slimwave import __version__

            print(f"slimwave {__version__}")
            return DONE
        with _termination_raised(), _warnings_said():
            return _run(name, arguments[1:])
    except SystemExit as stop:  # --help inside a command
        return stop.code if isinstance(stop.code, int) else DONE
    except KeyboardInterrupt:
        _say("interrupted: nothing half-written; run the same command again to continue")
        return INTERRUPTED
    except Terminated:
        _say("terminated: nothing half-written; run the same command again to continue")
        return TERMINATED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _explain(error)


@contextmanager
def _termination_raised() -> Iterator[None]:
    """Turn SIGTERM into `Terminated`, so that a run that is told to end cleans up behind itself."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _warnings_said() -> Iterator[None]:
    """Print slimwave's own warnings as sentences, without the place in the source that they come from."""
    before = warnings.showwarning

    def say(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if category.__module__.startswith("slimwave"):
            _say(f"warning: {message}")
        else:
            before(message, category, *place, **more)

    warnings.showwarning = say
    try:
        yield
    finally:
        warnings.showwarning = before


def overview() -> str:
    """Return the text of `slimwave --help`."""
    lines = ["usage: slimwave COMMAND [options]      slimwave COMMAND --help", ""]
    lines += [f"  {name:9s} {command.summary}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "Every command takes --config FILE.yaml, dotted overrides (--medium.correlation_length 0.1),",
        "--seed, --device auto|cpu|cuda and --json. Start with:  slimwave demo --quick",
    ]
    return "\n".join(lines)


def _run(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise UsageError(
            f"unknown command '{name}'; {suggestion(name, COMMANDS)}commands: {', '.join(COMMANDS)}"
        )
    together = "TORCHELASTIC_RUN_ID" in os.environ and os.environ["WORLD_SIZE"] != "1"
    if together and name != "train":
        raise UsageError(
            f"'{name}' runs in one process, only 'train' under torchrun; start it without torchrun"
        )
    from slimwave.config import parse

    as_json = "--json" in arguments
    config = parse(name, COMMANDS[name], [a for a in arguments if a != "--json"])
    outcome = getattr(importlib.import_module("slimwave.commands"), name)(config)
    if together and os.environ["RANK"] != "0":
        return DONE  # process 0 speaks for all
    print(json.dumps(_finite(outcome.record), allow_nan=False) if as_json else outcome.text)
    sys.stdout.flush()
    return DONE if outcome.ok else FAILED


def _finite(value: Any) -> Any:
    """Write numbers that JSON does not know, such as the error of a forecast that blew up, as null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def suggestion(name: str, known: Sequence[str] | dict[str, Command]) -> str:
    """Return `did you mean 'x'? ` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? " if near else ""


def _explain(error: Exception) -> int:
    if os.environ.get("SLIMWAVE_TRACEBACK"):
        traceback.print_exc()
    if isinstance(error, UsageError):
        _say(str(error))
        return USAGE
    expected = isinstance(error, (ValueError, OSError, ImportError, RuntimeError))
    text = str(error) if expected else f"internal error, {type(error).__name__}: {error}"
    _say(text + ("" if expected else "\nplease report it with the output of SLIMWAVE_TRACEBACK=1"))
    return FAILED


def _say(message: str) -> None:
    """Print at most three lines on standard error."""
    lines = message.strip().splitlines() or ["failed without a message"]
    if len(lines) > 3:
        lines = [*lines[:2], " ".join(line.strip() for line in lines[2:])]
    print("slimwave: " + "\n          ".join(lines), file=sys.stderr)
