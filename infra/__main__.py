"""The Pulumi program: load the stack's settings, compose the platform, export what came of it."""

from typing import Any

import pulumi

from infra.garbage import spared
from infra.settings import ROOT, Settings
from workloads.spec.errors import UserError


def main() -> None:
    """Raises `pulumi.RunError`, which the engine shows as one line, for a user's mistake."""
    stack = pulumi.get_stack()
    values = pulumi.runtime.config.get_config_env()
    try:
        with spared():
            exports = _build(Settings.from_engine(values, stack), stack)
    except UserError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in exports.items():
        pulumi.export(name, value)


def _build(settings: Settings, stack: str) -> dict[str, Any]:
    """Each graph is imported where it is needed: the clouds' SDKs take seconds, and a local stack does without."""
    if settings.cloud is not None:
        from infra.cloud_graph import build_cloud  # noqa: PLC0415
        from infra.cluster.kubeconfig import require_file  # noqa: PLC0415

        require_file(settings.cloud.cluster.kubeconfig)
        return build_cloud(settings, stack)
    from infra.platform_graph import build  # noqa: PLC0415

    return build(settings, ROOT, f"{pulumi.get_project()}-{stack}")


main()
