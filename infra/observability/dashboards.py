"""What is looked at: training, the link, serving and the GPUs. Pure.

Names of metrics are those of `workloads.trainer.watching.prometheus` and `workloads.inference.watching`, of Istio's proxies
(https://istio.io/latest/docs/reference/config/metrics/), of DCGM exporter's default counters, of kube-state-metrics and of
Kueue. A test holds each name against its exporter.
"""

import json
from typing import Any, Final

from infra.manifests import labels
from infra.mesh.fencing import MONITORING_NAMESPACE
from infra.observability.panels import Dashboard, Panel, Query

_RUN: Final = '{run=~"$run"}'

TRAINING: Final = Dashboard(
    "isthmus-training",
    "Isthmus: training",
    filters=(("run", "isthmus_round"),),
    panels=(
        Panel("Rounds merged", [Query(f"isthmus_round{_RUN}")], "none", 4, single=True),
        Panel(
            "Of the run",
            [Query(f"min(isthmus_round{_RUN} / isthmus_planned_rounds{_RUN})", "done")],
            "percentunit",
            4,
            single=True,
        ),
        Panel(
            "Age of the checkpoint",
            [Query(f"time() - isthmus_checkpoint_timestamp_seconds{_RUN}")],
            "s",
            8,
            single=True,
        ),
        Panel("Since the newest step", [Query(f"time() - isthmus_step_timestamp_seconds{_RUN}")], "s", 8, single=True),
        Panel(
            "Loss",
            [
                Query(f"isthmus_training_loss{_RUN}", "{{site}} training"),
                Query(f"isthmus_validation_loss{_RUN}", "{{site}} validation"),
            ],
            "none",
            12,
        ),
        Panel("Quality", [Query(f"isthmus_validation_quality{_RUN}", "{{site}} {{metric}}")], "none", 12),
        Panel("Samples", [Query(f"isthmus_samples_per_second{_RUN}")], "short"),
        Panel("Tokens", [Query(f"isthmus_tokens_per_second{_RUN}")], "short"),
        Panel("Model FLOPs utilisation", [Query(f"isthmus_model_flops_utilization_ratio{_RUN}")], "percentunit"),
        Panel("Time of a step", [Query(f"isthmus_step_seconds{_RUN}")], "s"),
        Panel("Gradient norm", [Query(f"isthmus_gradient_norm{_RUN}")], "none"),
        Panel("Learning rate", [Query(f"isthmus_learning_rate{_RUN}")], "none"),
        Panel("Waiting for quota", [Query("kueue_pending_workloads", "{{cluster_queue}} {{status}}")], "none", 24),
    ),
)

LINK: Final = Dashboard(
    "isthmus-link",
    "Isthmus: link",
    filters=(("run", "isthmus_round"),),
    panels=(
        Panel("Steps ahead of the merge", [Query(f"isthmus_steps_ahead{_RUN}")], "none", 8, single=True),
        Panel("Time of a round", [Query(f"isthmus_round_seconds{_RUN}")], "s", 16),
        Panel(
            "On the link",
            [
                Query(f"rate(isthmus_sent_bytes_total{_RUN}[5m])", "{{site}} sent"),
                Query(f"rate(isthmus_received_bytes_total{_RUN}[5m])", "{{site}} received"),
            ],
            "Bps",
            12,
        ),
        Panel(
            "Share of time that waits for the other sites",
            [
                Query(
                    f"rate(isthmus_link_wait_seconds_total{_RUN}[15m]) / rate(isthmus_training_seconds_total{_RUN}[15m])"
                )
            ],
            "percentunit",
            12,
        ),
        Panel(
            "Bytes a round",
            [Query(f"increase(isthmus_sent_bytes_total{_RUN}[1h]) / increase(isthmus_rounds_total{_RUN}[1h])")],
            "bytes",
            12,
        ),
        Panel(
            "Refused frames",
            [Query(f"increase(isthmus_refused_frames_total{_RUN}[15m])", "{{site}} {{reason}}")],
            "none",
            12,
        ),
        Panel(
            "Nodes ready",
            [
                Query(
                    'sum by (label_isthmus_dev_site) (kube_node_status_condition{condition="Ready",status="true"} '
                    '* on (node) group_left (label_isthmus_dev_site) kube_node_labels{label_isthmus_dev_site!=""})',
                    "{{label_isthmus_dev_site}}",
                )
            ],
            "none",
            24,
        ),
    ),
)

