"""The agent's two doors: the API server by a kubeconfig, and EKS and STS of an emulator."""

from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config

from tests.lab import kubeconfig
from tests.lab.aws.layout import KEYS
from tests.lab.identity.agent import AUDIENCE, ServiceAccount

_PATIENCE_S = 5.0


class ApiServer:
    """Reviews tokens, with the client certificate of a kubeconfig's current context."""

    def __init__(self, path: Path) -> None:
        found = kubeconfig.access(str(path))
        self._client = httpx.Client(base_url=found.server, verify=found.tls(), timeout=_PATIENCE_S, trust_env=False)

    def user_of(self, token: str) -> str | None:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        said = self._client.post("/apis/authentication.k8s.io/v1/tokenreviews", json=review).raise_for_status()
        status = said.json()["status"]
        return status["user"]["username"] if status.get("authenticated") else None


class Emulator:
    """EKS and STS of one cluster's account."""

    def __init__(self, cluster: str, endpoint: str, region: str) -> None:
        self._cluster = cluster
        common: dict[str, Any] = {
            "endpoint_url": endpoint,
            "region_name": region,
            "aws_access_key_id": KEYS[0],
            "aws_secret_access_key": KEYS[1],
            "config": Config(connect_timeout=_PATIENCE_S, read_timeout=_PATIENCE_S, retries={"max_attempts": 2}),
        }
        self._eks, self._sts = boto3.client("eks", **common), boto3.client("sts", **common)

    def role_of(self, account: ServiceAccount) -> str | None:
        found = self._eks.list_pod_identity_associations(
            clusterName=self._cluster, namespace=account.namespace, serviceAccount=account.name
        )["associations"]
        # an emulator may leave the filters out
        wanted = (account.namespace, account.name)
        for one in (one for one in found if (one["namespace"], one["serviceAccount"]) == wanted):
            told = self._eks.describe_pod_identity_association(
                clusterName=self._cluster, associationId=one["associationId"]
            )
            role: str = told["association"]["roleArn"]
            return role
        return None

    def credentials(self, role_arn: str, session: str) -> dict[str, Any]:
        given: dict[str, Any] = self._sts.assume_role(RoleArn=role_arn, RoleSessionName=session)["Credentials"]
        return given
