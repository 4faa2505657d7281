"""The agent of a node: it turns a pod's token into credentials of the role that the emulated EKS has for its account."""

import datetime as dt
import json
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

ADDRESS: Final = "169.254.170.23"
PATH: Final = "/v1/credentials"
AUDIENCE: Final = "pods.eks.amazonaws.com"
_ACCOUNT_PREFIX: Final = "system:serviceaccount:"


class RefusedError(Exception):
    """No credentials, with the answer's status and the reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class ServiceAccount:
    namespace: str
    name: str

    @classmethod
    def of_user(cls, user: str) -> "ServiceAccount":
        """From what the API server calls it. Raises `RefusedError` for anybody else."""
        namespace, _, name = user.removeprefix(_ACCOUNT_PREFIX).partition(":")
        if not user.startswith(_ACCOUNT_PREFIX) or not name:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"{user or 'nobody'} is no service account")
        return cls(namespace, name)


class Cluster(Protocol):
    """The API server, as far as the agent asks it."""

    def user_of(self, token: str) -> str | None:
        """Whose a token for `AUDIENCE` is; None for one that does not hold."""


class Account(Protocol):
    """EKS and STS, as far as the agent asks them."""

    def role_of(self, account: ServiceAccount) -> str | None:
        """ARN of the role that is associated with a service account."""

    def credentials(self, role_arn: str, session: str) -> dict[str, Any]:
        """STS's answer: AccessKeyId, SecretAccessKey, SessionToken, Expiration."""


def answer(token: str, cluster: Cluster, account: Account) -> dict[str, str]:
    """Credentials in the form that AWS's SDKs read from a container's agent.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html

    Raises:
        RefusedError: the token does not hold, or its account has no role.
    """
    if not token:
        raise RefusedError(HTTPStatus.UNAUTHORIZED, "no token in the header Authorization")
    user = cluster.user_of(token)
    if user is None:
        raise RefusedError(HTTPStatus.UNAUTHORIZED, f"the token does not hold for {AUDIENCE}")
    who = ServiceAccount.of_user(user)
    role = account.role_of(who)
    if role is None:
        raise RefusedError(HTTPStatus.NOT_FOUND, f"service account {who.namespace}/{who.name} has no role")
    given = account.credentials(role, f"{who.namespace}-{who.name}"[:64])
    expiration = given["Expiration"]
    return {
        "AccessKeyId": given["AccessKeyId"],
        "SecretAccessKey": given["SecretAccessKey"],
        "Token": given["SessionToken"],
        "AccountId": role.split(":")[4],
        "Expiration": expiration.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def server(address: tuple[str, int], cluster: Cluster, account: Account) -> ThreadingHTTPServer:
    """Listens; the caller serves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != PATH:
                self._say(HTTPStatus.NOT_FOUND, {"message": f"there is only {PATH}"})
                return
            try:
                self._say(HTTPStatus.OK, answer(self.headers.get("Authorization", ""), cluster, account))
            except RefusedError as refused:
                self._say(refused.status, {"message": str(refused)})

        def _say(self, status: HTTPStatus, body: dict[str, str]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return ThreadingHTTPServer(address, Handler)
