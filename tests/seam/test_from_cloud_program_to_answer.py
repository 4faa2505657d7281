"""What a cloud stack renders, done: the commands of its pods, with their specs, one after the other on this machine.

Only places differ: folders in place of a pod's volumes and of buckets, loopback in place of pods' names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.infra.apps.program import containers, objects, served, told, trained
from tests.kit.artefacts import SigningKeys, make_signing_keys
from tests.kit.authority import Authority
from tests.kit.cloud import CloudProgram
from tests.kit.ports import free_port
from tests.kit.processes import run_module, running_module
from tests.kit.worlds import run_sites
from workloads.spec.artifact import ArtifactManifest
from workloads.spec.base import Endpoint
from workloads.spec.delivery import Delivered
from workloads.spec.launch import LaunchSpec, ServeLaunch
from workloads.spec.recipe import load_recipe

IRIS = load_recipe("iris")
SITES = ("aws-1", "os-1")


@dataclass(frozen=True)
class Machine:
    """This machine in the clouds' place."""

    folder: Path
    keys: SigningKeys
    registry: str

    def specs(self, pod: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / "pods" / pod / "specs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.here(pod, text), encoding="utf-8")

    def here(self, pod: str, text: str) -> str:
        """`text` of a pod, with this machine's places."""
        for there, here in {
            "/etc/isthmus/specs": f"{self.folder}/pods/{pod}/specs",
            "/etc/isthmus/signing/private.pem": str(self.keys.private),
            "/etc/isthmus/trust/public.pem": str(self.keys.public),
            "http://registry.isthmus-registry.svc:5000": self.registry,
            "/work": f"{self.folder}/pods/{pod}/work",
            **{f"s3://isthmus-dev-{site}": f"file://{self.folder}/stores/{site}" for site in SITES},
        }.items():
            text = text.replace(there, here)
        return text

    def run(self, pod: str, container: dict[str, Any]) -> str:
        module, *arguments = (self.here(pod, argument) for argument in container["args"])
        ended = run_module(module, *arguments)
        assert ended.returncode == 0, f"{container['name']}: {ended.stderr}"
        return ended.stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("clouds")
    port = free_port()
    log = folder / "registry.log"
    with running_module("workloads.registry.server", "--port", str(port), "--folder", folder / "registry", log=log):
        yield Machine(folder, make_signing_keys(folder / "keys"), f"http://127.0.0.1:{port}")


def on_loopback(machine: Machine, launch: LaunchSpec, specs: Path) -> None:
    """Give each site folders and ports of its own, and a certificate from an authority that stands for cert-manager."""
    authority = Authority(machine.folder / "pki")
    listen = {site.name: tuple(Endpoint(port=free_port()) for _ in site.listen) for site in launch.sites}
    sites = [
        site.model_copy(
            update={
                "listen": listen[site.name],
                "peers": {peer: listen[peer] for peer in site.peers},
                "credentials": authority.issue(site.name),
                "data": machine.folder / site.name / "data",
                "work": machine.folder / site.name / "state",
                "metrics": free_port(),
                "metrics_host": "127.0.0.1",
            }
        )
        for site in launch.sites
    ]
    launch.model_copy(update={"sites": tuple(sites)}).save(specs / "launch.json")


def train(machine: Machine, program: CloudProgram) -> LaunchSpec:
    """Each site's data and its training, then the closing of the run, step by step."""
    machine.specs("finish", program.named("training-specs").inputs["data"])
    specs = machine.folder / "pods" / "finish" / "specs"
    on_loopback(machine, LaunchSpec.load(specs / "launch.json"), specs)
    (jobset,) = objects(program, "JobSet").values()
    for job in jobset["spec"]["replicatedJobs"]:
        data = containers(job["template"]["spec"]["template"]["spec"])["data"]
        assert f"{job['name']}: " in machine.run("finish", data)
    run_sites(specs / "launch.json", SITES)
    (closing,) = objects(program, "Job").values()
    for step in containers(closing["spec"]["template"]["spec"]).values():
        machine.run("finish", step)
    return LaunchSpec.load(specs / "launch.json")


@contextmanager
def replica(machine: Machine, program: CloudProgram, site: str) -> Iterator[ServeLaunch]:
    template = objects(program, "Deployment")[f"inference-{site}"]["spec"]["template"]
    machine.specs(site, told(template))
    pod = template["spec"]
    machine.run(site, containers(pod)["fetch"])
    path = machine.folder / "pods" / site / "specs" / "serve.json"
    changes = {"listen": Endpoint(port=free_port()), "health": Endpoint(port=free_port())}
    launch = ServeLaunch.load(path).model_copy(update=changes)
    launch.save(path)
    module, spec = containers(pod)["server"]["args"]
    with running_module(module, machine.here(site, spec), log=machine.folder / f"{site}.log"):
        yield launch


def test_the_pods_of_a_cloud_stack_train_close_deliver_and_answer(machine):
    program = trained(IRIS)
    launch = train(machine, program)
    assert {site.data_digest for site in launch.sites} == {None}

    service = served(IRIS, run_id=program.result.run_id)
    for site in SITES:
        with replica(machine, service, site) as serving:
            body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}
            answer = httpx.post(f"http://{serving.listen}/v2/models/iris/infer", json=body, timeout=30)
            assert answer.status_code == 200, answer.text
            assert answer.json()["model_version"] == "1"
            assert answer.headers["x-served-by"] == site
            told = httpx.get(f"http://{serving.health}/metrics", timeout=30).text
            assert (
                f'isthmus_inference_requests_total{{model="iris",site="{site}",status="2xx",version="1"}} 1.0' in told
            )
        folder = machine.folder / "pods" / site / "work"
        delivered = Delivered.load(folder / "delivered.json")
        assert delivered.run_id == launch.run_id
        assert ArtifactManifest.load(folder / "model" / "manifest.json").kind == "compressed"
