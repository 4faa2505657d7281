"""Where training runs wait for GPUs at all sites, and how the sites lend what is idle."""

from collections.abc import Sequence

from infra.cloud_contracts import NAMESPACES, ControllersContract, NamespacesContract, PoolContract, QueuesContract
from infra.manifests import apply
from infra.scheduling import rendering
from infra.scheduling.quotas import all_nodes_stand, covered_resources, flavor_name, nominal_quotas, training_pools
from infra.scope import Scope
from infra.settings import Settings


def queues(
    scope: Scope,
    settings: Settings,
    pools: Sequence[PoolContract],
    installed: ControllersContract,
    spaces: NamespacesContract,
) -> QueuesContract:
    """Kueue's objects over the pools of all sites.

    Raises:
        UserError: serving leaves a site no GPU for jobs.
    """
    scope = scope.component("Queues", "queues")
    cloud = settings.of_cloud
    chosen, by_topology = training_pools(pools), all_nodes_stand(settings)
    resources, quotas = covered_resources(pools), nominal_quotas(pools, cloud.serving)

    # kinds and webhooks are Kueue's: nothing here has a value that would wait for it
    topology = apply(scope, "queues-topology", rendering.topology(), *installed.ready)
    flavors = [
        apply(
            scope,
            f"{flavor_name(pool)}-flavor",
            rendering.flavor(pool, by_topology=by_topology),
            *installed.ready,
            topology,
        )
        for pool in pools
    ]
    cohort = apply(scope, "queues-cohort", rendering.cohort(), *installed.ready)
    priorities = [
        apply(scope, f"queues-{purpose}-priority", rendering.priority_class(purpose), *installed.ready)
        for purpose in rendering.PRIORITIES
    ]
    whole = {
        rendering.TRAINING_QUEUE: rendering.training_queue(pools, resources, quotas, cloud.queues),
        **{
            site: rendering.site_queue(site, pools, resources, quotas, cloud.queues)
            for site in dict.fromkeys(pool.site for pool in pools)
        },
    }
    entries = []
    for name, manifest in whole.items():
        queue = apply(scope, f"{name}-cluster-queue", manifest, *flavors, cohort)
        entries.append(apply(scope, f"{name}-local-queue", rendering.local_queue(name), queue, *spaces.ready))
    return QueuesContract(
        namespace=NAMESPACES[0],
        local_queue=rendering.TRAINING_QUEUE,
        priority_classes={purpose: purpose for purpose in rendering.PRIORITIES},
        flavors={site: flavor_name(pool) for site, pool in chosen.items()},
        ready=(*entries, *priorities),
        topology=dict.fromkeys(chosen, rendering.ZONE) if by_topology else {},
    )
