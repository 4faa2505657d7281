"""Prometheus and Grafana, and what they watch of the platform."""

from infra.cloud_contracts import ControllersContract
from infra.manifests import apply, namespace
from infra.mesh.fencing import MONITORING_NAMESPACE
from infra.observability import dashboards, rules, watching
from infra.releases import CHARTS, release
from infra.scope import Scope
from infra.settings import Settings


def monitoring(scope: Scope, settings: Settings, installed: ControllersContract) -> None:
    """An operator of Prometheus that is there already watches the platform too: it has to select its namespace."""
    cluster = settings.of_cloud.cluster
    if not cluster.monitored:
        return
    scope = scope.component("Monitoring", "monitoring")
    after = installed.ready
    if "monitoring" not in cluster.installed:
        # the exporter of nodes looks at the host itself
        space = namespace(scope, MONITORING_NAMESPACE, *installed.ready, security="privileged")
        after = (release(scope, CHARTS["monitoring"], watching.chart_values(), space),)
    for monitor in watching.monitors():
        apply(scope, f"{monitor['metadata']['name']}-monitor", monitor, *after)
    apply(scope, "isthmus-alerts", rules.rule(), *after)
    for dashboard in dashboards.ALL:
        apply(scope, f"{dashboard.uid}-dashboard", dashboards.config_map(dashboard), *after)
