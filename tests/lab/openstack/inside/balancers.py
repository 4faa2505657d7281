"""A stand-in for Octavia's amphorae: it makes no machine and carries nothing, and reports what they would.

The VIP is a real port, which Octavia itself makes in Neutron for a driver without a `create_vip_port` of its own, and
deletes when it is told that the load balancer is gone.
"""

from typing import Any

from octavia.api.drivers.driver_agent.driver_updater import DriverUpdater
from octavia.db import api, models
from octavia_lib.api.drivers.provider_base import ProviderDriver

from tests.lab.openstack.inside.later import NotYetError, later
from tests.lab.openstack.inside.settled import report


class Accepting(ProviderDriver):
    """A provider of load balancers that are up as soon as they are asked for."""

    def _accept(self, *_what: Any, **_how: Any) -> None:
        """Octavia has not yet written down what it asks for."""
        later(settle)

    loadbalancer_create = loadbalancer_update = loadbalancer_delete = loadbalancer_failover = _accept
    listener_create = listener_update = listener_delete = _accept
    pool_create = pool_update = pool_delete = _accept
    member_create = member_update = member_delete = member_batch_update = _accept
    health_monitor_create = health_monitor_update = health_monitor_delete = _accept
    l7policy_create = l7policy_update = l7policy_delete = _accept
    l7rule_create = l7rule_update = l7rule_delete = _accept


def settle() -> None:
    """Report on each load balancer that waits: it does whenever anything below it does.

    Raises `NotYetError` if Octavia could not note what was reported; it cannot while Neutron keeps the VIP's port.
    """
    session = api.get_session()
    with session.begin():
        waiting = session.query(models.LoadBalancer).filter(models.LoadBalancer.provisioning_status.like("PENDING_%"))
        reports = [report(balancer) for balancer in waiting]
    session.close()
    for told in reports:
        updater = DriverUpdater()
        answer = updater.update_loadbalancer_status(told)
        updater.db_session.close()
        if answer["status_code"] != 200:
            raise NotYetError(
                f"{answer['fault_string']} ({answer.get('status_object')} {answer.get('status_object_id')})"
            )
