"""How kubectl and the Kubernetes provider log in: by a command that asks AWS, so that no token is ever written down."""

import json

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
