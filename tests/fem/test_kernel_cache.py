"""The disk cache of compiled kernels must never be in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from slimwave.fem import kernels

PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("kernels_copy", sys.argv[1])
kernels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernels)
import numpy as np
one = np.ones(1)
start, column = np.array([0, 1], np.uint32), np.zeros(1, np.uint32)
out = np.zeros(1)
kernels.sparse_update(start, column, 2 * one, 3 * one, one, out, 1.0, 0.0, 1.0)
print(out[0], kernels.sparse_update.stats.cache_path)
"""


def test_kernels_work_where_no_folder_can_be_written(tmp_path):
    """Every place where numba would keep machine code is a file, so that no folder can be made in it."""
    source = tmp_path / "kernels_copy.py"
    shutil.copy(Path(kernels.__file__), source)
    (tmp_path / "__pycache__").touch()
    blocked = tmp_path / "file"
    blocked.touch()
    environment = os.environ | {
        "HOME": str(blocked),
        "XDG_CACHE_HOME": str(blocked),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(source)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["-5.0", "None"]
