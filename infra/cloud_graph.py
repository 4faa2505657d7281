"""The wiring of a platform over two clouds: reads from top to bottom like its picture."""

from typing import Any

from infra.access import account, signing
from infra.addressing import address_plan
from infra.apps import images, inference, registry, training
from infra.cloud_checks import check_cloud
from infra.cloud_providers import CloudProviders
from infra.cluster import control_plane, controllers, gpu_pools, gpu_servers
from infra.mesh import certificates, istio, namespaces
from infra.naming import Naming
from infra.network import aws as aws_network
from infra.network import balancing, vpn
from infra.network import openstack as openstack_network
from infra.observability import monitoring
from infra.planned import plan_figures
from infra.scheduling import queues
from infra.scope import Platform, Scope
from infra.settings import PROJECT, Settings
from infra.storage import artefacts, keys, repositories
from workloads.spec.recipe import load_recipe


def build_cloud(settings: Settings, stack: str) -> dict[str, Any]:
    """Declare the platform and give what the stack exports.

    Raises:
        UserError: some value does not fit; said before the first resource, so that nothing is there to be taken down.
    """
    recipe = load_recipe(settings.training.recipe, settings.training.overrides)
    cloud, addresses = settings.of_cloud, address_plan(settings)
    check_cloud(settings, recipe)
    naming = Naming(PROJECT, stack, cloud.owner, cloud.cost_center)
    providers = CloudProviders.of(settings, naming)
    platform = Platform(naming.prefix, providers.clouds)
    scope = Scope(naming, platform, cloud.protect)

    here = account.account(scope, settings)
    keyring = keys.keys(scope, settings, here)
    aws_side = aws_network.network(scope, settings, addresses, keyring)
    openstack_side = openstack_network.network(scope, settings, addresses)
    link = vpn.link(scope, settings, addresses, aws_side, openstack_side, keyring)
    stores = artefacts.stores(scope, settings, here, keyring)
    repository = repositories.repositories(scope, settings)
    pictures = images.images(scope, settings, repository)

    cluster = control_plane.cluster(scope, settings, addresses, here, aws_side, openstack_side, keyring)
    inside = scope.component("Cluster", "inside", {"kubernetes": cluster.provider})
    installed = controllers.install(inside, settings, addresses, cluster)
    pools = (
        *gpu_pools.pools(scope, settings, aws_side, cluster),
        *gpu_servers.pools(scope, settings, addresses, here, openstack_side, link, cluster),
    )
    balanced = balancing.balancers(scope, settings, addresses, openstack_side, pools)
    spaces = namespaces.namespaces(inside, settings, cluster)
    queue = queues.queues(inside, settings, pools, installed, spaces)
    issuers = certificates.issuers(inside, settings, installed, spaces)
    mesh = istio.mesh(inside, settings, installed, issuers, spaces)
    monitoring.monitoring(inside, settings, installed)

    signer = signing.signing_keys(inside, settings, spaces)
    models = registry.registry(inside, settings, cluster, stores, pictures, mesh)
    run = training.train(
        inside, settings, recipe, pools, queue, link, stores, cluster, pictures, issuers, models, signer
    )
    service = inference.serve(inside, settings, recipe, stores, cluster, pictures, mesh, run, signer)
    platform.register_outputs({})
    return {
        "endpoints": {site.name: service.url for site in settings.sites},
        "doors": {**mesh.doors, **balanced.doors},  # what the host's name has to lead to, from each side
        "registry": models.url,
        "cluster": {"name": cluster.name, "endpoint": cluster.endpoint},
        "model": {"name": recipe.name, "recipe": settings.training.recipe},
        "run": {"id": run.run_id, "job": run.job},
        "sites": run.sites,
        "plan": plan_figures(run.plan),
        "link": {"rate_mbps": link.rate_mbps, "rtt_ms": link.rtt_ms, "mtu": link.mtu, "pod_mtu": link.pod_mtu},
        "stores": {store.site: store.url for store in stores.values()},
        # what a recovery needs, so keep them where the lost region is not
        "recovery": {
            "restore_from": {name: store.replica for name, store in stores.items() if store.replica is not None},
            "trusted_key": signer.public_pem,
        },
    }
