"""From YAML files and dotted overrides to a typed configuration.

jsonargparse builds each command's parser from its configuration dataclass; this file adds what a
user needs on top: unknown keys are refused with the nearest known name, pairs may be written
`2,4`, and every mistake is one short `UsageError`.
"""

import dataclasses
import importlib
import itertools
import re
import types
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from slimwave.cli import Command, UsageError, suggestion
from slimwave.data.ranges import require_at_least
from slimwave.flag_help import explain_flags

POSITIONAL = ("check", "show", "export")  # commands whose required settings are written without a flag


@dataclass(frozen=True)
class CheckConfig:
    """What `slimwave check` looks at.

    Parameters
    ----------
    folder : Path
        The dataset's folder, the one that holds `data/` and `manifest.json`.
    seed : int, optional
        The seed that the dataset is expected to have been generated from; any by default.
    device : {"auto", "cpu", "cuda"}
        Checking reads files and runs on the processor: `cuda` is refused.
    """

    folder: Path
    seed: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        _on_the_processor(self.device, "checking files")


@dataclass(frozen=True)
class ShowConfig:
    """What `slimwave show` draws.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    output : Path, optional
        Where `contact_sheet.png` and `animation.gif` go; the dataset's folder by default.
    trajectories : int
        Trajectories per split, drawn at random.
    snapshots : int
        Snapshots per trajectory on the contact sheet, evenly spaced in time.
    seed : int
        Seed of the draw.
    device : {"auto", "cpu", "cuda"}
        Drawing runs on the processor: `cuda` is refused.
    """

    folder: Path
    output: Path | None = None
    trajectories: int = 2
    snapshots: int = 6
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        _on_the_processor(self.device, "drawing")
        require_at_least("trajectories", self.trajectories, 1)
        require_at_least("snapshots", self.snapshots, 1)
        require_at_least("seed", self.seed, 0)


@dataclass(frozen=True)
class ExportConfig:
    """What `slimwave export` writes.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    output : Path
        The folder for the exported files, one per split; created.
    format : {"pdebench"}
        The layout of the files.
    seed : int, optional
        The seed that the dataset is expected to have been generated from; any by default.
    device : {"auto", "cpu", "cuda"}
        Copying runs on the processor: `cuda` is refused.
    """

    folder: Path
    output: Path = Path("runs/export")
    format: Literal["pdebench"] = "pdebench"
    seed: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        _on_the_processor(self.device, "copying files")


def _on_the_processor(device: str, work: str) -> None:
    if device == "cuda":
        raise ValueError(f"--device: expected auto or cpu, got cuda: {work} needs no GPU")


def parse(name: str, command: Command, arguments: list[str]) -> Any:
    """Return the command's configuration from its command-line arguments.

    Raises
    ------
    UsageError
        An unknown flag or key, a value of the wrong type, or one that the configuration refuses.
    """
    from jsonargparse import ArgumentError

    parser, config_class = parser_of(name, command)
    known = set(_keys(config_class))
    if name == "demo":
        arguments = ["--config", str(demo_defaults("--quick" in arguments)), *arguments]
    arguments = _check_flags(name, arguments, known, config_class)
    try:
        values = parser.parse_args(arguments)
        parsed = parser.instantiate(values)
        return config_class(**{f.name: getattr(parsed, f.name) for f in dataclasses.fields(config_class)})
    except ArgumentError as error:
        raise UsageError(_short(str(error.message), name)) from error
    except (ValueError, TypeError) as error:
        raise UsageError(_short(str(error), name)) from error


