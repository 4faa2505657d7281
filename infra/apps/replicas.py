"""Replicas of a model at a site: the pod that fetches it and answers. Pure.

The replica listens on loopback, so whatever reaches it has passed its proxy and the mesh's policies. Health and metrics
have a port of their own, which kubelet and Prometheus reach in plain text.
"""

from collections.abc import Mapping
from typing import Any, Final

import pulumi

from infra.apps import pods
from infra.apps.allotments import Allotment, of_replica
from infra.apps.pods import EVERYWHERE
from infra.apps.served import ACCOUNT, FETCH, MODEL, NAME, SERVE, TRUST, Service, name_at, selector
from infra.cloud_contracts import StoreContract
from infra.manifests import labels, restricted
from infra.mesh import ports
from infra.mesh.fencing import SERVING
from infra.mesh.guarding import API as SECURITY_API
from infra.mesh.routing import API
from infra.scheduling.quotas import GPU
from infra.scheduling.rendering import GPU_TAINT
from workloads.spec.errors import UserError

Manifest = dict[str, Any]

# whom Prometheus asks goes by the ports that a pod says it has
_PORTS: Final = [
    {"name": "http", "containerPort": ports.INFERENCE},
    {"name": "health", "containerPort": ports.INFERENCE_HEALTH},
]
_DRAIN_S: Final = 30  # as long as the replica gives requests in flight
_LEAVE_S: Final = 5  # until every proxy knows that it is to be asked no more


def proxy(service: Service) -> list[Manifest]:
    """The replica's own port by way of loopback, and the port of health and metrics.

    vLLM tells its metrics where it answers, so there the proxy lets nothing else through:
    https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioIngressListener
    """

    def listener(name: str, port: int, endpoint: str) -> Manifest:
        return {"port": {"number": port, "protocol": "HTTP", "name": name}, "defaultEndpoint": endpoint}

    def of_serving(api: str, kind: str, name: str, spec: Manifest) -> Manifest:
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": SERVING}, "spec": spec}

    own, all_of_them = f"127.0.0.1:{ports.INFERENCE}", {ports.APP_LABEL: NAME}
    # 0.0.0.0 stands for the pod's own address
    watched = own if service.is_vllm else f"{EVERYWHERE}:{ports.INFERENCE_HEALTH}"
    listeners = [listener("http", ports.INFERENCE, own), listener("http-health", ports.INFERENCE_HEALTH, watched)]
    sidecar = {"workloadSelector": {"labels": all_of_them}, "ingress": listeners}
    made = [of_serving(API, "Sidecar", NAME, sidecar)]
    if service.is_vllm:
        told = {"ports": [str(ports.INFERENCE_HEALTH)], "notPaths": ["/metrics", "/health"]}
        rules = [{"to": [{"operation": told}]}]
        spec = {"selector": {"matchLabels": all_of_them}, "action": "DENY", "rules": rules}
        made.append(of_serving(SECURITY_API, "AuthorizationPolicy", f"{NAME}-metrics-alone", spec))
    return made


