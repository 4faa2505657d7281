"""The provider's way in: a kubeconfig, of the lab alone."""

from tests.lab import kubeconfig
from tests.lab.kubeconfig import Access
from tests.lab.providers.standin import require_lab
from workloads.spec.errors import UserError


def access(given: str, context: str = "") -> Access:
    """What a kubeconfig says, given as its text or as a file's path from where the engine starts plugins.

    Raises:
        UserError: it is no kubeconfig, leads elsewhere than to the lab, or wants a way to log in that is not here.
    """
    found = kubeconfig.access(given, context)
    require_lab(found.server, "Kubernetes API server")
    if not found.server.startswith("https://"):
        raise UserError(
            f"kubeconfig of {found.server}: plain HTTP is not for the lab's stand-in; give an https address"
        )
    return found
