"""One service in one process: `python -m tests.lab.openstack.inside.serve ROOT SERVICE`.

The service's own WSGI application behind a threaded server. Nova's conductor, scheduler and compute are threads beside
its API, so that the bus in memory joins them.
"""

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from oslo_db import exception
from oslo_db.sqlalchemy import exc_filters
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.lab.openstack.inside import TURN
from tests.lab.openstack.layout import HOST, PORTS, Layout

Application = Callable[..., Any]
_CATALOGUE_LIMIT_S = 180


def main() -> None:
    layout, service = Layout(Path(sys.argv[1])), sys.argv[2]
    sys.argv = [service]  # oslo.config would read the rest
    _share_sqlite(begin_as_writer=service == "nova")
    application = APPLICATIONS[service](layout)
    make_server(HOST, PORTS[service], application, threaded=True, request_handler=_Handler).serve_forever()


def keystone(layout: Layout) -> Application:
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(layout.etc / "keystone.conf")
    return _of("keystone.wsgi.api")


def glance(layout: Layout) -> Application:
    os.environ["OS_GLANCE_CONFIG_DIR"] = str(layout.etc / "glance")
    return _of("glance.wsgi.api")


def placement(layout: Layout) -> Application:
    os.environ["OS_PLACEMENT_CONFIG_DIR"] = str(layout.etc)
    return _of("placement.wsgi.api")


def barbican(layout: Layout) -> Application:
    """By its Paste file: its WSGI module looks under /etc alone."""
    from paste import deploy

    return _in_turn(deploy.loadapp(f"config:{layout.environment}/etc/barbican/barbican-api-paste.ini"))


def neutron(layout: Layout) -> Application:
    os.environ["OS_NEUTRON_CONFIG_DIR"] = str(layout.etc)
    os.environ["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf"
    return _in_turn(_of("neutron.wsgi.api"))


def octavia(layout: Layout) -> Application:
    """By its factory: its WSGI module takes the command line of whoever serves it for its own."""
    from octavia.api import app
    from oslo_config import cfg

    application = app.setup_app(argv=["octavia", "--config-file", str(layout.etc / "octavia.conf")])
    # Octavia's own default, which the pool of a database in a file does not know, and no file can say "none"
    cfg.CONF.set_override("pool_timeout", None, "database")
    return _in_turn(application)


def nova(layout: Layout) -> Application:
    os.environ["OS_NOVA_CONFIG_DIR"] = str(layout.etc)
    os.environ["OS_NOVA_CONFIG_FILES"] = f"{layout.environment}/etc/nova/api-paste.ini;nova.conf"
    application = _of("nova.wsgi.osapi_compute")
    threading.Thread(target=_or_die, args=(_compute, layout), daemon=True).start()
    return application


APPLICATIONS: dict[str, Callable[[Layout], Application]] = {
    make.__name__: make for make in (keystone, glance, placement, barbican, neutron, octavia, nova)
}


def _of(module: str) -> Application:
    application: Application = importlib.import_module(module).application
    return application


def _in_turn(application: Application) -> Application:
    """One request at a time, for services that take a locked SQLite for a failure or do a half-done create twice."""

    def one(environ: dict[str, Any], start_response: Application) -> Any:
        with TURN:
            return application(environ, start_response)

    return one


def _share_sqlite(*, begin_as_writer: bool) -> None:
    """Make the services repeat what met a locked database, as they repeat what met a deadlock in MySQL.

    `begin_as_writer` makes each transaction take the lock as it begins: one that has read before another one wrote can
    never be committed.
    """

    @exc_filters.filters("sqlite", sqlalchemy.exc.OperationalError, r".*database is locked")
    def _(error: Exception, *_: Any) -> None:
        raise exception.DBDeadlock(error)

    if begin_as_writer:

        @sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "begin")
        def _(connection: Any) -> None:
            # oslo.db's own listener comes later and leaves alone what bears its mark
            if connection.dialect.name == "sqlite" and "in_transaction" not in connection.info:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.info["in_transaction"] = True


def _compute(layout: Layout) -> None:
    deadline = time.monotonic() + _CATALOGUE_LIMIT_S
    while not layout.catalogue_ready.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no catalogue after {_CATALOGUE_LIMIT_S} s")
        time.sleep(0.2)
    from nova import context, objects, service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.objects import host_mapping
    from nova.scheduler import rpcapi as scheduler

    objects.Service.enable_min_version_cache()
    parts = [
        service.Service.create(binary=binary, topic=topic, topic_alt=other)
        for binary, topic, other in (
            ("nova-conductor", conductor.RPC_TOPIC, None),
            ("nova-scheduler", scheduler.RPC_TOPIC, None),
            ("nova-compute", compute.RPC_TOPIC, compute.RPC_TOPIC_ALT),  # the second has Neutron's events
        )
    ]
    for part in parts:
        part.start()
    host_mapping.discover_hosts(context.get_admin_context())
    layout.compute_ready.touch()
    threading.Event().wait()


def _or_die(work: Callable[[Layout], None], layout: Layout) -> None:
    """An API without what does its work would let everybody wait."""
    try:
        work(layout)
    except BaseException:  # noqa: BLE001 - a thread's end is otherwise nobody's
        traceback.print_exc()
        os._exit(1)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # clients keep their connections


if __name__ == "__main__":
    main()
