"""Make one service's tables, or Swift's rings: `python -m tests.lab.openstack.inside.databases ROOT SERVICE`."""

import getpass
import importlib
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.openstack.layout import ADMIN, HOST, PORTS, REGION, Layout, url


def main() -> None:
    layout, service = Layout(Path(sys.argv[1])), sys.argv[2]
    MAKERS[service](layout)
    for file in (layout.run / "databases").glob(f"{service}*.sqlite"):
        with sqlite3.connect(file) as database:
            database.execute("pragma journal_mode=wal")  # readers and a writer do not wait for each other


def keystone(layout: Layout) -> None:
    base = ["--config-file", str(layout.etc / "keystone.conf")]
    owner = ["--keystone-user", getpass.getuser(), "--keystone-group", getpass.getuser()]
    addresses = [f"--bootstrap-{kind}-url={url('keystone')}/v3" for kind in ("admin", "internal", "public")]
    _manage(
        "keystone.cmd.manage",
        [*base, "db_sync"],
        [*base, "fernet_setup", *owner],
        [*base, "credential_setup", *owner],
        [*base, "bootstrap", f"--bootstrap-password={ADMIN}", f"--bootstrap-region-id={REGION}", *addresses],
    )


def nova(layout: Layout) -> None:
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
    base = ["--config-file", str(layout.etc / "nova.conf")]
    cell = ["--name=cell1", "--transport-url=fake://", f"--database_connection={layout.database('nova')}"]
    _manage(
        "nova.cmd.manage",
        [*base, "api_db", "sync"],
        [*base, "cell_v2", "map_cell0", f"--database_connection={layout.database('nova_cell0')}"],
        [*base, "db", "sync"],
        [*base, "cell_v2", "create_cell", *cell],
    )


def glance(layout: Layout) -> None:
    _manage("glance.cmd.manage", ["--config-file", str(layout.etc / "glance/glance-api.conf"), "db_sync"])


def barbican(layout: Layout) -> None:
    _manage("barbican.cmd.barbican_manage", ["db", "upgrade", "--db-url", layout.database("barbican")])


def neutron(layout: Layout) -> None:
    """From the models: the migrations have statements that SQLite does not know."""
    import sqlalchemy as sa
    from neutron.db.models.securitygroup_default_rules import SecurityGroupDefaultRule
    from neutron_vpnaas.db.models import head
    from oslo_utils import uuidutils

    metadata = head.get_metadata()
    engine = sa.create_engine(layout.database("neutron"))
    metadata.create_all(engine)
    rules, standard = SecurityGroupDefaultRule.__table__, metadata.tables["standardattributes"]
    with engine.begin() as database:
        # what migration c33da356b165 inserts: the rules that a new security group starts with
        for direction, members in (("egress", None), ("ingress", "PARENT")):
            for version in ("IPv4", "IPv6"):
                row = sa.insert(standard).values(resource_type=rules.name, revision_number=0)
                database.execute(
                    sa.insert(rules).values(
                        id=uuidutils.generate_uuid(),
                        standard_attr_id=database.execute(row).inserted_primary_key[0],
                        direction=direction,
                        ethertype=version,
                        remote_group_id=members,
                        used_in_default_sg=True,
                        used_in_non_default_sg=direction == "egress",
                    )
                )


def octavia(layout: Layout) -> None:
    """From the models: like Neutron's, its migrations are MySQL's. They fill tables of allowed words besides."""
    import sqlalchemy as sa
    from octavia.common import constants as words
    from octavia.db import base_models, models

    allowed = {
        models.Algorithm: words.SUPPORTED_LB_ALGORITHMS,
        models.AmphoraRoles: words.SUPPORTED_AMPHORA_ROLES,
        models.ClientAuthenticationMode: words.SUPPORTED_CLIENT_AUTH_MODES,
        models.HealthMonitorType: words.SUPPORTED_HEALTH_MONITOR_TYPES,
        models.L7PolicyAction: words.SUPPORTED_L7POLICY_ACTIONS,
        models.L7RuleCompareType: words.SUPPORTED_L7RULE_COMPARE_TYPES,
        models.L7RuleType: words.SUPPORTED_L7RULE_TYPES,
        models.LBTopology: words.SUPPORTED_LB_TOPOLOGIES,
        models.OperatingStatus: words.SUPPORTED_OPERATING_STATUSES,
        models.Protocol: words.SUPPORTED_PROTOCOLS,
        models.ProvisioningStatus: words.SUPPORTED_PROVISIONING_STATUSES,
        models.SessionPersistenceType: words.SUPPORTED_SP_TYPES,
        models.VRRPAuthMethod: words.SUPPORTED_VRRP_AUTH,
    }
    engine = sa.create_engine(layout.database("octavia"))
    base_models.BASE.metadata.create_all(engine)
    with engine.begin() as database:
        for model, names in allowed.items():
            database.execute(sa.insert(model.__table__), [{"name": name} for name in sorted(set(names))])


def swift(layout: Layout) -> None:
    """Rings of one device and one copy."""
    from swift.common.ring import RingBuilder

    for kind in ("account", "container", "object"):
        port = PORTS[f"swift-{kind}"]
        builder = RingBuilder(4, 1, 1)
        builder.add_dev(
            {
                "id": 0,
                "region": 1,
                "zone": 1,
                "weight": 1,
                "ip": HOST,
                "port": port,
                "replication_ip": HOST,
                "replication_port": port,
                "device": "disk",
                "meta": "",
            }
        )
        builder.rebalance()
        builder.get_ring().save(str(layout.etc / "swift" / f"{kind}.ring.gz"))


MAKERS: dict[str, Callable[[Layout], None]] = {
    maker.__name__: maker for maker in (keystone, nova, glance, barbican, neutron, octavia, swift)
}


def _manage(module: str, *commands: list[str]) -> None:
    """Commands of a service's own tool, one after the other, each in a fork: its import takes longer than its work."""
    entry: Callable[[], Any] = importlib.import_module(module).main
    for command in commands:
        child = os.fork()
        if child == 0:
            sys.argv = [module, *command]
            _end_with(entry)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"{module} {' '.join(command)}: status {os.waitstatus_to_exitcode(status)}")


def _end_with(entry: Callable[[], Any]) -> None:
    """Never returns: a fork must not go on with its parent's work."""
    status = 1
    try:
        status = int(entry() or 0)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)  # noqa: T201 - what it would have said itself
    except BaseException:  # noqa: BLE001 - shown, and told by the status
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