def deployment(service: Service, site: str, store: StoreContract, specs: pulumi.Output[Mapping[str, str]]) -> Manifest:
    """Replicas at a site. New ones take over once they have their model, however long that takes; old ones serve meanwhile.

    `specs` are those of `served.specs`, by file.
    """
    mounted = [
        *pods.mounts([store]),
        {"name": "trust", "mountPath": str(TRUST), "readOnly": True},
    ]
    asked = of_replica(service.recipe, service.serving)
    fetch = pods.container(
        "fetch",
        (service.images.inference, service.images.pull_policy),
        ("workloads.delivery", "fetch", f"{pods.SPECS}/{FETCH}"),
        pods.store_environment(site),
        mounted,
        pods.resources(asked, limit_mib=2 * asked.memory_mib),
    )
    server = _vllm(service, mounted, asked) if service.is_vllm else _onnx(service, site, mounted, asked)
    server["lifecycle"] = {"preStop": {"sleep": {"seconds": _LEAVE_S}}}
    pod = {
        "serviceAccountName": ACCOUNT,
        "securityContext": pods.pod_security(),
        "terminationGracePeriodSeconds": _LEAVE_S + _DRAIN_S + 10,
        **_placing(site),
        "initContainers": [fetch],
        "containers": [server],
        "volumes": [
            *pods.volumes(pods.of_annotations(FETCH, SERVE), [store]),
            {"name": "trust", "configMap": {"name": service.trust}},
            *([{"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}] if service.is_vllm else []),
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name_at(site),
            "namespace": SERVING,
            "labels": {**labels(NAME), ports.SITE_LABEL: site},
            # a replica is ready when the run has led to a model, which is not what bringing the stack up waits for
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        "spec": {
            "replicas": service.serving.replicas.desired,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector(site)},
            "template": {
                "metadata": {
                    "labels": {**labels(NAME), **selector(site)},
                    # a replica calls nobody in the mesh; its store and its identity are reached as they are
                    "annotations": {
                        "traffic.sidecar.istio.io/includeOutboundIPRanges": "",
                        **pods.annotations(specs, FETCH, SERVE),
                    },
                },
                "spec": restricted(pod),
            },
        },
    }


def _placing(site: str) -> Manifest:
    """On the site's nodes, those without GPUs if there are any, apart from each other."""
    spread = {"labelSelector": {"matchLabels": selector(site)}, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
    return {
        "nodeSelector": {ports.SITE_LABEL: site},
        "tolerations": [{**GPU_TAINT, "operator": "Equal"}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "preference": {
                            # the GPU operator's feature discovery sets it
                            "matchExpressions": [{"key": "nvidia.com/gpu.present", "operator": "DoesNotExist"}]
                        },
                    }
                ]
            }
        },
        "topologySpreadConstraints": [
            {**spread, "topologyKey": "topology.kubernetes.io/zone"},
            {**spread, "topologyKey": "kubernetes.io/hostname"},
        ],
    }


def _onnx(service: Service, site: str, mounted: list[Manifest], asked: Allotment) -> Manifest:
    server = pods.container(
        "server",
        (service.images.inference, service.images.pull_policy),
        ("workloads.inference", f"{pods.SPECS}/{SERVE}"),
        pods.store_environment(site),
        mounted,
        pods.resources(asked, limit_mib=2 * asked.memory_mib),
    )
    server["ports"] = _PORTS
    return server | _probes("/v2/health/live", "/v2/health/ready", ports.INFERENCE_HEALTH)


def _vllm(service: Service, mounted: list[Manifest], asked: Allotment) -> Manifest:
    """The trained model behind OpenAI's protocol: https://docs.vllm.ai/en/stable/deployment/k8s/."""
    if service.images.vllm is None:
        raise UserError("runtime vllm has no image; set cloud.images.vllm, by digest")
    environment = {
        "HOME": "/tmp",  # noqa: S108 - a pod's own; caches go there
        "USER": "isthmus",  # the image does not know the pod's user, and PyTorch asks for its name
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [
        "vllm",
        "serve",
        str(MODEL),
        f"--served-model-name={service.recipe.name}",
        "--host=127.0.0.1",
        f"--port={ports.INFERENCE}",
        f"--tensor-parallel-size={service.serving.gpus}",
    ]
    server = pods.container(
        "server",
        (service.images.vllm, service.images.pull_policy),
        (),
        environment,
        [*mounted, {"name": "memory", "mountPath": "/dev/shm"}],  # noqa: S108 - between the GPUs' workers
        pods.resources(asked, limit_mib=2 * asked.memory_mib, devices={GPU: service.serving.gpus}),
    )
    del server["args"]
    # it has one port, on loopback: health is asked for in the pod
    healthy = {"exec": {"command": ["python3", "-c", _HEALTHY]}, "timeoutSeconds": 10}
    return server | {
        "command": command,
        "ports": _PORTS,
        "startupProbe": {**healthy, "periodSeconds": 10, "failureThreshold": 180},
        "readinessProbe": {**healthy, "periodSeconds": 10},
        "livenessProbe": {**healthy, "periodSeconds": 20, "failureThreshold": 6},
    }


_HEALTHY = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{ports.INFERENCE}/health', timeout=5)"


def _probes(live: str, ready: str, port: int) -> Manifest:
    def check(path: str) -> Manifest:
        return {"httpGet": {"path": path, "port": port}, "timeoutSeconds": 3}

    return {
        "startupProbe": {**check(ready), "periodSeconds": 3, "failureThreshold": 100},
        "readinessProbe": {**check(ready), "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {**check(live), "periodSeconds": 10, "failureThreshold": 6},
    }
