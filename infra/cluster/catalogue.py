"""What EC2's GPU instance types are made of. Pure: a table, since a lookup would need an account to plan with.

vCPUs, memory and GPUs: "Amazon EC2 accelerated computing instances" (EC2 instance types guide). EFA interfaces, one a
network card: "Network cards" in the EC2 user guide, checked against Karpenter v1.14.1's generated
`zz_generated.vpclimits.go`. GPU kinds are those of `workloads.planning.speed.CARDS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from workloads.spec.errors import UserError
from workloads.spec.facts import Accelerator

_MIB = 1 << 20


@dataclass(frozen=True)
class InstanceFacts:
    """One instance type."""

    name: str
    vcpus: int
    memory_gib: int
    gpu: str
    gpus: int
    gpu_memory_mib: int  # of each GPU
    efa: int  # interfaces at most, one a network card; 0: none

    @property
    def accelerator(self) -> Accelerator:
        return Accelerator(kind=self.gpu, memory_bytes=self.gpu_memory_mib * _MIB)


_GPU_MEMORY_MIB: Mapping[str, tuple[str, int]] = {
    # MiB as DescribeInstanceTypes counts them: gigabytes of GDDR cards are decimal, those of HBM binary, B200 as its
    # driver reports it
    "g4dn": ("t4", 15258),
    "g5": ("a10g", 22888),
    "g6": ("l4", 22888),
    "g6e": ("l40s", 45776),
    "p4d": ("a100-sxm", 40960),
    "p4de": ("a100-sxm", 81920),
    "p5": ("h100-sxm", 81920),
    "p5e": ("h200", 144384),
    "p5en": ("h200", 144384),
    "p6-b200": ("b200", 183359),
}

_SIZES: Mapping[str, tuple[int, int, int, int]] = {
    # vCPUs, memory GiB, GPUs, EFA interfaces
    "g4dn.xlarge": (4, 16, 1, 0),
    "g4dn.2xlarge": (8, 32, 1, 0),
    "g4dn.4xlarge": (16, 64, 1, 0),
    "g4dn.8xlarge": (32, 128, 1, 1),
    "g4dn.12xlarge": (48, 192, 4, 1),
    "g4dn.16xlarge": (64, 256, 1, 1),
    "g4dn.metal": (96, 384, 8, 1),
    "g5.xlarge": (4, 16, 1, 0),
    "g5.2xlarge": (8, 32, 1, 0),
    "g5.4xlarge": (16, 64, 1, 0),
    "g5.8xlarge": (32, 128, 1, 1),
    "g5.12xlarge": (48, 192, 4, 1),
    "g5.16xlarge": (64, 256, 1, 1),
    "g5.24xlarge": (96, 384, 4, 1),
    "g5.48xlarge": (192, 768, 8, 1),
    "g6.xlarge": (4, 16, 1, 0),
    "g6.2xlarge": (8, 32, 1, 0),
    "g6.4xlarge": (16, 64, 1, 0),
    "g6.8xlarge": (32, 128, 1, 1),
    "g6.12xlarge": (48, 192, 4, 1),
    "g6.16xlarge": (64, 256, 1, 1),
    "g6.24xlarge": (96, 384, 4, 1),
    "g6.48xlarge": (192, 768, 8, 1),
    "g6e.xlarge": (4, 32, 1, 0),
    "g6e.2xlarge": (8, 64, 1, 0),
    "g6e.4xlarge": (16, 128, 1, 0),
    "g6e.8xlarge": (32, 256, 1, 1),
    "g6e.12xlarge": (48, 384, 4, 1),
    "g6e.16xlarge": (64, 512, 1, 1),
    "g6e.24xlarge": (96, 768, 4, 2),
    "g6e.48xlarge": (192, 1536, 8, 4),
    "p4d.24xlarge": (96, 1152, 8, 4),
    "p4de.24xlarge": (96, 1152, 8, 4),
    "p5.4xlarge": (16, 256, 1, 1),
    "p5.48xlarge": (192, 2048, 8, 32),
    "p5e.48xlarge": (192, 2048, 8, 32),
    "p5en.48xlarge": (192, 2048, 8, 16),
    "p6-b200.48xlarge": (192, 2048, 8, 8),
}


def _facts(name: str) -> InstanceFacts:
    vcpus, memory_gib, gpus, efa = _SIZES[name]
    gpu, gpu_memory_mib = _GPU_MEMORY_MIB[name.split(".", maxsplit=1)[0]]
    return InstanceFacts(name, vcpus, memory_gib, gpu, gpus, gpu_memory_mib, efa)


CATALOGUE: Mapping[str, InstanceFacts] = {name: _facts(name) for name in _SIZES}
"""By instance type."""


def instance_facts(pool: str, instance_type: str) -> InstanceFacts:
    """Facts of a pool's instance type.

    Raises:
        UserError: nothing is known of it, with the names that come near.
    """
    if instance_type in CATALOGUE:
        return CATALOGUE[instance_type]
    family = instance_type.split(".", maxsplit=1)[0]
    near = [name for name in CATALOGUE if name.startswith(f"{family}.")]
    near = near or get_close_matches(instance_type, CATALOGUE, n=5, cutoff=0.3) or sorted(CATALOGUE)
    raise UserError(
        f"pool {pool}: instance type {instance_type} is not a known type with NVIDIA GPUs; pick one of "
        f"{', '.join(near)}"
    )


def efa_interfaces(pool: str, facts: InstanceFacts) -> int:
    """How many EFA interfaces a pool's nodes get: as many as there are.

    Raises:
        UserError: the type has none, with the types that have.
    """
    if facts.efa:
        return facts.efa
    same_gpu = [other.name for other in CATALOGUE.values() if other.efa and other.gpu == facts.gpu]
    raise UserError(
        f"pool {pool}: instance type {facts.name} has no EFA; set efa: false, or pick one of {', '.join(same_gpu)}"
    )