_FROM_DOOR: Final = '{reporter="source",destination_service_namespace="isthmus-serving"'

SERVING: Final = Dashboard(
    "isthmus-serving",
    "Isthmus: serving",
    panels=(
        Panel("In flight", [Query("sum by (site) (isthmus_inference_requests_in_flight)")], "none", 8, single=True),
        Panel(
            "Answers",
            [Query("sum by (site, status) (rate(isthmus_inference_requests_total[5m]))", "{{site}} {{status}}")],
            "reqps",
            16,
        ),
        Panel(
            "Latency at the replica",
            [
                Query(
                    f"histogram_quantile({q}, sum by (site, le) (rate(isthmus_inference_request_seconds_bucket[5m])))",
                    f"{{{{site}}}} p{round(q * 100)}",
                )
                for q in (0.5, 0.95, 0.99)
            ],
            "s",
            12,
        ),
        Panel(
            "Latency at the gateway",
            [
                Query(
                    f"histogram_quantile({q}, sum by (le) "
                    f"(rate(istio_request_duration_milliseconds_bucket{_FROM_DOOR}}}[5m]))) / 1000",
                    f"p{round(q * 100)}",
                )
                for q in (0.5, 0.95, 0.99)
            ],
            "s",
            12,
        ),
        Panel(
            "Requests by site that answered",
            [
                Query(
                    f"sum by (destination_workload, response_code) (rate(istio_requests_total{_FROM_DOOR}}}[5m]))",
                    "{{destination_workload}} {{response_code}}",
                )
            ],
            "reqps",
            12,
        ),
        Panel(
            "Replicas",
            [
                Query(
                    'kube_deployment_status_replicas_available{namespace="isthmus-serving"}',
                    "{{deployment}} available",
                ),
                Query('kube_deployment_spec_replicas{namespace="isthmus-serving"}', "{{deployment}} wanted"),
            ],
            "none",
            12,
        ),
    ),
)

GPUS: Final = Dashboard(
    "isthmus-gpus",
    "Isthmus: GPUs",
    filters=(("Hostname", "DCGM_FI_DEV_GPU_UTIL"),),
    panels=(
        Panel(
            "Utilisation", [Query('DCGM_FI_DEV_GPU_UTIL{Hostname=~"$Hostname"}', "{{Hostname}} {{gpu}}")], "percent", 12
        ),
        Panel(
            "Memory",
            [
                Query(
                    'DCGM_FI_DEV_FB_USED{Hostname=~"$Hostname"} / (DCGM_FI_DEV_FB_USED{Hostname=~"$Hostname"} '
                    '+ DCGM_FI_DEV_FB_FREE{Hostname=~"$Hostname"})',
                    "{{Hostname}} {{gpu}}",
                )
            ],
            "percentunit",
            12,
        ),
        Panel("Power", [Query('DCGM_FI_DEV_POWER_USAGE{Hostname=~"$Hostname"}', "{{Hostname}} {{gpu}}")], "watt"),
        Panel("Temperature", [Query('DCGM_FI_DEV_GPU_TEMP{Hostname=~"$Hostname"}', "{{Hostname}} {{gpu}}")], "celsius"),
        Panel(
            "Newest XID error", [Query('DCGM_FI_DEV_XID_ERRORS{Hostname=~"$Hostname"}', "{{Hostname}} {{gpu}}")], "none"
        ),
        Panel(
            "GPUs that can be given out, of those in the nodes",
            [
                Query('sum(kube_node_status_allocatable{resource="nvidia_com_gpu"})', "can be given out"),
                Query('sum(kube_node_status_capacity{resource="nvidia_com_gpu"})', "in the nodes"),
            ],
            "none",
            24,
        ),
    ),
)

ALL: Final = (TRAINING, LINK, SERVING, GPUS)


def config_map(dashboard: Dashboard) -> dict[str, Any]:
    """Where Grafana's sidecar finds the page."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": dashboard.uid,
            "namespace": MONITORING_NAMESPACE,
            "labels": {**labels(dashboard.uid), "grafana_dashboard": "1"},
        },
        "data": {f"{dashboard.uid}.json": json.dumps(dashboard.document(), sort_keys=True)},
    }
