"""Where the schemas come from: Go modules at pinned versions with the hashes that `go.sum` would have."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Source:
    """A module and the kinds that the program uses of it, as `GROUP/VERSION/KIND`; those of the core are `v1/KIND`."""

    name: str
    module: str
    version: str
    sum: str
    files: tuple[str, ...]  # globs inside the module: CRDs, or for Kubernetes its own API
    kinds: tuple[str, ...]

    @property
    def application(self) -> str:
        """The version without its `v`, as charts have it."""
        return self.version.removeprefix("v")


KUBERNETES: Final = Source(
    "kubernetes",
    "k8s.io/kubernetes",
    "v1.34.4",
    "h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk=",
    ("api/openapi-spec/swagger.json", "pkg/generated/openapi/zz_generated.openapi.go"),
    (
        "apps/v1/DaemonSet",
        "apps/v1/Deployment",
        "apps/v1/StatefulSet",
        "autoscaling/v2/HorizontalPodAutoscaler",
        "batch/v1/CronJob",
        "batch/v1/Job",
        "networking.k8s.io/v1/NetworkPolicy",
        "policy/v1/PodDisruptionBudget",
        "rbac.authorization.k8s.io/v1/ClusterRole",
        "rbac.authorization.k8s.io/v1/ClusterRoleBinding",
        "rbac.authorization.k8s.io/v1/Role",
        "rbac.authorization.k8s.io/v1/RoleBinding",
        "scheduling.k8s.io/v1/PriorityClass",
        "storage.k8s.io/v1/StorageClass",
        "v1/ConfigMap",
        "v1/LimitRange",
        "v1/Namespace",
        "v1/PersistentVolumeClaim",
        "v1/Pod",
        "v1/ResourceQuota",
        "v1/Secret",
        "v1/Service",
        "v1/ServiceAccount",
    ),
)

CUSTOM: Final = (
    Source(
        "cilium",
        "github.com/cilium/cilium",
        "v1.18.3",
        "h1:E0SnxNDeWJ3AtO6IX0oIsJdODT71M/QCcj9LjuLdGK0=",
        ("pkg/k8s/apis/cilium.io/client/crds/v2/ciliumbgp*.yaml",),
        (
            "cilium.io/v2/CiliumBGPAdvertisement",
            "cilium.io/v2/CiliumBGPClusterConfig",
            "cilium.io/v2/CiliumBGPPeerConfig",
        ),
    ),
    Source(
        "cert-manager",
        "github.com/cert-manager/cert-manager",
        "v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        ("deploy/crds/cert-manager.io_*.yaml",),
        ("cert-manager.io/v1/Certificate", "cert-manager.io/v1/ClusterIssuer", "cert-manager.io/v1/Issuer"),
    ),
    Source(
        "istio",
        "istio.io/api",
        "v1.31.4",
        "h1:AcnncYrlDj1PJkym7h88Gggkef4MAra8QpGaXRMsr+E=",
        ("kubernetes/customresourcedefinitions.gen.yaml",),
        (
            "networking.istio.io/v1/DestinationRule",
            "networking.istio.io/v1/Gateway",
            "networking.istio.io/v1/ServiceEntry",
            "networking.istio.io/v1/Sidecar",
            "networking.istio.io/v1/VirtualService",
            "security.istio.io/v1/AuthorizationPolicy",
            "security.istio.io/v1/PeerAuthentication",
            "security.istio.io/v1/RequestAuthentication",
            "telemetry.istio.io/v1/Telemetry",
        ),
    ),
    Source(
        "jobset",
        "sigs.k8s.io/jobset",
        "v0.11.1",
        "h1:WgLEBnXTeX+4MxfVkIbfm4jIVgjvIY6Jfaei2okxKNk=",
        ("config/components/crd/bases/*.yaml",),
        ("jobset.x-k8s.io/v1alpha2/JobSet",),
    ),
    Source(
        "karpenter",
        "github.com/aws/karpenter-provider-aws",
        "v1.14.1",
        "h1:WGtIQTQcxpElYMdWfWuPwaF2+9muR+hYhPZsTtoY8Gs=",
        ("pkg/apis/crds/karpenter*.yaml",),
        ("karpenter.k8s.aws/v1/EC2NodeClass", "karpenter.sh/v1/NodePool"),
    ),
    Source(
        "keda",
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_*.yaml",),
        ("keda.sh/v1alpha1/ScaledObject", "keda.sh/v1alpha1/TriggerAuthentication"),
    ),
    Source(
        "kueue",
        "sigs.k8s.io/kueue",
        "v0.17.0",
        "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I=",
        ("config/components/crd/bases/*.yaml",),
        (
            "kueue.x-k8s.io/v1beta2/ClusterQueue",
            "kueue.x-k8s.io/v1beta2/Cohort",
            "kueue.x-k8s.io/v1beta2/LocalQueue",
            "kueue.x-k8s.io/v1beta2/ResourceFlavor",
            "kueue.x-k8s.io/v1beta2/Topology",
            "kueue.x-k8s.io/v1beta2/WorkloadPriorityClass",
        ),
    ),
    # the newest operator whose module has its CRDs in reach; within monitoring.coreos.com/v1 fields are only ever added
    Source(
        "prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        ("example/prometheus-operator-crd/*.yaml",),
        (
            "monitoring.coreos.com/v1/PodMonitor",
            "monitoring.coreos.com/v1/PrometheusRule",
            "monitoring.coreos.com/v1/ServiceMonitor",
        ),
    ),
)
