"""A training run as a JobSet with a job at each site. Pure.

A site that fails is started again alone while it has one pod: the others train on meanwhile, and it goes on from its own
checkpoint. The workers of a site with several pods stand or fall together, and JobSet can restart no job but all:
https://jobset.sigs.k8s.io/docs/concepts/#failure-policy
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi

from infra.apps import pods
from infra.apps.launching import Launching, SitePart
from infra.cloud_contracts import ImagesContract, QueuesContract, StoreContract
from infra.cluster import huge_pages
from infra.manifests import labels, restricted
from infra.mesh import ports
from infra.mesh.fencing import TRAINING
from infra.scheduling.quotas import EFA, GPU
from infra.scheduling.rendering import GPU_TAINT
from workloads.spec.errors import USER_ERROR_EXIT

Manifest = dict[str, Any]

API: Final = "jobset.x-k8s.io/v1alpha2"
ACCOUNT: Final = "trainer"
LAUNCH: Final = "launch.json"
LAUNCH_AT: Final = f"{pods.SPECS}/{LAUNCH}"

OUT_OF_MESH: Final = {"sidecar.istio.io/inject": "false"}  # it would break the rendezvous, and never end

_TRIES_OF_A_POD: Final = 6
_RESTARTS: Final = 3
_GRACE_S: Final = 60  # a round's state is durable already; what is being written may become so
_SHARED_MEMORY_SHARE: Final = 4  # of a pod's memory, at most one in so many parts


@dataclass(frozen=True)
class Surroundings:
    """What the run's pods meet in the cluster."""

    images: ImagesContract
    queue: QueuesContract
    stores: Mapping[str, StoreContract]
    shared: str  # the site whose store all reach


def jobset(run: Launching, around: Surroundings, specs: pulumi.Input[str]) -> Manifest:
    """The whole run, suspended: the queue starts it when all sites have room. `specs` names its ConfigMap."""
    return {
        "apiVersion": API,
        "kind": "JobSet",
        "metadata": {
            "name": run.job,
            "namespace": TRAINING,
            "labels": {
                **labels(ACCOUNT),
                "kueue.x-k8s.io/queue-name": around.queue.local_queue,
                "kueue.x-k8s.io/priority-class": around.queue.priority_classes["training"],
                "isthmus.dev/run": run.run_id,
            },
        },
        "spec": {
            "suspend": True,
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": list(run.parts)},
            "failurePolicy": {"maxRestarts": _RESTARTS, "restartStrategy": "BlockingRecreate", "rules": _rules()},
            "replicatedJobs": [_replicated(run, site, around, specs) for site in run.parts],
        },
    }


def _rules() -> list[Manifest]:
    """A mistake is not made again; pods that were taken away are no fault of the run.

    The message says which rule of the pod failure policy a job failed by:
    https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/controller/job/pod_failure_policy.go
    """
    return [
        {
            "name": "mistake",
            "action": "FailJobSet",
            "onJobFailureReasons": ["PodFailurePolicy"],
            "onJobFailureMessagePatterns": [".*rule at index 0.*"],
        },
        {
            "name": "disruption",
            "action": "RestartJobSetAndIgnoreMaxRestarts",
            "onJobFailureReasons": ["PodFailurePolicy"],
            "onJobFailureMessagePatterns": [".*rule at index 1.*"],
        },
    ]


def pod_failure_policy(*, alone: bool) -> Manifest:
    """A pod that stands alone and is taken away comes back alone; one of several takes its job with it."""
    return {
        "rules": [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [USER_ERROR_EXIT]}},
            {
                "action": "Ignore" if alone else "FailJob",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
        ]
    }


def _replicated(run: Launching, site: str, around: Surroundings, specs: pulumi.Input[str]) -> Manifest:
    part = run.parts[site]
    alone = part.nodes == 1
    job = {
        "completionMode": "Indexed",
        "completions": part.nodes,
        "parallelism": part.nodes,
        "backoffLimit": _TRIES_OF_A_POD if alone else 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": pod_failure_policy(alone=alone),
        "template": _template(run, site, _trainer_pod(run, site, around, specs), around.queue.topology.get(site)),
    }
    return {"name": site, "replicas": 1, "template": {"metadata": {}, "spec": job}}


def pod_labels(run: Launching, site: str) -> dict[str, str]:
    """Labels of the run's pods: network policies know them by application and site, and Istio leaves them alone."""
    return {**labels(ACCOUNT), ports.SITE_LABEL: site, "isthmus.dev/run": run.run_id, **OUT_OF_MESH}


