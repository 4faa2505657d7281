"""The gateway VM on the OpenStack side, and how it comes to the tunnels' keys."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_aws as aws
import pulumi_openstack as openstack

from infra.addressing import AddressPlan
from infra.cloud_contracts import OpenStackNetworkContract
from infra.cloud_settings import GatewaySettings
from infra.network.appliance import Appliance, user_data
from infra.network.options import alone
from infra.network.security import Rule, admit
from infra.network.tunnels import TUNNELS
from infra.scope import Scope
from infra.settings import Settings
from workloads.spec.errors import UserError

_ROOT_GIB = 20
_IKE_PORTS = (500, 4500)


def gateway(
    scope: Scope,
    settings: Settings,
    addresses: AddressPlan,
    connection: aws.ec2.VpnConnection,
    network: OpenStackNetworkContract,
) -> tuple[pulumi.Resource, ...]:
    """A server with strongSwan and FRR that ends both tunnels.

    The pre-shared keys must get there. They lie in Barbican, and the server fetches them whenever it starts, into
    memory. For that it holds an application credential which can do nothing but read these two payloads, and which is
    deleted with the stack. The credential itself is in `user_data`: of the places that a new server can read, it is the
    only one that needs no agent of the cloud's, and whoever may read it in Nova may read the two keys in Barbican
    anyway. On the server none but root reaches the metadata service. The keys themselves stand in no `user_data`, on no
    disk, and in the stack's state as secrets only.

    A changed key changes `user_data` and so replaces the server; port and floating IP stay.

    Raises:
        UserError: the catalogue has no public identity endpoint.
    """
    site, project = settings.openstack_site
    outside = (connection.tunnel1_address, connection.tunnel2_address)
    refs = [
        _secret(scope, f"{site.name}-tunnel-{tunnel}", key).secret_ref
        for tunnel, key in zip(
            TUNNELS, (connection.tunnel1_preshared_key, connection.tunnel2_preshared_key), strict=True
        )
    ]
    credential = _credential(scope, f"{site.name}-gateway", refs)
    scoped = openstack.identity.get_auth_scope_output(
        name=scope.naming.prefix, opts=pulumi.InvokeOutputOptions(parent=scope.parent)
    )
    rules = _admitted(scope, site.name, network, outside)
    rendered = pulumi.Output.all(
        floating_ip=network.gateway_floating_ip,
        outside=outside,
        identity_url=scoped.service_catalogs.apply(lambda catalogue: identity_url(catalogue, project.region)),
        credential_id=credential.id,
        credential_secret=credential.secret,
        secret_refs=refs,
    ).apply(
        lambda known: user_data(Appliance(addresses=addresses, admin_networks=project.gateway.admin_networks, **known))
    )
    server = openstack.compute.Instance(
        f"{site.name}-gateway",
        name=scope.naming.physical(f"{site.name}-gateway", 63),
        flavor_name=project.gateway.flavor,
        networks=[{"port": network.gateway_port}],  # with its security group
        key_pair=network.key_pair,
        config_drive=True,  # readable where the metadata service is not
        user_data=rendered,
        metadata=scope.naming.tags(f"{site.name}-gateway", site.name),
        # two servers cannot hold one port
        opts=pulumi.ResourceOptions.merge(
            alone(scope, *network.ready),
            # updates come by unattended-upgrades; a newer image is no reason to cut the link
            pulumi.ResourceOptions(ignore_changes=["blockDevices[0].uuid"] if project.gateway.volume_type else []),
        ),
        **_root_disk(scope, project.gateway),
    )
    return (*rules, server)


def identity_url(catalogue: Sequence[Any], region: str) -> str:
    """Keystone's public v3 address in a region, from the catalogue of a token.

    Raises:
        UserError: there is none.
    """
    found = [
        endpoint.url
        for service in catalogue
        if service.type == "identity"
        for endpoint in service.endpoints
        if endpoint.interface == "public" and endpoint.region == region
    ]
    if not found:
        raise UserError(
            f"the OpenStack catalogue has no public identity endpoint in region {region}; set openstack.region to one "
            "that `openstack catalog show identity` lists"
        )
    return f"{found[0].rstrip('/').removesuffix('/v3')}/v3"


def payload_path(secret_ref: str) -> str:
    """The path that Barbican sees when a secret's payload is read."""
    return f"{urlsplit(secret_ref).path}/payload"


def _secret(scope: Scope, name: str, key: pulumi.Output[str]) -> openstack.keymanager.SecretV1:
    payload: pulumi.Output[str] = pulumi.Output.secret(key)  # an input like any other to the provider
    return openstack.keymanager.SecretV1(
        name,
        name=scope.naming.physical(name, 255),
        secret_type="passphrase",  # noqa: S106 - a kind of secret, in Barbican's words
        payload=payload,
        payload_content_type="text/plain",
        metadata=scope.naming.tags(),  # Barbican lowers the case of keys, so that `Name` would differ for ever
        opts=scope.child(),
    )


def _credential(
    scope: Scope, name: str, refs: Sequence[pulumi.Output[str]]
) -> openstack.identity.ApplicationCredential:
    return openstack.identity.ApplicationCredential(
        name,
        name=scope.naming.physical(name, 255),
        description="the VPN gateway reads the keys of its tunnels",
        unrestricted=False,
        access_rules=[{"service": "key-manager", "method": "GET", "path": ref.apply(payload_path)} for ref in refs],
        opts=alone(scope),  # Keystone knows one of a name
    )


def _admitted(
    scope: Scope, site: str, network: OpenStackNetworkContract, outside: Sequence[pulumi.Output[str]]
) -> list[openstack.networking.SecGroupRule]:
    """AWS's two ends, and nobody else, speak IKE; ESP comes in UDP as well, since a floating IP is NAT."""
    if network.gateway_security_group is None:
        raise AssertionError("a network for VPNaaS has no place for a gateway")
    return [
        admit(
            scope,
            f"{site}-gateway-tunnel-{tunnel}-{port}",
            network.gateway_security_group,
            Rule(address.apply(lambda host: f"{host}/32"), "udp", port),
        )
        for tunnel, address in zip(TUNNELS, outside, strict=True)
        for port in _IKE_PORTS
    ]


def _root_disk(scope: Scope, values: GatewaySettings) -> Mapping[str, Any]:
    """The flavor's own disk, or a volume of a type whose encryption the operator vouches for: only they can see it."""
    if values.volume_type is None:
        return {"image_name": values.image}
    image = openstack.images.get_image_output(
        name=values.image, most_recent=True, opts=pulumi.InvokeOutputOptions(parent=scope.parent)
    )
    return {
        "block_devices": [
            {
                "uuid": image.id,
                "source_type": "image",
                "destination_type": "volume",
                "volume_size": _ROOT_GIB,
                "volume_type": values.volume_type,
                "boot_index": 0,
                "delete_on_termination": True,
            }
        ]
    }
