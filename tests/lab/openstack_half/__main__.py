"""The OpenStack half of a cloud stack: the product's own components, with constants for what AWS would have made.

It declares the components of `infra.cloud_graph` that create something in an OpenStack project, in the same order and
under the same names. AWS's part of each is a value that AWS could have answered with.
"""

from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pulumi_aws as aws
import pulumi_openstack as openstack

from infra.addressing import address_plan
from infra.cloud_contracts import ClusterContract
from infra.cluster import gpu_servers
from infra.cluster.hybrid_identity import Anywhere
from infra.local.keys import CertificateAuthority
from infra.naming import Naming
from infra.network import balancing
from infra.network import openstack as openstack_network
from infra.network.gateway import gateway
from infra.network.vpnaas import vpnaas
from infra.providers import LocalProvider
from infra.scope import Platform, Scope
from infra.settings import PROJECT, Settings
from infra.storage.openstack_containers import container

ACCOUNT, REGION = "123456789012", "us-east-1"


def output(value: str) -> pulumi.Output[str]:
    return pulumi.Output.from_input(value)


def vpn_connection() -> aws.ec2.VpnConnection:
    """Both ends and keys of the tunnels: addresses of RFC 5737, and keys that open nothing."""
    return cast(
        "aws.ec2.VpnConnection",
        SimpleNamespace(
            tunnel1_address=output("198.51.100.11"),
            tunnel2_address=output("198.51.100.12"),
            tunnel1_preshared_key=pulumi.Output.secret("lab-tunnel-one"),
            tunnel2_preshared_key=pulumi.Output.secret("lab-tunnel-two"),
        ),
    )


def cluster(scope: Scope, version: str) -> ClusterContract:
    return cast("ClusterContract", SimpleNamespace(name=output(scope.naming.prefix), version=version, ready=()))


def identity(scope: Scope, site: str) -> Anywhere:
    """The authority is the stack's own, as it is with AWS; what AWS would trust it for has names only."""
    name = f"{site}-hybrid"
    authority = CertificateAuthority(
        f"{name}-authority", scope.keeper(), common_name=f"{scope.naming.prefix} hybrid nodes"
    )
    anchor, profile = (f"arn:aws:rolesanywhere:{REGION}:{ACCOUNT}:{kind}/lab" for kind in ("trust-anchor", "profile"))
    return Anywhere(authority, output(anchor), output(profile), output(f"arn:aws:iam::{ACCOUNT}:role/{name}"), ())


def build(settings: Settings, stack: str) -> dict[str, Any]:
    cloud, addresses = settings.of_cloud, address_plan(settings)
    site, values = settings.openstack_site
    naming = Naming(PROJECT, stack, cloud.owner, cloud.cost_center)
    provider = openstack.Provider("openstack", cloud=values.cloud, region=values.region)
    platform = Platform(naming.prefix, {"openstack": provider, "isthmus": LocalProvider("isthmus")})
    scope = Scope(naming, platform, cloud.protect)

    side = openstack_network.network(scope, settings, addresses)
    end = {"gateway": gateway, "vpnaas": vpnaas}[values.vpn]
    link = end(scope.component("Link", site.name), settings, addresses, vpn_connection(), side)
    store, _ = container(scope.component("Artefacts", "artefacts"), site.name, values, cloud.storage)
    inside = scope.component("GpuServers", f"{site.name}-gpu-servers")
    pools = gpu_servers.servers(
        inside,
        settings,
        addresses,
        REGION,
        side,
        cluster(scope, cloud.cluster.version),
        identity(inside, site.name),
        *link,
    )
    balanced = balancing.balancers(scope, settings, addresses, side, pools)
    platform.register_outputs({})
    return {
        "network": side.network_id,
        "mtu": side.mtu,
        "gateway": side.gateway_floating_ip,
        "doors": dict(balanced.doors),
        "outside": side.outside_address,
        "store": store.url,
        "access_key": store.access_key,
        "secret_key": store.secret_key,
        "pools": {pool.name: pool.nodes for pool in pools},
    }


settings = Settings.from_engine(pulumi.runtime.config.get_config_env(), pulumi.get_stack())
for name, value in build(settings, pulumi.get_stack()).items():
    pulumi.export(name, value)
