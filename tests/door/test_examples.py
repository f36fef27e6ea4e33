"""Every example runs, and the number that it exposes is the one written here."""

import importlib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples, so that the dataset and the models are made once."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name):
        return importlib.import_module(name)

    return load


def test_every_example_is_tested():
    tested = {"solve", "generate", "train", "prune", "rollout", "compare"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested | {"tiny"}


def test_solve_conserves_energy(example):
    assert example("solve").main() < 1e-6


def test_generate(example, folder):
    assert example("generate").main(folder) == pytest.approx(0.050, abs=0.001)


def test_train(example, folder):
    """Parameters of the dense network over those of the one-way network, an exact number."""
    assert example("train").main(folder) == pytest.approx(1608 / 840)


def test_prune(example, folder):
    """Share of weights that two rounds of SAP with η = 0.1 keep."""
    assert example("prune").main(folder) == pytest.approx(0.56, abs=0.06)


def test_rollout(example, folder):
    """Relative L2 error of u after ten macro steps; persistence has more than 1."""
    assert example("rollout").main(folder) < 0.6


def test_compare(example, folder):
    """One-step error of the one-way network over that of persistence."""
    assert example("compare").main(folder) == pytest.approx(0.53, abs=0.2)
    assert (folder / "compare" / "report.html").stat().st_size > 50_000
