"""The agent's two doors: the API server by a kubeconfig, and EKS and STS of an emulator."""

import base64
import ssl
import tempfile
from pathlib import Path
from typing import Any

import boto3
import httpx
import yaml
from botocore.config import Config

from tests.lab.identity.agent import AUDIENCE, ServiceAccount

_PATIENCE_S = 5.0


class ApiServer:
    """Reviews tokens, with the client certificate of a kubeconfig's current context."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        verify = ssl.create_default_context(cadata=_text(cluster, "certificate-authority"))
        with tempfile.TemporaryDirectory() as folder:
            # ssl reads a client's certificate from files alone
            pair = [Path(folder, name) for name in ("client-certificate", "client-key")]
            for path in pair:
                path.touch(mode=0o600)
                path.write_text(_text(user, path.name), encoding="ascii")
            verify.load_cert_chain(*pair)
        self._client = httpx.Client(base_url=cluster["server"], verify=verify, timeout=_PATIENCE_S, trust_env=False)

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
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
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


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def _text(of: dict[str, str], name: str) -> str:
    """An entry's content, given in the file itself or by another file."""
    if inline := of.get(f"{name}-data"):
        return base64.b64decode(inline).decode("ascii")
    return Path(of[name]).read_text(encoding="ascii")
