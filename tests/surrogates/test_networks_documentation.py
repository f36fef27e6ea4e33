"""The page on networks tells the truth: its table is what the networks are, its message is what is said."""

import re
from pathlib import Path

import pytest

from slimwave.surrogates.counting import count_parameters_by_use
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.task import WaveTask

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)
ROWS = re.findall(r"^\| `(\w+)` \| [^|]* \| (\d+) \| (\d+) / (\d+) \| (\d+) / (\d+) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_table_is_what_the_networks_are(row: tuple[str, ...]) -> None:
    name, *numbers = row
    reach, step_dense, step_cp, medium_dense, medium_cp = map(int, numbers)
    dense, cp = (build_network(NetworkConfig(name=name, conv=conv), TASK) for conv in ("dense", "cp"))
    assert (dense.reach, cp.reach) == (reach, reach)
    by_use = [count_parameters_by_use(model) for model in (dense, cp)]
    assert [use.per_step for use in by_use] == [step_dense, step_cp]
    assert [use.per_medium for use in by_use] == [medium_dense, medium_cp]


def test_the_message_is_what_is_said() -> None:
    (message,) = re.findall(r"^slimwave: (--network\.levels .*)$", PAGE, re.MULTILINE)
    assert len(ROWS) == 6
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        NetworkConfig(levels=3)
