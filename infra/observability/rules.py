"""What somebody is woken for, and what can wait till morning. Pure."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from infra.manifests import labels
from infra.mesh.fencing import MONITORING_NAMESPACE


@dataclass(frozen=True)
class Alert:
    """PromQL that has held for `after`; `words` may name labels of the series."""

    name: str
    expression: str
    after: str
    severity: Literal["critical", "warning"]
    words: str


_TRAINING_POD = 'namespace="isthmus-training"'
# a run whose job is over keeps its last values until Prometheus drops them
_RUNS = f'and on (namespace, pod) kube_pod_status_phase{{{_TRAINING_POD},phase="Running"}} == 1'

ALERTS: Final = (
    Alert(
        "IsthmusLinkDown",
        f"(isthmus_steps_ahead > 0 {_RUNS})",
        "10m",
        "warning",
        "site {{ $labels.site }} trains ahead by {{ $value }} steps: it cannot merge with the others; look at the tunnels",
    ),
    Alert(
        "IsthmusSiteUnreachable",
        'sum by (label_isthmus_dev_site) (kube_node_status_condition{condition="Ready",status="true"} * on (node) '
        'group_left (label_isthmus_dev_site) kube_node_labels{label_isthmus_dev_site!=""}) == 0',
        "5m",
        "critical",
        "no node of site {{ $labels.label_isthmus_dev_site }} is ready: the link or the site is down",
    ),
    Alert(
        "IsthmusRoundLate",
        f"(time() - isthmus_step_timestamp_seconds > 600 {_RUNS})",
        "5m",
        "critical",
        "site {{ $labels.site }} made no step for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "IsthmusRoundSlow",
        f"(isthmus_round_seconds > 2 * avg_over_time(isthmus_round_seconds[6h]) {_RUNS})",
        "30m",
        "warning",
        "rounds of site {{ $labels.site }} take {{ $value | humanizeDuration }}, twice their usual time",
    ),
    Alert(
        "IsthmusFramesRefused",
        "increase(isthmus_refused_frames_total[10m]) > 0",
        "0m",
        "warning",
        "site {{ $labels.site }} refused frames: {{ $labels.reason }}; see its log for from whom",
    ),
    Alert(
        "IsthmusCheckpointOld",
        f"(time() - isthmus_checkpoint_timestamp_seconds > 7200 {_RUNS})",
        "10m",
        "warning",
        "the newest checkpoint of site {{ $labels.site }} is {{ $value | humanizeDuration }} old",
    ),
    Alert(
        "IsthmusReplicasMissing",
        'kube_deployment_status_replicas_available{namespace=~"isthmus-serving|isthmus-registry|istio-ingress"} '
        '< kube_deployment_spec_replicas{namespace=~"isthmus-serving|isthmus-registry|istio-ingress"}',
        "10m",
        "critical",
        "{{ $labels.namespace }}/{{ $labels.deployment }} has {{ $value }} replicas, fewer than wanted",
    ),
    Alert(
        "IsthmusAnswersFail",
        'sum by (site) (rate(isthmus_inference_requests_total{status="5xx"}[5m])) '
        "/ sum by (site) (rate(isthmus_inference_requests_total[5m])) > 0.05",
        "5m",
        "critical",
        "{{ $value | humanizePercentage }} of the answers of site {{ $labels.site }} are errors",
    ),
    Alert(
        "IsthmusGpuLost",
        'kube_node_status_capacity{resource="nvidia_com_gpu"} '
        '> on (node) kube_node_status_allocatable{resource="nvidia_com_gpu"}',
        "5m",
        "critical",
        "node {{ $labels.node }} has fewer healthy GPUs than it has GPUs",
    ),
    Alert(
        "IsthmusGpuError",
        "DCGM_FI_DEV_XID_ERRORS > 0",
        "1m",
        "warning",
        "GPU {{ $labels.gpu }} of {{ $labels.Hostname }} reports XID {{ $value }}; "
        "see https://docs.nvidia.com/deploy/xid-errors/",
    ),
    # EFA goes past the kernel: a node that has it and moves this much through its ordinary interface has fallen back
    Alert(
        "IsthmusEfaUnused",
        'sum by (node) (rate(node_network_transmit_bytes_total{device!~"lo|veth.*|eni.*|cilium.*|lxc.*"}[5m])) > 5e8 '
        'and on (node) kube_node_status_allocatable{resource="vpc_amazonaws_com_efa"} > 0',
        "15m",
        "warning",
        "node {{ $labels.node }} has EFA and sends {{ $value | humanize }}B/s by TCP; look for NCCL's `NET/Socket` in the log",
    ),
    Alert(
        "IsthmusCertificateEnds",
        "certmanager_certificate_expiration_timestamp_seconds - time() < 14 * 86400",
        "1h",
        "critical",
        "certificate {{ $labels.namespace }}/{{ $labels.name }} ends in {{ $value | humanizeDuration }}, and was not renewed",
    ),
    Alert(
        "IsthmusRunWaits",
        'kueue_pending_workloads{cluster_queue="isthmus-training",status="active"} > 0',
        "1h",
        "warning",
        "a training run has waited for its GPUs for an hour",
    ),
)


def rule() -> dict[str, Any]:
    """All alerts as one object."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "isthmus", "namespace": MONITORING_NAMESPACE, "labels": labels("isthmus")},
        "spec": {"groups": [{"name": "isthmus", "rules": [_alert(alert) for alert in ALERTS]}]},
    }


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.after,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.words},
    }
