"""The rules of the house, enforced: who may import whom, and what a newcomer's first call costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "fem": set(),
    "compression": set(),
    "data": {"fem"},
    "surrogates": {"data", "compression"},
}


def imported_folders(source: Path) -> set[str]:
    """Return the slimwave folders (or door modules) that a file imports, at any depth of the code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import; write it absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.split(".")[0] == "slimwave"}
    return found


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder):
    files = sorted((ROOT / folder).glob("**/*.py"))
    assert files
    for source in files:
        foreign = imported_folders(source) - {folder} - {"__version__"}
        assert foreign <= MAY_IMPORT[folder], f"{source.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_are_not_regular_packages(folder):
    """An `__init__.py` in `compression/` would shadow the standard library's package from Python 3.14 on."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_every_module_says_what_it_is_for():
    for folder in [*MAY_IMPORT, "src/slimwave"]:
        for source in (ROOT / folder).glob("*.py"):
            assert ast.get_docstring(ast.parse(source.read_text())), f"{source} has no docstring"


@pytest.mark.parametrize("call", ["import slimwave", "import slimwave.cli; slimwave.cli.main(['--help'])"])
def test_first_contact_loads_nothing_heavy(call):
    heavy = ("torch", "skfem", "scipy", "numpy", "matplotlib", "h5py", "numba", "jsonargparse")
    code = f"{call}\nimport sys; print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
