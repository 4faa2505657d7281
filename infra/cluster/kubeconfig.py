"""How kubectl and the Kubernetes provider log in: by a command that asks AWS, so that no token is ever written down."""

import json
import os
from pathlib import Path

from infra.settings import ROOT
from workloads.spec.errors import UserError

COMMAND = "aws"
"""Of the AWS CLI, which has to be on the PATH of whoever runs the stack."""


def render(name: str, endpoint: str, certificate_authority: str, region: str) -> str:
    """A kubeconfig as JSON, which is YAML. `certificate_authority` is base64, as EKS gives it."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {"name": name, "cluster": {"server": endpoint, "certificate-authority-data": certificate_authority}}
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "users": [
                {
                    "name": name,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1",
                            "command": COMMAND,
                            "args": ["eks", "get-token", "--cluster-name", name, "--region", region],
                            "interactiveMode": "Never",
                        }
                    },
                }
            ],
        },
        sort_keys=True,
    )


def given(text: str) -> str:
    """A kubeconfig that a stack gives, for the provider: its text as it is, and a file from where the engine is.

    A relative one is of the project's root, and the engine starts programs and plugins in a folder below it.
    """
    return text if _is_text(text) or _file(text) == Path(text) else os.path.relpath(_file(text))


def require_file(text: str | None) -> None:
    """Raises `UserError` where a stack gives a file that is not here."""
    if text is None or _is_text(text) or _file(text).is_file():
        return
    raise UserError(
        f"cloud.cluster.kubeconfig {text!r:.80} is no file here ({_file(text)}); write the cluster's there, or leave it "
        "out to have one of EKS"
    )


def _is_text(text: str) -> bool:
    return ":" in text  # of a mapping


def _file(text: str) -> Path:
    return ROOT / Path(text).expanduser()
