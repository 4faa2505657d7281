"""How many replicas a site has: by CPU, or by requests in flight as Prometheus knows them. Pure."""

from typing import Any, Final

from infra.apps.served import NAME, Service, name_at, selector
from infra.cloud_settings import ClusterSettings, ServingSettings
from infra.manifests import labels
from infra.mesh import ports
from infra.mesh.fencing import MONITORING_NAMESPACE, SERVING
from workloads.spec.errors import UserError

Manifest = dict[str, Any]

# of the release `monitoring` of kube-prometheus-stack, whose names it cuts to 26 characters
PROMETHEUS: Final = f"http://monitoring-kube-prometheus-prometheus.{MONITORING_NAMESPACE}.svc:9090"
_BUSY_PERCENT: Final = 70  # of the CPUs that replicas ask for
_CALM_S: Final = 300  # before replicas are taken away


def autoscaler(service: Service, site: str) -> Manifest:
    """Who sets the number of replicas at a site."""
    return _by_cpu(service, site) if service.serving.scale_on == "cpu" else _by_requests(service, site)


def require_counter(serving: ServingSettings, cluster: ClusterSettings) -> None:
    """Raises `UserError` if requests are to be counted, and there is no Prometheus that would."""
    if serving.scale_on == "requests" and serving.prometheus is None and not cluster.monitored:
        raise UserError(
            "serving.scale_on requests needs Prometheus, and cluster.monitored is false; set "
            "cloud.serving.scale_on: cpu, or cloud.serving.prometheus to the address of one"
        )


def _by_cpu(service: Service, site: str) -> Manifest:
    low, high = _bounds(service)
    spec = {
        "scaleTargetRef": _target(site),
        "minReplicas": low,
        "maxReplicas": high,
        "metrics": [
            {
                "type": "ContainerResource",  # of the model's own container, not its proxy's
                "containerResource": {
                    "name": "cpu",
                    "container": "server",
                    "target": {"type": "Utilization", "averageUtilization": _BUSY_PERCENT},
                },
            }
        ],
        "behavior": _behavior(),
    }
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", site, spec)


def _by_requests(service: Service, site: str) -> Manifest:
    serving = service.serving
    low, high = _bounds(service)
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": serving.prometheus or PROMETHEUS,
            "query": in_flight(service, site),
            "threshold": str(serving.requests_per_replica),
            # a site that nobody has asked yet has no series
            "ignoreNullValues": "true",
        },
    }
    spec = {
        "scaleTargetRef": _target(site),
        "minReplicaCount": low,
        "maxReplicaCount": high,
        "pollingInterval": 15,
        # Prometheus may be away: what stands goes on standing
        "fallback": {
            "failureThreshold": 4,
            "replicas": serving.replicas.desired,
            "behavior": "currentReplicasIfHigher",
        },
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior()}},
        "triggers": [trigger],
    }
    return _object("keda.sh/v1alpha1", "ScaledObject", site, spec)


def in_flight(service: Service, site: str) -> str:
    """PromQL of the requests that a site's replicas are answering."""
    if not service.is_vllm:
        return f'sum(isthmus_inference_requests_in_flight{{site="{site}"}})'
    pods = f'{{namespace="{SERVING}",pod=~"{name_at(site)}-.*"}}'
    return f"sum(vllm:num_requests_running{pods}) + sum(vllm:num_requests_waiting{pods})"


def disruption_budget(site: str) -> Manifest:
    """One replica at a time: with one alone, the other site answers while a node is emptied."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(site)}}
    return _object("policy/v1", "PodDisruptionBudget", site, spec)


def _bounds(service: Service) -> tuple[int, int]:
    """At least one: without a replica there is nobody to count requests."""
    return max(1, service.serving.replicas.min), service.serving.replicas.max


def _target(site: str) -> Manifest:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name_at(site)}


def _behavior() -> Manifest:
    return {"scaleDown": {"stabilizationWindowSeconds": _CALM_S}}


def _object(api: str, kind: str, site: str, spec: Manifest) -> Manifest:
    named = {**labels(NAME), ports.SITE_LABEL: site}
    metadata = {"name": name_at(site), "namespace": SERVING, "labels": named}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}
