"""One node's enforcement: what the API tells becomes rules of the kernel, until the process is ended."""

import asyncio
import logging
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from tests.lab.policies import objects, ruleset
from tests.lab.policies.access import client
from tests.lab.policies.fences import Fences, fences
from tests.lab.policies.objects import Snapshot
from tests.lab.policies.watching import Mirror

PODS: Final = "/api/v1/pods"
NAMESPACES: Final = "/api/v1/namespaces"
POLICIES: Final = "/apis/networking.k8s.io/v1/networkpolicies"

_log = logging.getLogger(__name__)
_NFT_LIMIT_S = 30
_RETRY_S = 5.0


class RulesError(Exception):
    """What nft said to a ruleset, in one line."""


async def enforce(kubeconfig: Path, node: str, managed: Sequence[IPv4Network] = ()) -> None:
    """Keep the kernel's rules as the policies say, for good; `managed` is explained at `fences`.

    Rules that an earlier process left stay until the whole cluster is known.

    Raises:
        UserError: the kubeconfig does not serve.
    """
    told = asyncio.Event()
    pods, spaces, policies = (Mirror(path, told) for path in (PODS, NAMESPACES, POLICIES))
    async with client(kubeconfig) as api, asyncio.TaskGroup() as group:
        for mirror in (pods, spaces, policies):
            group.create_task(mirror.follow(api))
        in_force = None
        while True:
            await told.wait()
            told.clear()
            if not (pods.complete and spaces.complete and policies.complete):
                continue
            wanted = fences(snapshot(pods, spaces, policies), node, managed)
            if wanted != in_force:
                in_force = await _in_force(wanted, told) or in_force


def snapshot(pods: Mirror, namespaces: Mirror, policies: Mirror) -> Snapshot:
    """The cluster as three mirrors show it."""
    return Snapshot(
        pods=tuple(known for raw in pods.objects.values() if (known := objects.pod(raw)) is not None),
        namespaces={name: raw["metadata"].get("labels") or {} for (_, name), raw in namespaces.objects.items()},
        policies=tuple(objects.policy(raw) for raw in policies.objects.values()),
    )


async def _in_force(wanted: Fences, told: asyncio.Event) -> Fences | None:
    """The fences once the kernel has them; None if it refused, and then `told` is set for another try."""
    try:
        apply(ruleset.ruleset(wanted))
    except RulesError as error:
        _log.error("rules of before stay: %s", error)
        asyncio.get_running_loop().call_later(_RETRY_S, told.set)
        return None
    _log.info(
        "in force: %d pods, isolated %d for what arrives and %d for what leaves",
        *(len(addresses) for addresses in (wanted.own, wanted.ingress.isolated, wanted.egress.isolated)),
    )
    return wanted


def apply(script: str) -> None:
    """Have nft run a script in this thread's network namespace, whole or not at all. Raises `RulesError`."""
    done = subprocess.run(
        ["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False, timeout=_NFT_LIMIT_S
    )
    if done.returncode:
        raise RulesError(f"nft: {done.stderr.strip()[:500]}")
