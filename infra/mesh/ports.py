"""Ports that pods of the platform listen on, and who they are by label."""

from typing import Final

RENDEZVOUS: Final = 7399  # of torchrun, between the workers of a site
EXCHANGE: Final = (7400, 7463)  # between sites, one a worker that leads a part: at most 64 workers
TRAINER_METRICS: Final = 9400
INFERENCE: Final = 8080
INFERENCE_HEALTH: Final = 8081
REGISTRY: Final = 5000
DATABASE: Final = 5432

DOOR: Final = 443
DOOR_NODE: Final = 30043
"""Of the gateway on its own nodes, where a load balancer looks for it.

From the lowest 86 of Kubernetes' range, which it gives to nobody who asks for none in particular:
https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/3668-reserved-service-nodeport-range
"""

# https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio
ISTIOD: Final = 15012
SIDECAR_METRICS: Final = (15020, 15090)  # merged with the application's own; Envoy's alone
SIDECAR_HEALTH: Final = 15021

SITE_LABEL: Final = "isthmus.dev/site"
"""On nodes, and on the pods of whatever runs at one site: network policies cannot see on which node a pod is."""

APP_LABEL: Final = "app.kubernetes.io/name"
"""`trainer`, `inference`, `registry`, `database` or `istio-ingress`, on their pods."""
