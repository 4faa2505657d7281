"""How fast one worker is: measured where it has cores, from the vendor's data sheet where it has an accelerator."""

from dataclasses import dataclass

from workloads.spec.errors import UserError
from workloads.spec.facts import SiteFacts
from workloads.spec.plan import Precision

# Of the peak on a data sheet, what matrix products of training reach (model FLOPs use of 40 to 60 % once the rest is
# counted: PaLM, arXiv 2204.02311; MegaScale, arXiv 2402.15627).
_EFFICIENCY = 0.6
_MEMORY_EFFICIENCY = 0.8
_LAUNCH_S = 4e-6  # of a kernel, there and back; `compute` counts three for each operation of a module
_CPU_INTERCONNECT_BYTES_S = 1.0e9  # gloo over loopback
_OPTIMIZER_SPEEDUP = 1.7  # bfloat16 products against fp32 ones, on a core with AVX-512 BF16


@dataclass(frozen=True)
class Card:
    """One kind of accelerator, as its data sheet has it: dense FLOP/s, no sparsity."""

    bf16: float | None  # None: it has no bfloat16 arithmetic
    fp32: float  # without TF32
    memory_bytes_s: float
    interconnect_bytes_s: float  # to its neighbours in the node, one direction


# Dense figures: where a sheet quotes sparsity, a half of it. NVLink is quoted in both directions together, so a half of it
# as well; cards without it have PCIe, at what NCCL reaches. The sheets, by title:
#   b200: "NVIDIA Blackwell Architecture Technical Brief", HGX B200 at 1,000 W: BF16 4.5 PFLOPS sparse, NVLink 1.8 TB/s
#   h200, h100: "NVIDIA H200 Tensor Core GPU", "NVIDIA H100 Tensor Core GPU": BF16 1,979 (SXM) and 1,513 (PCIe) sparse
#   a100: "NVIDIA A100 Tensor Core GPU", of 80 GB; the one of 40 GB reads 1,555 GB/s from its memory
#   l40s, l4: "NVIDIA L40S", "NVIDIA L4 Tensor Core GPU": BF16 733 and 242 sparse
#   a10g: "NVIDIA A10G Tensor Core GPU" (AWS, February 2022); not an A10, which has 31.2 in FP32 and 125 in BF16
#   v100, t4: "NVIDIA V100 Tensor Core GPU" (SXM2), "NVIDIA T4 70W Low Profile PCIe GPU Accelerator"
CARDS: dict[str, Card] = {
    "b200": Card(2.25e15, 80e12, 8.0e12, 900e9),
    "h200": Card(989e12, 67e12, 4.8e12, 450e9),
    "h100-sxm": Card(989e12, 67e12, 3.35e12, 450e9),
    "h100-pcie": Card(756e12, 51e12, 2.0e12, 20e9),
    "a100-sxm": Card(312e12, 19.5e12, 2.039e12, 300e9),
    "a100-pcie": Card(312e12, 19.5e12, 1.935e12, 20e9),
    "l40s": Card(362e12, 91.6e12, 0.864e12, 20e9),
    "l4": Card(121e12, 30.3e12, 0.3e12, 12e9),
    "a10g": Card(70e12, 35e12, 0.6e12, 12e9),
    "v100": Card(None, 15.7e12, 0.9e12, 150e9),
    "t4": Card(None, 8.1e12, 0.32e12, 8e9),
}
_ALIASES = {"h100": "h100-sxm", "a100": "a100-sxm"}


@dataclass(frozen=True)
class Speed:
    """One worker's, in training."""

    flops: float  # matrix products
    memory_bytes_s: float  # counted as a copy is: what is read and what is written
    operation_s: float  # a small operation, there and back
    optimizer_flops: float  # products in bfloat16, as Muon's
    interconnect_bytes_s: float
    host_copy_bytes_s: float  # of the merge, in main memory


def card(site: SiteFacts) -> Card:
    """The accelerator's data sheet. Raises `UserError` for one that is not in the table."""
    if site.accelerator is None:
        raise TypeError(f"site {site.name} has no accelerator")
    kind = _ALIASES.get(site.accelerator.kind, site.accelerator.kind)
    if kind not in CARDS:
        raise UserError(
            f"site {site.name}: accelerator {kind!r} is not one of {', '.join(sorted(CARDS))}; give the site's flops as "
            "measured, or one of these names"
        )
    return CARDS[kind]


def peak_flops(site: SiteFacts, precision: Precision) -> float | None:
    """What one of the site's workers can do at most, by data sheet or as measured: what MFU is a share of.

    None: nothing is known of it.
    """
    if site.accelerator is None:
        known = (site.peak_flops, site.bf16_flops if precision == "bf16" else None)
        return max((flops for flops in known if flops is not None), default=None)
    sheet = CARDS.get(_ALIASES.get(site.accelerator.kind, site.accelerator.kind))
    if sheet is None:
        return site.peak_flops
    return sheet.fp32 if precision == "fp32" else sheet.bf16


def worker_speed(site: SiteFacts, precision: Precision) -> Speed | None:
    """Speed of each of the site's workers; None if nothing is known of it.

    Raises:
        UserError: the accelerator is unknown, or has no arithmetic of this precision.
    """
    copy = site.copy_bytes_s or 10e9
    if site.accelerator is None:
        if site.flops is None:
            return None
        return Speed(
            flops=site.flops,
            memory_bytes_s=copy,
            operation_s=site.operation_s or 8e-6,
            optimizer_flops=site.bf16_flops or _OPTIMIZER_SPEEDUP * site.flops,
            interconnect_bytes_s=_CPU_INTERCONNECT_BYTES_S,
            host_copy_bytes_s=copy,
        )
    sheet = card(site)
    peak = sheet.fp32 if precision == "fp32" else sheet.bf16
    if peak is None:
        raise UserError(
            f"site {site.name}: a {site.accelerator.kind} has no bfloat16 arithmetic; set train.inner.precision: fp32"
        )
    return Speed(
        flops=site.flops or _EFFICIENCY * peak,
        memory_bytes_s=_MEMORY_EFFICIENCY * sheet.memory_bytes_s,
        operation_s=_LAUNCH_S,
        optimizer_flops=_EFFICIENCY * (sheet.bf16 or sheet.fp32),
        interconnect_bytes_s=sheet.interconnect_bytes_s,
        host_copy_bytes_s=copy,
    )
