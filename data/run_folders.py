"""Run folders: what a command was asked, by which version, and what happened.

Every command writes into a folder of its own, which holds three small files beside its products:

``config.yaml``
    the resolved settings; ``slimwave COMMAND --config FOLDER/config.yaml`` runs them again
``run.json``
    command, seed, versions, status (``running`` or ``done``) and a summary
``log.jsonl``
    one JSON object per line: an epoch, a round, a shard

>>> folder = RunFolder.prepare(config.output, command="train", config=config)  # doctest: +SKIP
>>> folder.log(step=100, loss=0.02)  # doctest: +SKIP
>>> folder.finish(error=0.01)  # doctest: +SKIP
"""

import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml

from slimwave.data.durable import PART, write_text
from slimwave.data.lock import is_lock
from slimwave.data.plain import differences, to_plain

CONFIG, RUN, LOG = "config.yaml", "run.json", "log.jsonl"
PACKAGES = ("slimwave", "numpy", "scipy", "scikit-fem", "h5py", "torch")

Settings = dict[str, Any]
Existing = Literal["refuse", "resume", "overwrite"]


class RunFolderError(ValueError):
    """A folder that does not hold, or may not take, the run that was asked for."""


@dataclass(frozen=True)
class RunFolder:
    """Folder of one run; make it with :meth:`prepare` or :meth:`open`.

    Attributes
    ----------
    path
        The folder.
    resumed
        Whether the folder already held a run of these settings, which is now continued.
    """

    path: Path
    resumed: bool = False

    @classmethod
    def prepare(
        cls,
        path: Path | str,
        *,
        command: str,
        config: Any,
        existing: Existing = "resume",
        may_differ: Collection[str] = (),
        inputs: Mapping[str, str] | None = None,
        resolve: Callable[[Settings], Settings] = dict,
    ) -> "RunFolder":
        """Create the folder, or take up the run it holds, before any work is done.

        Parameters
        ----------
        path
            The folder; its parents are created.
        command
            Name of the command.
        config
            Settings, a dataclass or a mapping of plain values.
        existing
            What to do with an earlier run in the folder: ``refuse`` it, ``resume`` it if its settings are the
            same, or ``overwrite`` it, which deletes all that is in the folder.
        may_differ
            Dotted names of settings that a resumed run may change; ``output``, which names this very folder,
            always may.
        inputs
            Fingerprints of what the run reads, by the setting that names it. They are kept in ``run.json``,
            and a run is only resumed with the same: a folder may move, but not change.
        resolve
            Writes out what settings leave to defaults; earlier and present ones are compared by what it says.

        Raises
        ------
        OSError
            If the folder cannot be created or written.
        RunFolderError
            If it holds foreign files, a run of another command, a run of other settings or inputs
            (``resume``), or any run (``refuse``).
        """
        path = Path(path)
        require_writable(path)
        plain = to_plain(config)
        earlier = _earlier_run(path, command)
        if earlier and existing == "refuse":
            raise RunFolderError(
                f"{path} already holds a run of '{command}'; choose another --output, resume or overwrite it"
            )
        if earlier and existing == "overwrite":
            _empty(path)
        resumed = earlier and existing == "resume"
        if resumed:
            _require_same(path, resolve(read_yaml(path / CONFIG)), resolve(plain), may_differ)
            _require_same_inputs(path, inputs or {})
        folder = cls(path, resumed)
        folder._start(command, plain, inputs or {})
        return folder

    @classmethod
    def open(cls, path: Path | str, *, command: str | None = None) -> "RunFolder":
        """Open the folder of an earlier run for reading.

        Raises
        ------
        FileNotFoundError
            If there is no run in the folder.
        RunFolderError
            If it is a run of another command than ``command``.
        """
        path = Path(path)
        if not (path / RUN).is_file():
            raise FileNotFoundError(f"{path} is not a run folder: expected {RUN} in it; check the path")
        folder = cls(path, resumed=True)
        found = folder.run.get("command")
        if command is not None and found != command:
            raise RunFolderError(f"{path} holds a run of '{found}', expected '{command}'; check the path")
        return folder

    @property
    def run(self) -> dict[str, Any]:
        """Content of ``run.json``."""
        return _read_json(self.path / RUN)

    @property
    def config(self) -> dict[str, Any]:
        """Content of ``config.yaml`` as plain values."""
        return read_yaml(self.path / CONFIG)

    @property
    def done(self) -> bool:
        """Whether the run reached its end."""
        return self.run.get("status") == "done"

    def log(self, **record: Any) -> None:
        """Append one JSON line to ``log.jsonl``; a number that is not finite is written as null."""
        line = json.dumps(_to_json(to_plain(record)), allow_nan=False)
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of ``log.jsonl`` in order; a last line cut short by a crash is left out."""
        path = self.path / LOG
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)

    def finish(self, **summary: Any) -> None:
        """Mark the run as done and keep its summary."""
        self._write_run(
            {**self.run, "status": "done", "finished": _now(), "summary": _to_json(to_plain(summary))}
        )

    def _start(self, command: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        _drop_torn_line(self.path / LOG)
        write_text(self.path / CONFIG, yaml.safe_dump(dict(config), sort_keys=False))
        self._write_run(
            {
                "command": command,
                "status": "running",
                "seed": config.get("seed"),
                "inputs": dict(inputs),
                "started": _now(),
                "python": platform.python_version(),
                "platform": platform.platform(),
                "versions": _versions(),
            }
        )

    def _write_run(self, content: Mapping[str, Any]) -> None:
        write_text(self.path / RUN, json.dumps(content, indent=2) + "\n")


def require_writable(path: Path) -> None:
    """Create a folder and prove by a probe file that it takes new files.

    Raises
    ------
    OSError
        Naming the folder, the reason and the remedy.
    """
    probe = path / f".probe.{os.getpid()}.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OSError(
            f"cannot write into the output folder {path}: {reason}; choose another --output"
        ) from error


def _to_json(value: Any) -> Any:
    """Return plain values that JSON can hold: a number that is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises
    ------
    RunFolderError
        If the file is not a YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} is not readable as YAML; restore it or start a new folder") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: expected a YAML mapping; restore it or start a new folder")
    return content


