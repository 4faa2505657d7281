"""The model of a site as something that predicts, however it is spread over ranks."""

from typing import Any

import torch
from numpy.typing import NDArray

from workloads.trainer.parallelise import ParallelModel
from workloads.trainer.scores import Predict


def site_predictor(parallel: ParallelModel) -> Predict:
    """`parallel` as a function from numpy inputs to numpy logits; all ranks call it together, and all get the answer."""

    def predict(inputs: NDArray[Any]) -> NDArray[Any]:
        answer: NDArray[Any] = parallel.logits(torch.from_numpy(inputs)).float().cpu().numpy()
        return answer

    return predict
