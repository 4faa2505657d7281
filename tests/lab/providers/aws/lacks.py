"""What the emulators lack of what the program asks for, and what the stand-in does about it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Lack:
    """Something that AWS does and the emulator does not."""

    emulator: str
    what: str
    instead: str  # what happens in the lab
    kept: bool = False  # whether the stand-in or the state keeps it, so that no interface is called for it


LACKS: Final = (
    Lack(
        "both",
        "references to the other's objects: roles, keys, subnets and log groups are taken as they are named",
        "nothing: that they exist is known from the order in which the program makes them",
    ),
    Lack(
        "both",
        "IAM Roles Anywhere: trust anchors and profiles",
        "the stand-in keeps them as documents below the emulators' run folder; nobody gets credentials by them",
        kept=True,
    ),
    Lack(
        "moto",
        "a VPN's tunnels: their options are taken and forgotten, and all have one address and one key",
        "the stand-in draws addresses out of 203.0.113.0/24 and keys from the connection's id; nothing ends there",
    ),
    Lack(
        "moto",
        "newer tags in what a read tells of a launch template; those are told by DescribeTags alone",
        "the stand-in asks that",
    ),
    Lack(
        "MiniStack",
        "EKS behind its interface: there is no control plane, and no node of a node group",
        "the lab's own cluster stands in its place, and the stack names its kubeconfig",
    ),
    Lack(
        "MiniStack",
        "EKS: remote networks, upgrade policy and deletion protection of a cluster, and how a node group is updated",
        "they are given and forgotten, so that a refresh cannot tell of a change to them",
    ),
    Lack(
        "MiniStack",
        "EKS: a node group's launch template and what an update would do with a newer version of it",
        "the stand-in calls nothing, and the stack's state alone says which version is wanted",
        kept=True,
    ),
    Lack(
        "MiniStack",
        "EKS: newer tags in what a read tells of an object; those are told by ListTagsForResource alone",
        "the stand-in asks that",
    ),
    Lack(
        "MiniStack",
        "EKS: tags of a pod identity, once it is there",
        "the stand-in keeps them as documents below the emulators' run folder",
        kept=True,
    ),
    Lack(
        "MiniStack",
        "EKS: access entries of hybrid nodes, type HYBRID_LINUX",
        "the stand-in asks for type EC2_LINUX",
    ),
    Lack(
        "MiniStack",
        "EKS's security group in the VPC, which is the other emulator's",
        "the stand-in makes it in EC2 with the cluster, and deletes it with the cluster",
    ),
)


def table() -> str:
    """For people to read."""
    rows = []
    for lack in LACKS:
        rows += [f"{lack.emulator}: {lack.what}", f"  instead: {lack.instead}"]
        rows += ["  no interface is called for this"] if lack.kept else []
    return "\n".join(rows)
