"""The page on training is true: its commands parse, and it names what is written."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from slimwave import config
from slimwave.cli import COMMANDS
from slimwave.surrogates.scores import step_errors

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
COMMAND_LINES = re.findall(r"^(?:torchrun .* -m )?slimwave (train .*)$", PAGE, flags=re.MULTILINE)
FLAGS = [match for match in re.findall(r"`(--[^`]+)`", PAGE) if not match.startswith("--threshold")]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_the_commands_parse(line: str) -> None:
    config.parse("train", COMMANDS["train"], shlex.split(line)[1:])


def test_the_flags_parse_with_the_values_that_are_shown() -> None:
    assert len(FLAGS) > 10
    for flag in FLAGS:
        words = shlex.split(flag)
        if len(words) == 2:
            config.parse("train", COMMANDS["train"], words)
        assert words[0][2:] in set(config._keys(type(config.parse("train", COMMANDS["train"], []))))


def test_every_metric_is_in_the_table() -> None:
    for name in step_errors(*torch.randn(2, 1, 1, 8, 8), torch.ones(1, 4), (0.1, 0.1)):
        assert f"`{name}`" in PAGE or name.startswith("within_")