def parser_of(name: str, command: Command) -> tuple[Any, Any]:
    """Return the command's parser, every flag of it explained, and the class of its configuration."""
    from jsonargparse import ArgumentParser

    module, _, attribute = command.config.partition(":")
    config_class = getattr(importlib.import_module(module), attribute)
    parser = ArgumentParser(
        prog=f"slimwave {name}",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=f"Example: {command.example}",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file; flags after it override it")
    # Handled by the command line before parsing; declared here so that --help shows it.
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_class_arguments(config_class, as_positional=name in POSITIONAL, fail_untyped=True)
    explain_flags(parser, {"": config_class, **dict(_groups(config_class))})
    return parser, config_class


def demo_defaults(quick: bool) -> Path:
    """Return the configuration file that `slimwave demo` starts from; it travels with the package."""
    return Path(__file__).parent / "configs" / ("demo_quick.yaml" if quick else "demo.yaml")


def _dataclass_in(annotation: Any) -> Any:
    """Return the dataclass behind an annotation (`Group` or `Group | None`), else None."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next((o for o in options if dataclasses.is_dataclass(o)), None)


def _groups(config_class: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the class of every group of settings."""
    for name, annotation in typing.get_type_hints(config_class).items():
        if group := _dataclass_in(annotation):
            yield prefix + name, group
            yield from _groups(group, f"{prefix}{name}.")


def _keys(config_class: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a configuration class, groups included."""
    for name, annotation in typing.get_type_hints(config_class).items():
        yield prefix + name
        if group := _dataclass_in(annotation):
            yield from _keys(group, f"{prefix}{name}.")


def _annotation(config_class: Any, key: str) -> Any:
    """Return the type of a dotted key."""
    for part in key.split("."):
        config_class = _dataclass_in(config_class) or config_class
        config_class = typing.get_type_hints(config_class)[part]
    return config_class


def _check_flags(name: str, arguments: list[str], known: set[str], config_class: Any) -> list[str]:
    """Refuse unknown flags and keys with the nearest name.

    Shorthands are written out: `2,4` as `[2,4]` for tuples, a bare `--overwrite` as `--overwrite true`.
    """
    checked: list[str] = []
    key = ""
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="--"):
        flag, equals, value = argument.partition("=")
        if flag.startswith("--"):
            key = flag[2:]
            _known(name, key, known, f"--{key}")
            checked.append(flag + equals + (_bracketed(value, key, known, config_class) if equals else ""))
            if key == "config" and equals:
                _check_file(name, Path(value), known)
            _check_inline(name, key, value, known)
            if key in known and _annotation(config_class, key) is bool and following.startswith("--"):
                checked.append("true")
        else:
            if key == "config":
                _check_file(name, Path(argument), known)
            _check_inline(name, key, argument, known)
            checked.append(_bracketed(argument, key, known, config_class))
            key = ""
    return checked


def _known(name: str, key: str, known: set[str], shown: str) -> None:
    free_form = any(k.split(".")[-1] == "models" and key.startswith(f"{k}.") for k in known)
    if key in known or key in ("config", "json", "help", "print_config") or free_form:
        return
    raise UsageError(
        f"unknown option {shown}; {suggestion(key, sorted(known))}`slimwave {name} --help` lists them all"
    )


def _bracketed(value: str, key: str, known: set[str], config_class: Any) -> str:
    """Write `2,4` as `[2,4]` for a tuple, and `2` as `[2]` for one of any length."""
    if key not in known or not value or value[0] in "[({":
        return value
    annotation = _annotation(config_class, key)
    tuples = [o for o in (annotation, *typing.get_args(annotation)) if typing.get_origin(o) is tuple]
    wanted = any("," in value or Ellipsis in typing.get_args(o) for o in tuples)
    return f"[{value}]" if wanted else value


def _check_inline(name: str, key: str, value: str, known: set[str]) -> None:
    """Check the keys of a mapping written on the command line, as in `--network '{width: 8}'`."""
    if key in known and value.startswith("{"):
        try:
            content = _load_yaml(value, f"--{key}")
        except yaml.YAMLError:
            return  # jsonargparse says what it expected
        for inner in _file_keys(content, f"{key}.") if isinstance(content, Mapping) else ():
            _known(name, inner, known, f"'{inner}'")


def _check_file(name: str, path: Path, known: set[str]) -> None:
    try:
        content = _load_yaml(path.read_text(), f"--config: {path}")
    except OSError as error:
        raise UsageError(f"--config: expected a readable YAML file, got {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config: {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return
    if not isinstance(content, Mapping):
        raise UsageError(f"--config: expected a mapping of keys in {path}, got {type(content).__name__}")
    for key in _file_keys(content):
        _known(name, key, known, f"'{key}' in {path}")


def _load_yaml(text: str, source: str) -> Any:
    """Read YAML; refuse a mapping that names a key twice, of which YAML would silently take the last."""

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            for name, count in counts.items():
                if count > 1 and name != "<<":
                    raise UsageError(f"{source}: expected every key once, got '{name}' twice")
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)


def _file_keys(content: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _file_keys(value, f"{prefix}{key}.")


def _shown(name: str, key: str) -> str:
    """Return how a required setting is written: `FOLDER` where it is positional, else `--key`."""
    return key.upper() if name in POSITIONAL else f"--{key}"


def _choices(literal: re.Match[str]) -> str:
    """Say ``Literal['a', 'b']`` in words, and whether none is a choice, too."""
    words = literal.group(1).replace("'", "").split(", ")
    if literal.group(2) and "none" not in words:
        words.append("none")
    return f"one of {', '.join(words)}" if len(words) > 1 else words[0]


def _short(message: str, name: str) -> str:
    """Say jsonargparse's message in one line that names the flag."""
    text = " ".join(message.split())
    text = re.sub(r"Parser key \"([\w.]+)\":", r"--\1:", text)
    text = text.replace("<class '", "").replace("'>", "").replace("typing.", "")
    if "Does not validate against any of the Union subtypes" in text:
        text = re.sub(
            r"Does not validate.*?Subtypes: \[(.*?)\] Errors:.*Given value: (.*)$",
            r"expected \1, got \2",
            text,
        ).replace("NoneType", "none")
    text = re.sub(r"Literal\[(.*?)\](, none)?", _choices, text)
    text = text.replace("Expected a ", "expected ").replace(". Got value: ", ", got ")
    text = re.sub(r"expected tuple, got (\S+)", r"expected a list such as [\1], got \1", text)
    match = re.search(r"the following arguments are required: (.*)", text)
    if match:
        text = "missing " + ", ".join(_shown(name, key) for key in match.group(1).split(", "))
    return f"{text}\n`slimwave {name} --help` shows every option and an example"
