"""ONNX Runtime as the function that judges and serves a model. Imports neither torch nor a web server.

A graph has one input, named first, and answers `logits` first. Of a language model with a cache the other inputs are
keys and values of what was read before, [batch, heads, past, size], and the other outputs the same, in that order, for
what is to be read next.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

GRAPH = "model.onnx"
ERRORS_ONLY = 3
CONTEXT, VOCABULARY = "context", "vocabulary"  # facts of a text model's graph: tokens it reads at most, and knows


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
    name = session.get_inputs()[0].name

    def predict(inputs: NDArray[Any]) -> NDArray[Any]:
        logits: NDArray[Any] = session.run(["logits"], {name: inputs, **_nothing_read(session, len(inputs))})[0]
        return logits

    return predict


class Reader:
    """One text being read and continued. Of a model with a cache each token is computed once."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._past = _nothing_read(session, batch=1)
        self._tokens: list[int] = []  # all of them, where there is no cache

    def read(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits [vocabulary] of what follows, after `tokens` (at least one) are read too."""
        name = self._session.get_inputs()[0].name
        if not self._past:
            self._tokens += tokens
            tokens = self._tokens
        logits, *present = self._session.run(None, {name: np.array([tokens], dtype=np.int64), **self._past})
        self._past = dict(zip(self._past, present, strict=True))
        last: NDArray[np.float32] = logits[0, -1]
        return last


def _nothing_read(session: onnxruntime.InferenceSession, batch: int) -> dict[str, NDArray[np.float32]]:
    """The empty cache of each of `session`'s layers; no entries if it keeps none."""
    return {
        past.name: np.zeros((batch, past.shape[1], 0, past.shape[3]), dtype=np.float32)
        for past in session.get_inputs()[1:]
    }
