"""What benchmarks of inference share: rivals that take turns, and ONNX Runtime."""

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn


def onnx_session(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """Return a call of the model in ONNX Runtime, on one thread."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(model, (x,), opset_version=20, dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, feed)


def milliseconds(rivals: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median process time of each rival, in turns of a new random order."""
    shuffle = np.random.default_rng(0).permutation
    names = list(rivals)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-3, rounds):
        for name in (names[place] for place in shuffle(len(names))):
            start = time.process_time()
            rivals[name]()
            if turn >= 0:
                taken[name].append(1e3 * (time.process_time() - start))
    return {name: median(times) for name, times in taken.items()}
