"""What the OpenStack project says before anything is asked of it. Every question only reads."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from infra.cloud_settings import OpenStackSettings
from infra.operations.account_checks import asked
from infra.operations.checks import Check, failed, passed, unknown
from infra.settings import Settings


def project_checks(settings: Settings, connection: Any = None) -> list[Check]:
    """Flavors, images, the external network and quotas, by `openstack.connection.Connection` where it is installed."""
    _, project = settings.openstack_site
    if connection is None:
        if find_spec("openstack") is None:
            remedy = "pip install openstacksdk to have flavors, images and quotas checked"
            return [unknown("project of OpenStack", "openstacksdk is not installed", remedy)]
        connection = import_module("openstack").connect(cloud=project.cloud, region_name=project.region)
    flavors = {project.gateway.flavor, *(servers.flavor for servers in project.gpu_servers)}
    images = {project.gateway.image, *(servers.image for servers in project.gpu_servers)}
    return [
        *(asked(f"flavor {name}", lambda name=name: _flavor(connection, name)) for name in sorted(flavors)),  # type: ignore[misc]
        *(asked(f"image {name}", lambda name=name: _image(connection, name)) for name in sorted(images)),  # type: ignore[misc]
        asked("external network", lambda: _network(connection, project.external_network)),
        asked("quota of servers", lambda: _servers(connection, project)),
        asked("quota of vCPUs", lambda: _vcpus(connection, project)),
        asked("quota of floating IPs", lambda: _floating_ips(connection, 2 if project.door.floating_ip else 1)),
        *([asked("load balancers", lambda: _load_balancers(connection))] if project.has_balancer else []),
    ]


def _flavor(connection: Any, name: str) -> Check:
    found = connection.compute.find_flavor(name, ignore_missing=True)
    if found is None:
        names = ", ".join(sorted(flavor.name for flavor in connection.compute.flavors()))
        return failed("", "not there", f"one of {names}", "name one that the project has")
    return passed("", f"{found.vcpus} vCPUs, {found.ram // 1024} GiB")


def _image(connection: Any, name: str) -> Check:
    found = connection.image.find_image(name, ignore_missing=True)
    if found is None:
        return failed("", "not there", "an image of the project", "upload it, or name another")
    return passed("", str(found.status)) if found.status == "active" else failed("", found.status, "active", "wait")


def _network(connection: Any, name: str) -> Check:
    found = connection.network.find_network(name, ignore_missing=True)
    if found is None or not found.is_router_external:
        names = [network.name for network in connection.network.networks(**{"router:external": True})]
        value = "not there" if found is None else "not external"
        return failed("", f"{name} is {value}", f"one of {', '.join(names) or 'none'}", "set external_network")
    return passed("", name)


def _servers(connection: Any, project: OpenStackSettings) -> Check:
    need = 1 + project.servers
    limits = connection.compute.get_limits().absolute
    return _within(limits.instances_used, need, limits.instances)


def _vcpus(connection: Any, project: OpenStackSettings) -> Check:
    need = sum(servers.count * servers.vcpus for servers in project.gpu_servers)
    limits = connection.compute.get_limits().absolute
    return _within(limits.total_cores_used, need, limits.total_cores)


def _floating_ips(connection: Any, need: int) -> Check:
    quota = connection.network.get_quota(connection.current_project_id, details=True).floating_ips
    return _within(quota["used"], need, quota["limit"])


def _load_balancers(connection: Any) -> Check:
    """Whether Octavia is in the catalogue, and has one to give."""
    if not connection.has_service("load-balancer"):
        remedy = "set door.load_balancer: none, and reach the gateway through the cluster or a balancer of your own"
        return failed("", "no Octavia in the catalogue", "the service load-balancer", remedy)
    there = sum(1 for _ in connection.load_balancer.load_balancers())
    quota = connection.load_balancer.get_quota(connection.current_project_id)
    return _within(there, 1, quota.load_balancers)


def _within(used: int, need: int, limit: int) -> Check:
    text = f"{used} in use, {need} wanted"
    if 0 <= limit < used + need:  # -1 is no limit
        return failed("", text, f"{limit}", "delete some, or ask the operator for more")
    return passed("", text, f"{limit}" if limit >= 0 else "none")
