"""slimwave: compressed CNN surrogates of the 2D wave equation u_tt + γ u_t = ∇·(c² ∇u) + f.

The four jobs, each one call on a frozen dataclass of settings:

    import slimwave as sw

    sw.generate(sw.GenerateConfig(output="runs/data"))
    one_way = sw.NetworkConfig(conv="cp", rank=16)
    sw.train(sw.TrainConfig(data="runs/data", output="runs/one_way", network=one_way))
    sw.prune(sw.PruneConfig(model="runs/one_way", data="runs/data", output="runs/pruned"))
    sw.rollout(sw.RolloutConfig(model="runs/pruned", data="runs/data"))
    sw.compare(sw.CompareConfig(data="runs/data", models={"one-way": "runs/one_way"}))

Names are loaded when they are first used: `import slimwave` alone imports neither torch nor scikit-fem.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from slimwave.compression.decomposition import decompose as decompose
    from slimwave.compression.formats import make_conv as make_conv
    from slimwave.compression.materialise import materialise as materialise
    from slimwave.compression.one_way import OneWayConv as OneWayConv
    from slimwave.compression.pq_index import pq_index as pq_index
    from slimwave.compression.rewriting import compress as compress
    from slimwave.compression.rounds import prune_rounds as prune_rounds
    from slimwave.compression.sap import SAPPruner as SAPPruner
    from slimwave.compression.sparse_file import load_sparse as load_sparse
    from slimwave.compression.sparse_file import save_sparse as save_sparse
    from slimwave.compression.sparse_inference import sparse_inference as sparse_inference
    from slimwave.data.checking import check_dataset as check_dataset
    from slimwave.data.generation import generate as generate
    from slimwave.data.own_data import OwnTrajectory as OwnTrajectory
    from slimwave.data.own_data import write_dataset as write_dataset
    from slimwave.data.sampler import ResumableSampler as ResumableSampler
    from slimwave.data.scenarios import DampingConfig as DampingConfig
    from slimwave.data.scenarios import DomainConfig as DomainConfig
    from slimwave.data.scenarios import GenerateConfig as GenerateConfig
    from slimwave.data.scenarios import MediumConfig as MediumConfig
    from slimwave.data.scenarios import PulseConfig as PulseConfig
    from slimwave.data.scenarios import SolverConfig as SolverConfig
    from slimwave.data.scenarios import SourceConfig as SourceConfig
    from slimwave.data.scenarios import SplitConfig as SplitConfig
    from slimwave.data.scenarios import SplitsConfig as SplitsConfig
    from slimwave.data.scenarios import WallConfig as WallConfig
    from slimwave.data.symmetries import RandomSymmetry as RandomSymmetry
    from slimwave.data.windows import WaveWindows as WaveWindows
    from slimwave.data.windows import load_trajectories as load_trajectories
    from slimwave.fem.batches import WaveBatch as WaveBatch
    from slimwave.fem.meshes import rectangle as rectangle
    from slimwave.fem.solver import Solution as Solution
    from slimwave.fem.solver import WaveSolver as WaveSolver
    from slimwave.report import write_report as write_report
    from slimwave.surrogates.checkpoints import load_model as load_model
    from slimwave.surrogates.comparison import compare as compare
    from slimwave.surrogates.comparison_settings import CompareConfig as CompareConfig
    from slimwave.surrogates.forecasting import rollout as rollout
    from slimwave.surrogates.network_settings import NetworkConfig as NetworkConfig
    from slimwave.surrogates.pruning import prune as prune
    from slimwave.surrogates.pruning_settings import PruneConfig as PruneConfig
    from slimwave.surrogates.pruning_settings import SAPConfig as SAPConfig
    from slimwave.surrogates.pruning_settings import StopConfig as StopConfig
    from slimwave.surrogates.rollout_settings import RolloutConfig as RolloutConfig
    from slimwave.surrogates.seeds import train_seeds as train_seeds
    from slimwave.surrogates.training import train as train
    from slimwave.surrogates.training_settings import FitConfig as FitConfig
    from slimwave.surrogates.training_settings import TrainConfig as TrainConfig
    from slimwave.surrogates.training_settings import ValidationConfig as ValidationConfig

_HOMES = {
    "compression.decomposition": ("decompose",),
    "compression.formats": ("make_conv",),
    "compression.materialise": ("materialise",),
    "compression.one_way": ("OneWayConv",),
    "compression.pq_index": ("pq_index",),
    "compression.rewriting": ("compress",),
    "compression.rounds": ("prune_rounds",),
    "compression.sap": ("SAPPruner",),
    "compression.sparse_file": ("load_sparse", "save_sparse"),
    "compression.sparse_inference": ("sparse_inference",),
    "data.checking": ("check_dataset",),
    "data.generation": ("generate",),
    "data.own_data": ("OwnTrajectory", "write_dataset"),
    "data.sampler": ("ResumableSampler",),
    "data.scenarios": (
        "DampingConfig",
        "DomainConfig",
        "GenerateConfig",
        "MediumConfig",
        "PulseConfig",
        "SolverConfig",
        "SourceConfig",
        "SplitConfig",
        "SplitsConfig",
        "WallConfig",
    ),
    "data.symmetries": ("RandomSymmetry",),
    "data.windows": ("WaveWindows", "load_trajectories"),
    "fem.batches": ("WaveBatch",),
    "fem.meshes": ("rectangle",),
    "fem.solver": ("Solution", "WaveSolver"),
    "report": ("write_report",),
    "surrogates.checkpoints": ("load_model",),
    "surrogates.comparison": ("compare",),
    "surrogates.comparison_settings": ("CompareConfig",),
    "surrogates.forecasting": ("rollout",),
    "surrogates.network_settings": ("NetworkConfig",),
    "surrogates.pruning": ("prune",),
    "surrogates.pruning_settings": ("PruneConfig", "SAPConfig", "StopConfig"),
    "surrogates.rollout_settings": ("RolloutConfig",),
    "surrogates.seeds": ("train_seeds",),
    "surrogates.training": ("train",),
    "surrogates.training_settings": ("FitConfig", "TrainConfig", "ValidationConfig"),
}
_HOME_OF = {name: f"slimwave.{module}" for module, names in _HOMES.items() for name in names}
__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604, RUF100


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it, on first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'slimwave' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
