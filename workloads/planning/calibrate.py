"""`python -m workloads.planning.calibrate --threads N`: how fast one worker on N cores is, as JSON on stdout.

What is timed is what training is made of, one at a time: a linear layer there and back, a product in bfloat16, a copy that
no cache holds, and the shortest operation that autograd knows; and a product so large that nothing else costs, which is
the most that the machine can do. The processor's time counts and not the clock's, so that a
machine that does other things meanwhile says the same; the best of many repeats, for the same reason. One to two seconds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from workloads.spec.errors import run_command
from workloads.spec.facts import Calibration

_BUDGET_S = 0.25  # for each figure
_MIN_REPEATS = 5
_COPIED_VALUES = 16 << 20
_CHAIN = 200
_LARGE = 1024
_SHAPES = ((512, 256, 256), (512, 256, 688), (1024, 128, 344))  # rows, inputs, outputs: layers of a small transformer
_DIGITS = 2  # significant ones; more would be noise


def calibrate(threads: int) -> Calibration:
    """Measure this machine, now."""
    torch.set_num_threads(threads)
    return Calibration(
        flops=_significant(_linear_flops(threads)),
        peak_flops=_significant(_peak_flops(threads)),
        bf16_flops=_significant(_product_flops(threads)),
        copy_bytes_s=_significant(_copy_bytes_s()),
        operation_s=_significant(_operation_s()),
    )


def _linear_flops(threads: int) -> float:
    seconds = work = 0.0
    for rows, inputs, outputs in _SHAPES:
        layer, given = torch.nn.Linear(inputs, outputs, bias=False), torch.randn(rows, inputs, requires_grad=True)
        gradient = torch.randn(rows, outputs)
        seconds += _least_s(partial(_there_and_back, layer, given, gradient), threads)
        work += 6 * rows * inputs * outputs
    return work / seconds


def _there_and_back(layer: torch.nn.Module, given: torch.Tensor, gradient: torch.Tensor) -> None:
    torch.autograd.backward(layer(given), gradient)


def _peak_flops(threads: int) -> float:
    left, right, out = torch.randn(_LARGE, _LARGE), torch.randn(_LARGE, _LARGE), torch.empty(_LARGE, _LARGE)
    return 2 * _LARGE**3 / _least_s(lambda: torch.mm(left, right, out=out), threads)


def _product_flops(threads: int) -> float:
    left, right = torch.randn(256, 688, dtype=torch.bfloat16), torch.randn(688, 256, dtype=torch.bfloat16)
    return 2 * 256 * 688 * 256 / _least_s(lambda: left @ right, threads)


def _copy_bytes_s() -> float:
    source, target = torch.ones(_COPIED_VALUES), torch.ones(_COPIED_VALUES)
    torch.set_num_threads(1)  # as the merge's worker has it
    return 2 * 4 * _COPIED_VALUES / _least_s(lambda: target.copy_(source), 1)


def _operation_s() -> float:
    given = torch.ones(8, requires_grad=True)

    def chain() -> None:
        value = given
        for _ in range(_CHAIN):
            value = value * 1.0
        torch.autograd.backward(value.sum())

    return _least_s(chain, 1) / _CHAIN


def _least_s(call: Callable[[], object], threads: int) -> float:
    """Least processor time of a call, of each thread."""
    call()
    times: list[float] = []
    until = time.perf_counter() + _BUDGET_S
    while len(times) < _MIN_REPEATS or time.perf_counter() < until:
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return min(times) / threads


def _significant(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def main() -> None:
    """Measure and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m workloads.planning.calibrate")
    parser.add_argument("--threads", type=int, required=True)
    sys.stdout.write(calibrate(parser.parse_args().threads).model_dump_json() + "\n")


if __name__ == "__main__":
    run_command(main)
