"""Requests from each side, as a client of the platform makes them: TLS, the service's name, the gateway at that side."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.apps.served import name_at, selector
from infra.mesh import ingress, ports
from infra.mesh.fencing import INGRESS_NAMESPACE, SERVING
from tests.lab.daemons import LabError, met
from tests.lab.drills import probes
from tests.lab.drills.view import View, condition

PATIENCE_S: Final = 20
_TOLD: Final = "%{http_code} %header{x-served-by}"
_SETTLES_S: Final = 5  # a request that was under way when the link went
_READY_S: Final = 300
FLOWER: Final = {
    "inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}],
}
"""The first of Fisher's: a setosa."""


@dataclass(frozen=True)
class Answer:
    """What came back; status 0: nothing did."""

    status: int
    served_by: str  # the site of the replica, by its own header
    body: str

    @property
    def label(self) -> str:
        outputs = {output["name"]: output for output in json.loads(self.body)["outputs"]}
        return str(outputs["label"]["data"][0])


@dataclass(frozen=True)
class Client:
    """Asks from a probe at each site by the gateway at that site."""

    view: View
    host: str
    doors: dict[str, str]  # addresses of gateways, by site

    def ask(self, site: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        command = [*curl(self.host, self.doors[site]), *_payload(body), f"https://{self.host}{path}"]
        try:
            said = self.view.run(probes.NAMESPACE, site, probes.CONTAINER, *command)
        except LabError as error:
            return Answer(0, "", str(error))
        text, _, last = said.rpartition("\n")
        status, _, served_by = last.partition(" ")
        return Answer(int(status or 0), served_by.strip(), text)

    def served_by(self, site: str, path: str, times: int = 6) -> list[str]:
        """Sites that answered as many requests, those without an answer as an empty text."""
        answers = [self.ask(site, path) for _ in range(times)]
        return [answer.served_by if answer.status == 200 else "" for answer in answers]


def curl(host: str, address: str) -> list[str]:
    """The command of a client, which trusts whatever certificate: the ingress's authority is the platform's own. Pure."""
    resolved = f"{host}:443:{address}"
    return ["curl", "-sk", "--max-time", str(PATIENCE_S), "--resolve", resolved, "-w", f"\n{_TOLD}"]


def _payload(body: dict[str, Any] | None) -> list[str]:
    if body is None:
        return []
    return ["-H", "content-type: application/json", "--data-binary", json.dumps(body)]


def open_doors(view: View, host: str, sites: Sequence[str]) -> Client:
    """A client with the platform's gateway at each site, by a proxy of it that is ready."""
    return Client(view, host, {site: _door(view, site) for site in sites})


def _door(view: View, site: str) -> str:
    wanted = {ports.APP_LABEL: ingress.NAME, ports.SITE_LABEL: site}

    def ready() -> str:
        return ready_address(view.all("pods", INGRESS_NAMESPACE, wanted))

    return view.until(f"a gateway at {site} is ready", ready, _READY_S)


def ready_address(pods: Sequence[dict[str, Any]]) -> str:
    """Of a pod that is ready and stays; an empty text where there is none. Pure."""
    staying = [pod for pod in pods if condition(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]]
    return str(staying[0]["status"]["podIP"]) if staying else ""


def replicas(view: View, site: str) -> list[dict[str, Any]]:
    """Pods of the service at a site that are ready."""
    return [pod for pod in view.all("pods", SERVING, selector(site)) if condition(pod, "Ready")]


def await_replica(view: View, site: str, limit_s: float = _READY_S) -> dict[str, Any]:
    return view.until(f"a replica at {site} is ready", lambda: replicas(view, site), limit_s)[0]


def scale(view: View, site: str, count: int) -> None:
    """As many replicas at a site, and wait. None at all also stops the autoscaler, until there is one again."""
    view.cluster.kubectl("scale", f"deployment/{name_at(site)}", "-n", SERVING, f"--replicas={count}")
    view.until(
        f"{count} replicas stand at {site}",
        lambda: len(replicas(view, site)) == count and len(view.all("pods", SERVING, selector(site))) == count,
        _READY_S,
    )


def through_a_cut(view: View, client: Client, path: str, seconds: float) -> dict[str, list[str]]:
    """By side, who answered each request that was begun while the link was cut; an empty text for one without an answer.

    The far side cannot be asked over the link while it is cut, so a pod at each side asks by itself and writes down when.
    """
    askers = {
        site: probes.pod(f"asker-{site}", site, command=("sh", "-c", _asking(client, site, path)))
        for site in client.doors
    }
    probes.start(view, *askers.values())
    view.cluster.cut()
    began = time.time()
    try:
        met(lambda: time.time() - began >= seconds, seconds + 1)
    finally:
        view.cluster.mend()
    told = {
        site: view.until(
            f"{site} tells", lambda site=site: view.logs(probes.NAMESPACE, f"asker-{site}", probes.CONTAINER), 60
        )
        for site in askers
    }
    for site in askers:
        view.delete("pod", f"asker-{site}", probes.NAMESPACE)
    return {site: _answers(text, began + _SETTLES_S, began + seconds - 1) for site, text in told.items()}


def _asking(client: Client, site: str, path: str) -> str:
    command = " ".join(map(shlex.quote, [*curl(client.host, client.doors[site])[:-1], _TOLD]))
    return f"while :; do begun=$(date +%s.%N); echo $begun $({command} -o /dev/null https://{client.host}{path}); sleep 1; done"


def _answers(text: str, begin: float, end: float) -> list[str]:
    """Of an asker's lines `MOMENT STATUS SITE`, the sites of those moments. Pure."""
    found = []
    for line in text.splitlines():
        moment, status, *site = line.split()
        if begin <= float(moment) <= end:
            found.append(site[0] if status == "200" and site else "")
    return found
