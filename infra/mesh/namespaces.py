"""The namespaces of the platform's own workloads, each behind its fence before anything is in it."""

from infra.cloud_contracts import NAMESPACES, ClusterContract, NamespacesContract
from infra.manifests import apply, namespace
from infra.mesh import spaces
from infra.mesh.fencing import TRAINING, Networks, policies
from infra.scope import Scope
from infra.settings import Settings


def namespaces(scope: Scope, settings: Settings, cluster: ClusterContract) -> NamespacesContract:
    """Training stays out of the mesh: a sidecar breaks rendezvous and does not end with its job."""
    scope = scope.component("Namespaces", "namespaces")
    cloud = settings.of_cloud
    made = {}
    for name in NAMESPACES:
        injected = name != TRAINING
        # the first pod of all needs the CNI and names: no value of the cluster says that they are there
        made[name] = namespace(
            scope, name, *cluster.ready, security=spaces.security(injected, cloud.cluster), injected=injected
        )
    bounds = [
        apply(scope, f"{name}-{manifest['kind'].lower()}", manifest, space)
        for name, space in made.items()
        for manifest in (
            spaces.quota(name, cloud.serving, len(settings.sites)),
            *(() if name == TRAINING else (spaces.limits(name),)),
        )
    ]
    fences = [
        apply(scope, f"{policy['metadata']['namespace']}-{policy['metadata']['name']}", policy, made[_space(policy)])
        for policy in policies(Networks.of(settings))
    ]
    return NamespacesContract(ready=(*made.values(), *bounds, *fences))


def _space(policy: dict[str, dict[str, str]]) -> str:
    return policy["metadata"]["namespace"]
