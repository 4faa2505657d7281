"""What follows a training run: its model compressed, registered, signed and delivered to every site. Pure.

It is a job of its own, out of the queue: a JobSet in which something starts after the trainers is never ready as a whole
in Kueue's eyes, which gives its GPUs back then (`PodsReady` of Kueue's JobSet integration counts every replicated job).
While the run lasts it waits for its result at the cost of a small pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pulumi

from infra.apps import pods
from infra.apps.allotments import of_closing
from infra.apps.launching import Launching
from infra.apps.pods import WORK
from infra.apps.training_job import ACCOUNT, LAUNCH_AT, OUT_OF_MESH, Surroundings, pod_failure_policy, pod_labels
from infra.manifests import labels, restricted
from infra.mesh.fencing import TRAINING
from infra.releases import OFF_HYBRID_NODES
from workloads.spec.artifact import RESULT
from workloads.spec.base import Frozen
from workloads.spec.delivery import CollectLaunch, PublishLaunch, Store
from workloads.spec.launch import CompressLaunch, RegisterLaunch
from workloads.trainer.sources import belongs_to_site

Manifest = dict[str, Any]

_RUN: Final = WORK / "run"
_TRAINED: Final = _RUN / "trained"
_SHARDS: Final = WORK / "shards"
_COMPRESSED: Final = WORK / "compressed"
_REGISTERED: Final = WORK / "registered"
_SIGNING: Final = Path("/etc/isthmus/signing")

_TRIES: Final = 6
_POLL_S: Final = 30.0


@dataclass(frozen=True)
class Closing:
    """How a run is to be closed."""

    registry: str
    alias: str
    signing_secret: str
    signing_entry: str  # of the secret: the private key
    serves_whole: bool  # the trained model is what is served, not the compressed one


def specs(run: Launching, how: Closing, shared: Store, stores: Mapping[str, Store]) -> dict[str, Frozen]:
    """The launches of the steps, by file."""
    compressed = _COMPRESSED / "model"
    key = _SIGNING / how.signing_entry
    return {
        "collect.json": CollectLaunch(store=shared, run_id=run.run_id, folder=_RUN, poll_s=_POLL_S),
        "compress.json": CompressLaunch(
            recipe=run.recipe,
            model=_TRAINED,
            shards={site: _SHARDS / site for site in _judged(run)},
            output=_COMPRESSED,
        ),
        "register.json": RegisterLaunch(
            registry=how.registry,
            recipe=run.recipe,
            model=compressed,
            trained=_TRAINED,
            signing_key=key,
            alias=how.alias,
            output=_REGISTERED,
        ),
        "publish.json": PublishLaunch(
            model=_TRAINED if how.serves_whole else compressed,
            registered=_REGISTERED / RESULT,
            run_id=run.run_id,
            signing_key=key,
            alias=how.alias,
            stores=dict(stores),
        ),
    }


def job(run: Launching, around: Surroundings, how: Closing, config: pulumi.Input[str]) -> Manifest:
    """The job at the site of the shared store. `config` names the ConfigMap with the specs."""
    name = f"finish-{run.identity[:8]}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": TRAINING,
            "labels": {**labels(ACCOUNT), "isthmus.dev/run": run.run_id},
            # a run takes hours or days, which is too long for whoever brings the stack up
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        "spec": {
            "backoffLimit": _TRIES,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": pod_failure_policy(alone=True),
            "template": {
                "metadata": {"labels": pod_labels(run, around.shared), "annotations": dict(OUT_OF_MESH)},
                "spec": restricted(
                    {
                        "restartPolicy": "Never",
                        "serviceAccountName": ACCOUNT,
                        "securityContext": pods.pod_security(),
                        "affinity": dict(OFF_HYBRID_NODES),  # beside the shared store
                        **_steps(run, around, how, config),
                    }
                ),
            },
        },
    }


def _steps(run: Launching, around: Surroundings, how: Closing, config: pulumi.Input[str]) -> Manifest:
    """One after the other, each with the image that has what it needs; only the last two see the key."""
    used = list(around.stores.values())
    mounted = pods.mounts(used)
    signing = {"name": "signing", "mountPath": str(_SIGNING), "readOnly": True}
    environment = pods.store_environment(around.shared)
    asked = pods.resources(of_closing(run.recipe))
    trainer = (around.images.trainer, around.images.pull_policy)
    registry = (around.images.registry, around.images.pull_policy)

    def data(site: str) -> Manifest:
        arguments = ["workloads.delivery", "prepare", LAUNCH_AT, "--site", site, "--folder", str(_SHARDS / site)]
        return pods.container(f"data-{site}", trainer, arguments, environment, mounted, asked)

    def step(name: str, image: tuple[pulumi.Input[str], str], *command: str, signs: bool = False) -> Manifest:
        arguments = [*command, f"{pods.SPECS}/{name}.json"]
        return pods.container(name, image, arguments, environment, [*mounted, signing] if signs else mounted, asked)

    return {
        "initContainers": [
            step("collect", trainer, "workloads.delivery", "collect"),
            *map(data, _judged(run)),
            step("compress", trainer, "workloads.compression"),
            step("register", registry, "workloads.registry", signs=True),
        ],
        "containers": [step("publish", registry, "workloads.delivery", "publish", signs=True)],
        "volumes": [
            *pods.volumes(pods.of_config_map(config), used),
            {"name": "signing", "secret": {"secretName": how.signing_secret, "defaultMode": 0o440}},
        ],
    }


def _judged(run: Launching) -> tuple[str, ...]:
    """Sites whose held-out data can be made here: all, where each is dealt its part of a source that all see.

    Data of a site's own does not leave it, so the model is judged on the data of the shared store's side alone: that of
    the first site, which is where its address can be read.
    """
    return (run.first,) if belongs_to_site(run.recipe.data.source) else tuple(run.parts)
