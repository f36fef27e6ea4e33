"""What the page and the benchmarks of the solver show must be true."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "fem_accuracy.py"


def test_the_benchmark_reaches_its_accuracy():
    """Errors are the same on every machine; the CPU times are for people to read."""
    command = [sys.executable, str(BENCHMARK), "--quick", "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    by_method = {row["method"]: row for row in report["rows"]}
    target = by_method["p=4 20x20 lax-wendroff stencil float64"]
    assert report["reference_doubt"] < 1e-6
    assert 8.3e-4 < target["error_u"] < 8.5e-4 and target["error_v"] < 2.6e-3
    assert all(row["run"] > 0 for row in report["rows"])


def test_the_page_on_the_solver_runs_as_written():
    """The first block of code gives the shapes that its last line promises; the picture is there."""
    page = BENCHMARK.parents[1] / "docs" / "fem.md"
    code = page.read_text().split("```python\n")[1].split("```")[0]
    *lines, last = code.strip().splitlines()
    scope = {}
    exec("\n".join(lines), scope)
    shapes, promised = last.split("#")
    assert eval(shapes, scope) == eval(promised)
    assert (page.parent / "images" / "fem_convergence.png").stat().st_size < 200_000


def test_the_convergence_study_shows_the_orders_that_the_page_promises():
    command = [sys.executable, str(BENCHMARK.with_name("fem_convergence.py")), "--quick", "--json"]
    lines = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    rates = {(line["study"], line["method"]): line["rate"] for line in lines}
    least = {
        ("space", "order 1"): 1.9,
        ("space", "order 2"): 2.9,
        ("space", "order 4"): 4.9,
        ("space", "order 6"): 6.5,
        ("time", "leapfrog, damped"): 1.9,
        ("time", "lax-wendroff, damped"): 3.9,
        ("time", "lax-wendroff, absorbed"): 3.9,
        ("disk", "order 4, curved"): 3.7,
        ("layers", "order 4, c per element"): 3.9,
    }
    assert {key: rate for key, rate in rates.items() if key in least and rate < least[key]} == {}
    assert rates["disk", "order 4, straight"] < 2.2 and rates["layers", "order 4, c at nodes"] < 1.3