def _earlier_run(path: Path, command: str) -> bool:
    """Tell whether the folder holds an earlier run of this command; refuse what is foreign."""
    if (path / RUN).is_file():
        found = _read_json(path / RUN).get("command")
        if found != command:
            raise RunFolderError(
                f"{path} holds a run of '{found}', not of '{command}'; choose another --output"
            )
        return True
    foreign = sorted(item.name for item in path.iterdir() if item.suffix != PART and not is_lock(item))
    if foreign and foreign != [CONFIG]:
        raise RunFolderError(
            f"{path} holds foreign files ({', '.join(foreign[:3])}); choose an empty folder as --output"
        )
    return False


def _empty(path: Path) -> None:
    """Delete all that is in a folder but its lock."""
    for item in path.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif not is_lock(item):
            item.unlink()


def _require_same(path: Path, earlier: Settings, config: Settings, may_differ: Collection[str]) -> None:
    """Refuse settings that have changed; those with a value before and now are named first."""
    changed = differences(earlier, config)
    changed = {name: values for name, values in changed.items() if name not in {"output", *may_differ}}
    if changed:
        telling = sorted(changed.items(), key=lambda item: (None in item[1], item[0]))
        listed = "; ".join(f"--{name} was {old}, now {new}" for name, (old, new) in telling[:4])
        raise RunFolderError(
            f"{path} holds a run of other settings ({listed}); choose another --output, or --overwrite"
        )


def _require_same_inputs(path: Path, inputs: Mapping[str, str]) -> None:
    """Refuse to go on with another model or dataset than the run began with; older runs kept none."""
    earlier = _read_json(path / RUN).get("inputs", {})
    changed = [name for name, found in inputs.items() if earlier.get(name, found) != found]
    if changed:
        raise RunFolderError(
            f"{path} holds a run that read another --{changed[0]}; give that one, choose another --output, "
            "or --overwrite"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} is not readable as JSON; restore it or start a new folder") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: expected a JSON object; restore it or start a new folder")
    return content


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that a crash left without its end."""
    if not path.is_file():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _versions() -> dict[str, str | None]:
    return {name: _installed(name) for name in PACKAGES}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
