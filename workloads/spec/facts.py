"""What the planner is told of a site: stack outputs, as values."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from workloads.spec.base import Frozen, SiteName


class Accelerator(Frozen):
    """One GPU of a site; `kind` as vendors write it, lower case: `h100-sxm`, `a10g`."""

    kind: str
    memory_bytes: PositiveInt


class Calibration(Frozen):
    """How fast one worker is, as `workloads.planning.calibrate` measures it on a machine without accelerators."""

    flops: PositiveFloat
    peak_flops: PositiveFloat  # of one large product in fp32, which no training reaches
    bf16_flops: PositiveFloat
    copy_bytes_s: PositiveFloat
    operation_s: PositiveFloat

    def shared_by(self, load: float) -> "Calibration":
        """What is left to each of `load` times as many threads as there are cores."""
        slower = max(1.0, load)
        return Calibration(
            flops=self.flops / slower,
            peak_flops=self.peak_flops / slower,
            bf16_flops=self.bf16_flops / slower,
            copy_bytes_s=self.copy_bytes_s / slower,
            operation_s=self.operation_s * slower,
        )


class SiteFacts(Frozen):
    """One site. A worker is one process: on a GPU of its own, or on `threads` cores."""

    name: SiteName
    workers: PositiveInt
    threads: PositiveInt = 1  # of each worker
    memory_bytes: PositiveInt  # main memory of each worker
    accelerator: Accelerator | None = None  # of each worker
    flops: PositiveFloat | None = None  # sustained in training, of one worker; measured where there is no accelerator
    peak_flops: PositiveFloat | None = None  # of one worker, at most; measured where there is no accelerator
    bf16_flops: PositiveFloat | None = None  # likewise, of products in bfloat16
    copy_bytes_s: Annotated[float, Field(gt=0)] | None = None  # plain memory copy of one thread, measured
    operation_s: PositiveFloat | None = None  # a small operation of one worker, forward and backward, measured