def _template(run: Launching, site: str, pod: Manifest, level: str | None) -> Manifest:
    return {
        "metadata": {
            "labels": pod_labels(run, site),
            "annotations": {
                **OUT_OF_MESH,
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(ports.TRAINER_METRICS),
                # https://kueue.sigs.k8s.io/docs/concepts/topology_aware_scheduling/
                **({"kueue.x-k8s.io/podset-required-topology": level} if level else {}),
            },
        },
        "spec": restricted(
            {
                "restartPolicy": "Never",
                "serviceAccountName": ACCOUNT,
                "securityContext": pods.pod_security(),
                "terminationGracePeriodSeconds": _GRACE_S,
                # of the flavor that the queue is to give: it compares them with the flavor's own
                "nodeSelector": {
                    key: run.parts[site].pool.labels[key] for key in (ports.SITE_LABEL, "isthmus.dev/pool")
                },
                "tolerations": [{**GPU_TAINT, "operator": "Equal"}],
                **pod,
            }
        ),
    }


def _trainer_pod(run: Launching, site: str, around: Surroundings, specs: pulumi.Input[str]) -> Manifest:
    part = run.parts[site]
    used = [around.stores[name] for name in dict.fromkeys((site, around.shared))]
    mounted = pods.mounts(used)
    environment = {**pods.store_environment(site), **_environment(part)}
    pool = part.pool
    by_efa = around.images.trainer_efa if pool.efa_per_node else None
    image = (around.images.trainer if by_efa is None else by_efa, around.images.pull_policy)
    asked = pods.resources(part.trainer, devices={GPU: pool.gpus_per_node, EFA: pool.efa_per_node})
    if pool.efa_per_node:
        for bound in asked.values():
            bound.update(huge_pages.ASKED)
    memory = f"{part.trainer.memory_mib // _SHARED_MEMORY_SHARE}Mi"
    made_here = ("workloads.delivery", "prepare", LAUNCH_AT, "--site", site)
    return {
        "initContainers": [
            pods.container("data", image, made_here, environment, mounted, pods.resources(part.trainer))
        ],
        "containers": [
            {
                **pods.container(
                    "trainer",
                    image,
                    _torchrun(run, site),
                    environment,
                    [
                        *mounted,
                        {"name": "tls", "mountPath": "/etc/isthmus/tls", "readOnly": True},
                        {"name": "memory", "mountPath": "/dev/shm"},  # noqa: S108 - what NCCL and Gloo share
                    ],
                    asked,
                ),
                "ports": [
                    {"name": "metrics", "containerPort": ports.TRAINER_METRICS},
                    *(
                        {"name": f"exchange-{shard}", "containerPort": ports.EXCHANGE[0] + shard}
                        for shard in range(run.plan.shards)
                    ),
                ],
            }
        ],
        "volumes": [
            *pods.volumes(pods.of_config_map(specs), used),
            {"name": "tls", "secret": {"secretName": tls_secret(site), "defaultMode": 0o440}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": memory}},
        ],
    }


def _torchrun(run: Launching, site: str) -> list[str]:
    """A worker a GPU. A node's rank is its pod's index: exchanges are addressed by the pod that a rank runs in.

    https://docs.pytorch.org/docs/stable/elastic/run.html
    """
    part, meeting = run.parts[site], run.rendezvous(site)
    return [
        "torch.distributed.run",
        f"--nnodes={part.nodes}",
        f"--nproc-per-node={part.pool.gpus_per_node}",
        "--node-rank=$(JOB_COMPLETION_INDEX)",
        f"--master-addr={meeting.host}",
        f"--master-port={meeting.port}",
        "--max-restarts=0",
        "-m",
        "workloads.trainer",
        LAUNCH_AT,
        f"--site={site}",
    ]


def _environment(part: SitePart) -> dict[str, str]:
    """Threads, and the fabric between nodes: where there is EFA, NCCL must use it or fail, never fall back to TCP.

    `NCCL_NET` names what has to be there and `NCCL_NET_PLUGIN` the library that it is in, which goes by another name than
    NCCL's own: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html. Nothing is said of forks, huge pages
    and RDMA: plugin and libfabric find these out, and a demand for huge pages with one for safe forks is refused:
    https://github.com/aws/aws-ofi-nccl/blob/master/doc/efa-env-var.md
    """
    environment = {"OMP_NUM_THREADS": str(part.threads)}
    if part.nodes > 1:
        environment |= {"NCCL_SOCKET_IFNAME": "eth0", "GLOO_SOCKET_IFNAME": "eth0"}
        if part.pool.efa_per_node:
            environment |= {"FI_PROVIDER": "efa", "NCCL_NET": "AWS Libfabric", "NCCL_NET_PLUGIN": "ofi"}
    return environment


def tls_secret(site: str) -> str:
    """The Secret with a site's identity."""
    return f"{site}-tls"


def certificate(site: str, issuer: str) -> Manifest:
    """A site's identity among its peers: its DNS name is the site's, which is what the other side checks.

    It outlives a long run, as a trainer reads it once.
    """
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": tls_secret(site), "namespace": TRAINING},
        "spec": {
            "secretName": tls_secret(site),
            "commonName": site,
            "dnsNames": [site],
            "usages": ["server auth", "client auth"],
            "duration": "4320h0m0s",
            "renewBefore": "2160h0m0s",
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer},
        },
    }
