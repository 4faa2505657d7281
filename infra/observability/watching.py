"""Whom Prometheus asks, and the values of its chart. Pure."""

from typing import Any, Final

from infra.manifests import labels
from infra.mesh import ports
from infra.mesh.fencing import INGRESS_NAMESPACE, MONITORING_NAMESPACE, SERVING, TRAINING
from infra.releases import OFF_HYBRID_NODES

Manifest = dict[str, Any]

_API: Final = "monitoring.coreos.com/v1"


def monitors() -> list[Manifest]:
    """Trainers, replicas and the gateway, with what the GPU operator brings: pods are asked, as not all have a service."""
    return [
        _pods("trainer", TRAINING, "trainer", ports.TRAINER_METRICS, "/metrics"),
        _pods("inference", SERVING, "inference", ports.INFERENCE_HEALTH, "/metrics"),
        _pods("istio-ingress", INGRESS_NAMESPACE, "istio-ingress", ports.SIDECAR_METRICS[0], "/stats/prometheus"),
        _dcgm(),
    ]


def chart_values() -> Manifest:
    """Of kube-prometheus-stack. What serves webhooks, and what must survive the link, stays near the control plane."""
    near = dict(OFF_HYBRID_NODES)
    everything = {
        f"{kind}SelectorNilUsesHelmValues": False for kind in ("podMonitor", "serviceMonitor", "rule", "probe")
    }
    return {
        # EKS runs these, and shows none of them
        **{part: {"enabled": False} for part in ("kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler")},
        "prometheusOperator": {"affinity": near, "admissionWebhooks": {"patch": {"affinity": near}}},
        "prometheus": {
            "prometheusSpec": {
                **everything,
                "affinity": near,
                "retention": "15d",
                "retentionSize": "40GB",
                "storageSpec": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "50Gi"}},
                        }
                    }
                },
            }
        },
        "alertmanager": {"alertmanagerSpec": {"affinity": near}},
        "grafana": {
            # empty: the chart draws one and keeps it in a secret; its own default is known to everybody
            "adminPassword": "",
            "affinity": near,
            "sidecar": {"dashboards": {"enabled": True, "label": "grafana_dashboard", "labelValue": "1"}},
        },
        "kube-state-metrics": {
            "affinity": near,
            "metricLabelsAllowlist": [f"nodes=[{ports.SITE_LABEL},isthmus.dev/pool]"],
        },
        "prometheus-node-exporter": {
            "prometheus": {
                "monitor": {
                    # the rules join a node's traffic to what the node has
                    "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}]
                }
            }
        },
    }


def _pods(name: str, namespace: str, app: str, port: int, path: str) -> Manifest:
    """A PodMonitor in Prometheus' namespace, on pods of another."""
    endpoint = {"portNumber": port, "path": path, "interval": "15s", "scheme": "http"}
    spec = {
        "namespaceSelector": {"matchNames": [namespace]},
        "selector": {"matchLabels": {ports.APP_LABEL: app}},
        "podMetricsEndpoints": [endpoint],
    }
    return _monitor("PodMonitor", name, spec)


def _dcgm() -> Manifest:
    # as the GPU operator names its service and port: https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/
    return _monitor(
        "ServiceMonitor",
        "dcgm",
        {
            "namespaceSelector": {"matchNames": ["gpu-operator"]},
            "selector": {"matchLabels": {"app": "nvidia-dcgm-exporter"}},
            "endpoints": [{"port": "gpu-metrics", "path": "/metrics", "interval": "15s"}],
        },
    )


def _monitor(kind: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": _API,
        "kind": kind,
        "metadata": {"name": f"isthmus-{name}", "namespace": MONITORING_NAMESPACE, "labels": labels(name)},
        "spec": spec,
    }
