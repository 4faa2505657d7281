"""ONNX Runtime as the function that judges and serves a model. Imports neither torch nor a web server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

GRAPH = "model.onnx"
ERRORS_ONLY = 3


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """The model at `path`, on the CPU, with `threads` threads for one run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    # An idle replica must leave the cores to its neighbours: workers sleep between runs instead of spinning.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def predictor(session: onnxruntime.InferenceSession) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """`session` as a function from its one input to its first output, the logits."""
    (only_input,) = session.get_inputs()

    def predict(inputs: NDArray[Any]) -> NDArray[Any]:
        logits: NDArray[Any] = session.run(["logits"], {only_input.name: inputs})[0]
        return logits

    return predict
