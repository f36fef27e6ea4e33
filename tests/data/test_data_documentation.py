"""The pages on data tell the truth: their code runs, and the format page names what is in a shard."""

import json
import re
from pathlib import Path

import h5py
import pytest

from slimwave.cli import main
from slimwave.data.checking import check_dataset

DOCS = Path(__file__).parents[2] / "docs"


def test_code_of_your_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "your_data.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        if not block.startswith("# not run"):
            exec(block, names)
    assert check_dataset("runs/standing_waves").ok
    assert names["place"]["epoch"] == 1  # type: ignore[index]


def test_commands_of_your_data_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the first section, on a smaller grid."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(.*?)```", (DOCS / "your_data.md").read_text(), re.DOTALL)
    small = "--domain.nx 16 --domain.ny 16 --solver.elements 6,6 --pulses.width 0.1,0.12"
    small += "".join(
        f" --splits.{name}.snapshots 3" for name in ("train", "valid", "test", "ood", "ood_loud")
    )
    small += "".join(f" --splits.{name}.trajectories 2" for name in ("train", "valid", "test", "ood"))
    for line in block.replace("\\\n", " ").splitlines():
        words = line.split()
        assert main(words[1:] + (small.split() if words[1] == "generate" else [])) in (0, 1)
    assert (tmp_path / "runs/mine/contact_sheet.png").is_file()


def test_format_page_names_every_object_of_a_shard(pristine: Path) -> None:
    page = (DOCS / "format.md").read_text().replace("…/", "/boundary_conditions/")
    with h5py.File(pristine / "data/train/wave2d_train_00000.hdf5") as file:
        found: list[str] = []
        file.visit(lambda name: found.append(f"/{name}"))
        attributes = [*file.attrs, *file["slimwave"].attrs]
    named = [name for name in found if not name.endswith("/mask")]
    assert all(name in page for name in named), [name for name in named if name not in page]
    assert all(f"`{name}`" in page for name in attributes)


def test_format_page_names_every_key_of_the_manifest(pristine: Path) -> None:
    page = (DOCS / "format.md").read_text()
    manifest = json.loads((pristine / "manifest.json").read_text())
    assert all(f"`{name}`" in page for name in [*manifest, *manifest["shards"][0]])
