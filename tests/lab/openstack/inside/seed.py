"""What an operator has made before a project comes: `python -m tests.lab.openstack.inside.seed ROOT catalogue|project`."""

import io
import sys
from pathlib import Path
from typing import Any

import openstack

from tests.lab.openstack.layout import CLOUD, PROJECT, REGION, SERVICE_USER, Layout, url

# Flavors and images that the stack's values name. The image holds nothing: no machine boots from it.
FLAVORS = {"m1.small": {"ram": 2048, "vcpus": 1, "disk": 20}}
IMAGES = ("cirros",)
EXTERNAL_NETWORK, EXTERNAL_RANGE = "public", "203.0.113.0/24"  # RFC 5737: addresses that lead nowhere

_USERS = {
    # by name: its project and roles
    SERVICE_USER: ("service", ("admin", "service")),
    PROJECT: (PROJECT, ("member", "reader", "creator")),  # `creator` is Barbican's
}
_ADDRESSES = {
    "image": url("glance"),
    "placement": url("placement"),
    "compute": f"{url('nova')}/v2.1",
    "network": url("neutron"),
    "key-manager": url("barbican"),
    "load-balancer": url("octavia"),
    "object-store": f"{url('swift-proxy')}/v1/AUTH_$(project_id)s",
}


def main() -> None:
    layout = Layout(Path(sys.argv[1]))
    cloud = openstack.connect(cloud=f"{CLOUD}-admin")
    {"catalogue": _catalogue, "project": _project}[sys.argv[2]](cloud)
    if sys.argv[2] == "catalogue":
        layout.catalogue_ready.touch()


def _catalogue(cloud: Any) -> None:
    """Who is there and where the services answer, on which they all wait."""
    identity = cloud.identity
    roles = {role.name: role for role in identity.roles()}
    projects = {project.name: project for project in identity.projects()}
    for name, (where, grants) in _USERS.items():
        project = projects.get(where) or identity.create_project(name=where, domain_id="default")
        user = identity.create_user(name=name, password=name, domain_id="default")
        for grant in grants:
            role = roles.setdefault(grant, roles.get(grant) or identity.create_role(name=grant))
            identity.assign_project_role_to_user(project, user, role)
    for kind, address in _ADDRESSES.items():
        service = identity.create_service(type=kind, name=kind)
        for interface in ("public", "internal", "admin"):
            identity.create_endpoint(service_id=service.id, interface=interface, region_id=REGION, url=address)


def _project(cloud: Any) -> None:
    """What the project's program takes for granted."""
    for name, size in FLAVORS.items():
        cloud.compute.create_flavor(name=name, **size)
    for name in IMAGES:
        cloud.image.create_image(
            name=name,
            visibility="public",
            disk_format="raw",
            container_format="bare",
            data=io.BytesIO(bytes(65536)),
            validate_checksum=False,
        )
    network = cloud.network.create_network(
        name=EXTERNAL_NETWORK,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="outside",
    )
    cloud.network.create_subnet(
        network_id=network.id, name=EXTERNAL_NETWORK, ip_version=4, cidr=EXTERNAL_RANGE, enable_dhcp=False
    )


if __name__ == "__main__":
    main()
