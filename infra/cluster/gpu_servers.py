"""Nodes with GPUs on OpenStack: servers of the project's flavors that join the cluster at their first boot."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_openstack as openstack

from infra.addressing import AddressPlan
from infra.cloud_contracts import (
    AccountContract,
    CloudLinkContract,
    ClusterContract,
    OpenStackNetworkContract,
    PoolContract,
)
from infra.cloud_settings import GpuServers
from infra.cluster import node_keys
from infra.cluster.boot import Boot, user_data
from infra.cluster.hybrid_identity import Activated, Anywhere, activated, anywhere
from infra.cluster.pools import openstack_pool
from infra.network.options import alone
from infra.scope import Scope
from infra.settings import Settings

GROUP_MEMBERS = 10
"""Servers of one server group, from Nova's default quota `server_group_members`."""


def pools(
    scope: Scope,
    settings: Settings,
    addresses: AddressPlan,
    here: AccountContract,
    openstack_side: OpenStackNetworkContract,
    link: CloudLinkContract,
    cluster: ClusterContract,
) -> tuple[PoolContract, ...]:
    """A contract a group of servers. More than ten are kept apart by tens, since a server group holds no more."""
    site, values = settings.openstack_site
    if not values.gpu_servers:
        return ()
    scope = scope.component("GpuServers", f"{site.name}-gpu-servers")
    identity = (
        anywhere(scope, site.name, here, cluster)
        if values.join == "roles-anywhere"
        else activated(scope, site.name, here, cluster, values.servers)
    )
    # before it can be reached a node only tries again and again
    after = (*identity.ready, *cluster.ready, *link.ready)
    return servers(scope, settings, addresses, here.region, openstack_side, cluster, identity, *after)


def servers(
    scope: Scope,
    settings: Settings,
    addresses: AddressPlan,
    aws_region: str,
    openstack_side: OpenStackNetworkContract,
    cluster: ClusterContract,
    identity: Anywhere | Activated,
    *after: pulumi.Resource,
) -> tuple[PoolContract, ...]:
    """The servers themselves, once there is somebody for them to be."""
    site, values = settings.openstack_site
    place = _Place(
        scope=scope,
        site=site.name,
        openstack_region=values.region,
        aws_region=aws_region,
        addresses=addresses,
        network=openstack_side,
        cluster=cluster,
        identity=identity,
        after=(*after, *openstack_side.ready),
    )
    return tuple(place.pool(group) for group in values.gpu_servers)


@dataclass(frozen=True)
class _Place:
    """What all servers of the site have in common."""

    scope: Scope
    site: str
    openstack_region: str
    aws_region: str
    addresses: AddressPlan
    network: OpenStackNetworkContract
    cluster: ClusterContract
    identity: Anywhere | Activated
    after: tuple[pulumi.Resource, ...]

    def pool(self, group: GpuServers) -> PoolContract:
        facts = openstack_pool(self.site, self.openstack_region, group)
        apart = self._apart(group)
        made = [self._server(group, index, facts.labels, apart[index // GROUP_MEMBERS]) for index in range(group.count)]
        return replace(
            facts, ready=tuple(server for server, _ in made), addresses=tuple(address for _, address in made)
        )

    def _apart(self, group: GpuServers) -> list[openstack.compute.ServerGroup]:
        """On different hosts where that can be: hosts with GPUs are few, and a server that finds none helps nobody."""
        needed = -(-group.count // GROUP_MEMBERS)
        return [
            openstack.compute.ServerGroup(
                f"{self.site}-{group.name}-{index}",
                name=self.scope.naming.physical(f"{self.site}-{group.name}-{index}", 255),
                policies="soft-anti-affinity",
                opts=self.scope.child(),
            )
            for index in range(needed)
        ]

    def _server(
        self, group: GpuServers, index: int, labels: Mapping[str, str], apart: openstack.compute.ServerGroup
    ) -> tuple[openstack.compute.Instance, pulumi.Output[str]]:
        """The server and its address."""
        name = f"{self.site}-{group.name}-{index}"
        physical = self.scope.naming.physical(name, 63)  # a host's and a node's name
        port = self._port(name, physical)
        volume = self._volume(name, physical, group)
        options = alone(self.scope, *self.after)  # two servers cannot hold one port
        if isinstance(self.identity, Activated):
            # its code is used at the first boot alone; a newer one is for servers that are made later
            options.ignore_changes = ["userData"]
        server = openstack.compute.Instance(
            name,
            name=physical,
            flavor_name=group.flavor,
            image_name=group.image,
            networks=[openstack.compute.InstanceNetworkArgs(port=port.id)],
            scheduler_hints=[openstack.compute.InstanceSchedulerHintArgs(group=apart.id)],
            key_pair=self.network.key_pair,
            config_drive=True,  # readable where the metadata service is not
            user_data=self._user_data(group, name, physical, labels, volume),
            metadata=self.scope.naming.tags(name, self.site),
            opts=options,
        )
        if volume is not None:
            openstack.compute.VolumeAttach(
                name,
                instance_id=server.id,
                volume_id=volume.id,
                opts=alone(self.scope),  # a volume is on one server
            )
        return server, port.all_fixed_ips.apply(lambda fixed: str(fixed[0]))

    def _port(self, name: str, physical: str) -> openstack.networking.Port:
        return openstack.networking.Port(
            name,
            name=physical,
            network_id=self.network.network_id,
            fixed_ips=[openstack.networking.PortFixedIpArgs(subnet_id=self.network.subnet_id)],
            port_security_enabled=True,
            security_group_ids=[self.network.node_security_group],
            # pods keep their addresses towards the gateway; port security drops what it does not know
            allowed_address_pairs=[
                openstack.networking.PortAllowedAddressPairArgs(ip_address=str(self.addresses.openstack.pods))
            ],
            tags=self.scope.naming.tag_list(self.site),
            opts=self.scope.child(),
        )

    # in quotes: looked up, it imports a service that a stack may not need
    def _volume(self, name: str, physical: str, group: GpuServers) -> "openstack.blockstorage.Volume | None":
        """For images and scratch space alone. Its type, and whether that encrypts, is the cloud's default."""
        if not group.volume_gib:
            return None
        return openstack.blockstorage.Volume(
            name,
            name=physical,
            size=group.volume_gib,
            description="images and scratch space of a node",
            metadata=self.scope.naming.tags(name, self.site),
            opts=self.scope.child(),
        )

    def _user_data(
        self,
        group: GpuServers,
        name: str,
        physical: str,
        labels: Mapping[str, str],
        volume: "openstack.blockstorage.Volume | None",
    ) -> pulumi.Output[str]:
        facts: dict[str, Any] = {
            "cluster": self.cluster.name,
            "region": self.aws_region,
            "version": self.cluster.version,
            "labels": dict(labels),
            "gpus": group.gpu.count,
            "volume_id": volume.id if volume else None,
        }
        if isinstance(self.identity, Activated):
            facts |= {
                "provider": "ssm",
                "identity": {"activationId": self.identity.activation_id, "activationCode": self.identity.code},
            }
        else:
            facts |= {
                "provider": "iam-ra",
                "hostname": physical,
                **node_keys.named(self.scope, name, physical, self.openstack_region, self.identity),
            }
        return pulumi.Output.secret(pulumi.Output.from_input(facts).apply(render))


def render(facts: Mapping[str, Any]) -> str:
    """The document of a server whose facts are all known."""
    escrow = facts.get("escrow")
    return user_data(Boot(**{**facts, "escrow": node_keys.escrow_of(escrow) if escrow else None}))
