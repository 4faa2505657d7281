"""What stands before the gateway of the OpenStack side: Octavia, with an address in the network of the nodes.

It passes TCP on as it is, so TLS ends at the gateway and nothing here has a key. Members hear from an amphora, which has an
address in their own subnet, and not from the client. OVN's provider keeps the client's address and knows no allowed
networks (https://docs.openstack.org/ovn-octavia-provider/): where it is the default, `door.provider` names another.
"""

from collections.abc import Sequence
from typing import Final

import pulumi
import pulumi_openstack as openstack

from infra.addressing import AddressPlan
from infra.cloud_contracts import BalancersContract, OpenStackNetworkContract, PoolContract
from infra.cloud_settings import DoorSettings
from infra.mesh import ports
from infra.network.options import alone
from infra.network.security import ANYWHERE, Rule, admit
from infra.scope import Scope
from infra.settings import Settings

_IDLE_MS: Final = 350_000  # as AWS's does: more than the longest request, whose first byte may be its last
_PROBE_S: Final = 5
_PROBE_LIMIT_S: Final = 3  # less than the time between two, which Octavia demands
_PROBES: Final = 2  # in a row, to be taken in or out


def balancers(
    scope: Scope,
    settings: Settings,
    addresses: AddressPlan,
    openstack_side: OpenStackNetworkContract,
    pools: Sequence[PoolContract],
) -> BalancersContract:
    """The load balancer of the OpenStack site, where it has one.

    Every GPU server is a member. Those without a proxy drop what comes for it (`externalTrafficPolicy: Local`), fail the
    monitor and are left out, so nothing has to know where proxies stand.
    """
    site, values = settings.openstack_site
    if not values.has_balancer:
        return BalancersContract({})
    name = f"{site.name}-door"
    scope = scope.component("LoadBalancer", name)
    physical, tags = scope.naming.physical(name, 255), scope.naming.tag_list(site.name)
    made = openstack.loadbalancer.LoadBalancer(
        name,
        name=physical,
        description="before the gateway of the models",
        vip_subnet_id=openstack_side.subnet_id,
        vip_address=str(addresses.openstack.door),
        loadbalancer_provider=values.door.provider,
        tags=tags,
        opts=alone(scope),  # of two one has the address
    )
    listener = openstack.loadbalancer.Listener(
        name,
        name=physical,
        loadbalancer_id=made.id,
        protocol="TCP",
        protocol_port=ports.DOOR,
        allowed_cidrs=allowed(values.door, addresses),
        timeout_client_data=_IDLE_MS,
        timeout_member_data=_IDLE_MS,
        tags=tags,
        opts=alone(scope),  # a load balancer has one on a port
    )
    pool = openstack.loadbalancer.Pool(
        name,
        name=physical,
        listener_id=listener.id,
        protocol="TCP",
        lb_method="LEAST_CONNECTIONS",
        tags=tags,
        opts=alone(scope),  # a listener has one
    )
    ready = _members(scope, site.name, openstack_side, pool, [a for each in pools for a in each.addresses])
    # a member's group knows nobody from outside it; only this port, and only from where amphorae speak
    let = admit(
        scope,
        f"{site.name}-nodes-door",
        openstack_side.node_security_group,
        Rule(addresses.openstack.nodes, "tcp", ports.DOOR_NODE),
    )
    address = made.vip_address
    if values.door.floating_ip:
        outside = openstack.networking.FloatingIp(
            name,
            pool=values.external_network,
            port_id=made.vip_port_id,
            description=f"{scope.naming.prefix} gateway of the models",
            tags=tags,
            opts=scope.child(*openstack_side.ready),  # Neutron refuses it while no router joins the port to the outside
        )
        address = outside.address
    return BalancersContract({site.name: address}, (listener, *ready, let))


def allowed(door: DoorSettings, addresses: AddressPlan) -> list[str]:
    """Networks that may come to the door. Pure.

    In the order of their text, as Octavia's database gives them back: they are a list to the provider, and another order
    would be a change.
    """
    if door.floating_ip and not door.clients:
        return [str(ANYWHERE)]
    return sorted({str(network) for network in (addresses.openstack.supernet, addresses.aws.vpc, *door.clients)})


def _members(
    scope: Scope,
    site: str,
    openstack_side: OpenStackNetworkContract,
    pool: "openstack.loadbalancer.Pool",  # in quotes: looked up, it imports a service that a stack may not need
    servers: Sequence[pulumi.Output[str]],
) -> list[pulumi.Resource]:
    members: list[pulumi.Resource] = [
        openstack.loadbalancer.Member(
            f"{site}-door-{index}",
            name=scope.naming.physical(f"{site}-door-{index}", 255),
            pool_id=pool.id,
            address=address,
            protocol_port=ports.DOOR_NODE,
            subnet_id=openstack_side.subnet_id,
            tags=scope.naming.tag_list(site),
            opts=scope.child(),
        )
        for index, address in enumerate(servers)
    ]
    monitor = openstack.loadbalancer.Monitor(
        f"{site}-door",
        name=scope.naming.physical(f"{site}-door", 255),
        pool_id=pool.id,
        type="TCP",
        delay=_PROBE_S,
        timeout=_PROBE_LIMIT_S,
        max_retries=_PROBES,
        max_retries_down=_PROBES,
        opts=alone(scope),  # a pool has one
    )
    return [*members, monitor]
