"""A training run as the cluster has it: its JobSet, its queue's word, its pods, and how far each site is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.apps.training_job import LAUNCH
from infra.mesh.fencing import TRAINING
from tests.lab.drills.view import View, condition, restarts
from workloads.spec.launch import LaunchSpec

CONTAINER: Final = "trainer"
_METRICS: Final = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9400/metrics', timeout=5).read().decode())"
)
_SAMPLE: Final = re.compile(r"^isthmus_(\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_RESUMED: Final = re.compile(r"training resumes after round (\d+) of \d+")


@dataclass(frozen=True)
class Run:
    """The run that the stack has submitted."""

    view: View
    job: str  # the JobSet's name
    launch: LaunchSpec

    @classmethod
    def of(cls, view: View, job: str) -> "Run":
        pod = view.one("jobset", job, TRAINING)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        (specs,) = [volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "specs"]
        text = view.one("configmap", specs, TRAINING)["data"][LAUNCH]
        return cls(view, job, LaunchSpec.model_validate_json(text))

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(site.name for site in self.launch.sites)

    def jobset(self) -> dict[str, Any]:
        return self.view.one("jobset", self.job, TRAINING)

    def workload(self) -> dict[str, Any]:
        """What the queue knows of it; empty before the queue has seen it."""
        owned = (each for each in self.view.all("workloads.kueue.x-k8s.io", TRAINING) if self._owns(each))
        return next(owned, {})

    def is_admitted(self) -> bool:
        return condition(self.workload(), "Admitted")

    def pods(self, site: str) -> list[dict[str, Any]]:
        labels = {"jobset.sigs.k8s.io/jobset-name": self.job, "jobset.sigs.k8s.io/replicatedjob-name": site}
        return self.view.all("pods", TRAINING, labels)

    def pod(self, site: str) -> dict[str, Any] | None:
        """The one whose trainer runs."""
        for pod in self.pods(site):
            states = pod.get("status", {}).get("containerStatuses", [])
            if "deletionTimestamp" not in pod["metadata"] and any("running" in each["state"] for each in states):
                return pod
        return None

    def standing(self, site: str) -> dict[str, float]:
        """The trainer's own figures by name, such as `round`, `step` and `steps_ahead`; none while it does not train."""
        pod = self.pod(site)
        if pod is None:
            return {}
        return figures(self.view.run(TRAINING, pod["metadata"]["name"], CONTAINER, "python", "-c", _METRICS))

    def round(self, site: str) -> int:
        return int(self.standing(site).get("round", 0))

    def await_round(self, number: int, limit_s: float, *sites: str) -> None:
        """Wait until all sites, or the given, have merged as many rounds, or the run is through."""
        wanted = sites or self.sites
        self.view.until(
            f"{self.job} has merged round {number}",
            lambda: self.is_through() or all(self.round(site) >= number for site in wanted),
            limit_s,
        )

    def is_through(self) -> bool:
        return condition(self.jobset(), "Completed")

    def await_end(self, limit_s: float) -> None:
        self.view.until(f"{self.job} is through", self.is_through, limit_s)

    def identities(self) -> dict[str, tuple[str, int]]:
        """By pod its unique id and its containers' restarts: equal ones say that nothing was started again."""
        pods = [pod for site in self.sites for pod in self.pods(site)]
        return {pod["metadata"]["name"]: (pod["metadata"]["uid"], restarts(pod)) for pod in pods}

    def resumed_after(self, site: str) -> int | None:
        """The round after which the site's newest pod says that it went on; None: it has not said so."""
        pod = self.pod(site)
        if pod is None:
            return None
        said = _RESUMED.findall(self.view.logs(TRAINING, pod["metadata"]["name"], CONTAINER))
        return int(said[-1]) if said else None

    def samples(self, site: str, standing: Mapping[str, float]) -> int:
        """That a site had trained on when it stood so."""
        return int(standing.get("step", 0)) * self.launch.plan.sites[site].batch

    @property
    def interval_rounds(self) -> int:
        """Rounds between two checkpoints."""
        return self.launch.recipe.train.checkpoint.every_rounds

    def _owns(self, workload: Mapping[str, Any]) -> bool:
        owners = workload["metadata"].get("ownerReferences", [])
        return any((owner["kind"], owner["name"]) == ("JobSet", self.job) for owner in owners)


def figures(text: str) -> dict[str, float]:
    """Metrics of the platform by name, without prefix and labels; of several with one name the last. Pure."""
    return {name: float(value) for name, value in _SAMPLE.findall(text)}


def flavors_of(workload: Mapping[str, Any]) -> dict[str, str]:
    """The flavor that the queue gave for GPUs, by pod set. Pure."""
    assignments = workload.get("status", {}).get("admission", {}).get("podSetAssignments", [])
    return {each["name"]: each.get("flavors", {}).get("nvidia.com/gpu", "") for each in assignments}
