"""Stand-ins for Neutron's agents: they plumb nothing, and report what agents would report when all went well."""

from typing import Any

from neutron_lib import constants, context
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.db import api as database
from neutron_lib.plugins import constants as plugins
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api
from neutron_vpnaas.services.vpn import service_drivers
from neutron_vpnaas.services.vpn.service_drivers import ipsec_validator

from tests.lab.openstack.inside.later import later


class Binder(api.MechanismDriver):
    """Binds each port where it is asked for, and says that floating IPs and router ports are up."""

    def initialize(self) -> None:
        for event in (events.AFTER_CREATE, events.AFTER_UPDATE):
            registry.subscribe(self._floating, resources.FLOATING_IP, event)
        registry.subscribe(self._joined, resources.ROUTER_INTERFACE, events.AFTER_CREATE)

    def bind_port(self, context: Any) -> None:
        segment = context.segments_to_bind[0]
        context.set_binding(
            segment[api.ID],
            portbindings.VIF_TYPE_OVS,
            {portbindings.CAP_PORT_FILTER: True},
            status=constants.PORT_STATUS_ACTIVE,
        )

    def _floating(self, _resource: Any, _event: Any, _trigger: Any, payload: Any) -> None:
        later(_floating_status, payload.resource_id)

    def _joined(self, _resource: Any, _event: Any, _trigger: Any, payload: Any) -> None:
        port = payload.metadata.get("port")
        if port:
            later(_port_is_up, port["id"])


class Tunnels(service_drivers.VpnDriver):
    """A driver of VPNaaS whose connections are up as soon as they are asked for."""

    service_type = "ipsec"

    def __init__(self, service_plugin: Any) -> None:
        super().__init__(service_plugin, ipsec_validator.IpsecVpnValidator(self))

    @database.CONTEXT_WRITER
    def create_vpnservice(self, context: Any, vpnservice: dict[str, Any]) -> None:
        router = self.service_plugin._get_vpnservice(context, vpnservice["id"]).router
        outer = [ip["ip_address"] for ip in router.gw_port["fixed_ips"]]
        addresses = {
            "v4_ip": next((ip for ip in outer if ":" not in ip), None),
            "v6_ip": next((ip for ip in outer if ":" in ip), None),
        }
        vpnservice.update(external_v4_ip=addresses["v4_ip"], external_v6_ip=addresses["v6_ip"])
        self.service_plugin.set_external_tunnel_ips(context, vpnservice["id"], **addresses)
        later(self._up, vpnservice["id"])

    def update_vpnservice(self, _context: Any, _before: Any, vpnservice: dict[str, Any]) -> None:
        later(self._up, vpnservice["id"])

    def delete_vpnservice(self, _context: Any, _vpnservice: Any) -> None:
        """There is nothing to take down."""

    def create_ipsec_site_connection(self, _context: Any, connection: dict[str, Any]) -> None:
        later(self._up, connection["vpnservice_id"])

    def update_ipsec_site_connection(self, _context: Any, _before: Any, connection: dict[str, Any]) -> None:
        later(self._up, connection["vpnservice_id"])

    def delete_ipsec_site_connection(self, _context: Any, _connection: Any) -> None:
        """There is nothing to take down."""

    def _up(self, service: str) -> None:
        admin, up = context.get_admin_context(), {"status": "ACTIVE", "updated_pending_status": True}
        connections = self.service_plugin.get_ipsec_site_connections(admin, filters={"vpnservice_id": [service]})
        states = {connection["id"]: up for connection in connections}
        self.service_plugin.update_status_by_agent(admin, [{"id": service, **up, "ipsec_site_connections": states}])


def _floating_status(floating: str) -> None:
    routers, admin = directory.get_plugin(plugins.L3), context.get_admin_context()
    found = routers.get_floatingips(admin, filters={"id": [floating]})
    for address in found:  # none where it is gone already
        routers.update_floatingip_status(admin, floating, "ACTIVE" if address["port_id"] else "DOWN")


def _port_is_up(port: str) -> None:
    directory.get_plugin().update_port_status(context.get_admin_context(), port, constants.PORT_STATUS_ACTIVE)
