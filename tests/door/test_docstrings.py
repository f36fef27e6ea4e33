"""What the docstrings show is what happens: every example of the four folders and of the door."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import slimwave

FOLDERS = ("fem", "data", "compression", "surrogates", "")
HOME = Path(slimwave.__file__).parent
MODULES = [
    ".".join(filter(None, ("slimwave", folder, module.name)))
    for folder in FOLDERS
    for module in pkgutil.iter_modules([str(HOME / folder)])
    if not module.ispkg and module.name != "__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_folder_is_looked_at() -> None:
    for folder in FOLDERS[:-1]:
        assert sum(name.startswith(f"slimwave.{folder}.") for name in MODULES) > 10
