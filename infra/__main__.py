"""The Pulumi program: load the stack's settings, compose the platform, export what came of it."""

import pulumi

from infra.platform_graph import build
from infra.settings import ROOT, Settings
from workloads.spec.errors import UserError


def main() -> None:
    """Raises `pulumi.RunError`, which the engine shows as one line, for a user's mistake."""
    stack = pulumi.get_stack()
    values = pulumi.runtime.config.get_config_env()
    try:
        exports = build(Settings.from_engine(values, stack), ROOT, f"{pulumi.get_project()}-{stack}")
    except UserError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in exports.items():
        pulumi.export(name, value)


main()
