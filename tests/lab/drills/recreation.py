"""The platform destroyed with all that is in its cluster, and made again from the stores that were kept."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from infra.apps.registry_server import NAME as REGISTRY_NAME
from infra.mesh.fencing import INGRESS_NAMESPACE, REGISTRY, SERVING, TRAINING
from tests.lab.drills import serving
from tests.lab.drills.training import Run
from tests.lab.drills.view import View, condition
from tests.lab.drills.watch import Seen
from tests.lab.engine import Resource, Stack, with_all_needed

_BACKUP: Final = "registry-backup"
_LIMIT_S: Final = 600
_KEPT_KINDS: Final = ("isthmus:keys:SigningKey",)
_KEPT_COMPONENTS: Final = ("isthmus:platform:Artefacts",)
SPACES: Final = (TRAINING, SERVING, REGISTRY, INGRESS_NAMESPACE)


@dataclass(frozen=True)
class Lost:
    """How far the sites were when it happened, and where they went on."""

    round_before: int
    resumed_after_round: int
    interval_rounds: int  # between two checkpoints
    samples: int  # of all sites together, that are trained on again


@dataclass
class Recreation:
    """One of them, timed by stage."""

    stages: dict[str, float] = field(default_factory=dict)  # seconds, one after the other
    components: dict[str, float] = field(default_factory=dict)  # of the engine's second `up`, which overlap
    content: str = ""  # digest of the model that is served after it, signature included
    lost: Lost | None = None

    @property
    def total_s(self) -> float:
        return sum(self.stages.values())


def kept(resources: Sequence[Resource]) -> set[str]:
    """URNs of what a recreation starts from: the stores with all in them, the key that models are signed with. Pure."""
    chosen = [r["urn"] for r in resources if _is_kept(r)]
    return with_all_needed(resources, chosen)


def gone(resources: Sequence[Resource]) -> list[str]:
    """URNs of everything else. Pure."""
    stays = kept(resources)
    return [r["urn"] for r in resources if r["urn"] not in stays and not r.get("delete")]


def back_up_registry(view: View) -> None:
    """What the platform does every night, now."""
    name = f"{_BACKUP}-lab"
    view.delete("job", name, REGISTRY)
    view.cluster.kubectl("create", "job", name, f"--from=cronjob/{_BACKUP}", "-n", REGISTRY)
    view.until("the registry is backed up", lambda: condition(view.one("job", name, REGISTRY), "Complete"), _LIMIT_S)


def destroy(view: View, stack: Stack) -> float:
    """All but the stores, with what was in the cluster. Seconds."""
    began = time.monotonic()
    stack.destroy(gone(stack.resources()))
    view.until("the namespaces are gone", lambda: not [s for s in SPACES if view.there("namespace", s)], _LIMIT_S)
    seconds = time.monotonic() - began
    view.cluster.reset_volumes()
    return seconds


def recreate(view: View, stack: Stack, made: Recreation, sites: Iterable[str]) -> None:
    """`pulumi up`, until the registry answers and every site has a replica."""
    done = stack.up()
    made.stages["pulumi up"] = round(done.seconds, 1)
    made.components = {name: span.seconds for name, span in done.spans.items()}
    began = time.monotonic()
    deployment = f"deployment of the {REGISTRY_NAME}"
    view.until(f"the {deployment} is there", lambda: _available(view, REGISTRY_NAME, REGISTRY), _LIMIT_S)
    made.stages["registry answers"] = round(time.monotonic() - began, 1)
    began = time.monotonic()
    for site in sites:
        serving.await_replica(view, site, _LIMIT_S)
    made.stages["replicas ready"] = round(time.monotonic() - began, 1)


def lost_in_training(run: Run, seen: Mapping[str, Seen], kept_rounds: Mapping[str, Mapping[int, int]]) -> Lost:
    """What the sites train on again, once they have said after which round they went on.

    `seen` is how far each site was, `kept_rounds` the samples of its checkpoints, by round.
    """
    after = {site: run.resumed_after(site) or 0 for site in run.sites}
    return Lost(
        round_before=max(each.round for each in seen.values()),
        resumed_after_round=min(after.values()),
        interval_rounds=run.interval_rounds,
        samples=sum(max(0, seen[site].samples - kept_rounds[site].get(after[site], 0)) for site in run.sites),
    )


def _is_kept(resource: Mapping[str, Any]) -> bool:
    types = resource["urn"].split("::")[2].split("$")
    return resource["type"] in _KEPT_KINDS or any(kind in types for kind in _KEPT_COMPONENTS)


def _available(view: View, name: str, namespace: str) -> bool:
    return condition(view.one("deployment", name, namespace), "Available")
