"""What is in the project now, asked of each service, as JSON: `python -m tests.lab.openstack.inside.census`."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import openstack

from tests.lab.openstack.layout import CLOUD


def main() -> None:
    cloud = openstack.connect(cloud=CLOUD)
    print(json.dumps({kind: sorted(ask(cloud)) for kind, ask in KINDS.items()}, indent=1))  # noqa: T201


def _names(found: Iterable[Any]) -> list[str]:
    return [str(one.name or one.id) for one in found]


def _own(cloud: Any) -> dict[str, str]:
    return {"project_id": cloud.current_project_id}


def _ec2(cloud: Any) -> list[str]:
    answer = cloud.identity.get(f"/users/{cloud.current_user_id}/credentials/OS-EC2")
    return [credential["access"] for credential in answer.json()["credentials"]]


def _groups(cloud: Any) -> list[str]:
    """All but the one that Neutron gives to each project."""
    return [name for name in _names(cloud.network.security_groups(**_own(cloud))) if name != "default"]


def _members(cloud: Any) -> list[str]:
    return [name for pool in cloud.load_balancer.pools() for name in _names(cloud.load_balancer.members(pool))]


KINDS: dict[str, Callable[[Any], Iterable[str]]] = {
    "networks": lambda cloud: _names(cloud.network.networks(**_own(cloud))),
    "subnets": lambda cloud: _names(cloud.network.subnets(**_own(cloud))),
    "routers": lambda cloud: _names(cloud.network.routers(**_own(cloud))),
    "ports": lambda cloud: _names(cloud.network.ports(**_own(cloud))),
    "floating IPs": lambda cloud: [ip.floating_ip_address for ip in cloud.network.ips(**_own(cloud))],
    "security groups": _groups,
    "VPN services": lambda cloud: _names(cloud.network.vpn_services()),
    "VPN connections": lambda cloud: _names(cloud.network.vpn_ipsec_site_connections()),
    "VPN endpoint groups": lambda cloud: _names(cloud.network.vpn_endpoint_groups()),
    "IKE policies": lambda cloud: _names(cloud.network.vpn_ike_policies()),
    "IPsec policies": lambda cloud: _names(cloud.network.vpn_ipsec_policies()),
    "load balancers": lambda cloud: _names(cloud.load_balancer.load_balancers()),
    "listeners": lambda cloud: _names(cloud.load_balancer.listeners()),
    "pools": lambda cloud: _names(cloud.load_balancer.pools()),
    "members": _members,
    "health monitors": lambda cloud: _names(cloud.load_balancer.health_monitors()),
    "servers": lambda cloud: _names(cloud.compute.servers()),
    "server groups": lambda cloud: _names(cloud.compute.server_groups()),
    "key pairs": lambda cloud: _names(cloud.compute.keypairs()),
    "containers": lambda cloud: _names(cloud.object_store.containers()),
    "secrets": lambda cloud: _names(cloud.key_manager.secrets()),
    "application credentials": lambda cloud: _names(cloud.identity.application_credentials(cloud.current_user_id)),
    "EC2 credentials": _ec2,
}


if __name__ == "__main__":
    main()
