"""Entry point that the Pulumi engine starts for resources of the package `kubernetes`."""

from tests.lab.providers.kubernetes.provider import Kubernetes
from tests.lab.providers.serving import serve

serve(Kubernetes())
