"""The README is true: its commands run in the order shown, its Python runs, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from slimwave.cli import COMMANDS, DONE, main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    text = "".join(blocks("sh")).replace("\\\n", " ")
    lines = (line.split("  #")[0].strip() for line in text.splitlines())
    return [line for line in lines if line.startswith("slimwave ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which a newcomer types."""
    return tmp_path_factory.mktemp("readme")


def test_the_tour_shows_every_job():
    shown = {line.split()[1] for line in commands()}
    assert shown >= set(COMMANDS) - {"demo"}


def test_the_tour_runs_as_shown(folder, monkeypatch, capsys):
    """Every command succeeds, and what does not depend on the machine is printed as the README shows it."""
    monkeypatch.chdir(folder)
    printed = ""
    for line in commands():
        code = main(shlex.split(line)[1:])
        captured = capsys.readouterr()
        assert code == DONE, f"{line}\n{captured.err}"
        printed += captured.out
    shown = "".join(blocks("text"))
    for text in (
        "72 trajectories in 12 shards, 52.5 MB, in runs/data",
        "runs/data: 72 trajectories in 12 shards, nothing wrong",
        "runs/full: 14864 parameters, validation rollout error",
        "runs/one_way: 3088 parameters, validation rollout error",
        "runs/rollout: 100 macro steps",
        "; largest energy error ",
    ):
        assert text in shown
        assert text in printed
    assert printed.rstrip().endswith("report: runs/compare/report.html")


def test_the_python_runs_as_shown(folder, monkeypatch):
    """The Python blocks continue each other, as a reader would type them."""
    monkeypatch.chdir(folder)
    names = {}
    code = blocks("python")
    assert code
    for block in code:
        exec(block, names)


def test_links_lead_somewhere():
    for text in ("README.md", "docs/architecture.md"):
        content = (ROOT / text).read_text()
        for target in re.findall(r"\]\(([^)#]+)", content):
            if not target.startswith("http"):
                assert ((ROOT / text).parent / target).exists(), f"{text}: {target}"
