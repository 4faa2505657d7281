"""A configured provider: where each service answers, with which keys, in which region."""

import re
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.lab.aws.layout import KEYS
from tests.lab.providers.aws.shapes import document, from_api
from tests.lab.providers.contract import Values
from tests.lab.providers.standin import require_lab
from workloads.spec.errors import UserError

GONE = re.compile(r"NotFound|NoSuch|NonExistent|^404$")
"""Codes of errors that say that something is not there."""

BUSY = re.compile(r"DependencyViolation|ResourceInUse|DeleteConflict|IncorrectState")
"""Codes of errors that go away by themselves once something else is gone."""

_OF_PULUMI = {"logs": ("logs", "cloudwatchlogs", "cloudwatch")}
_POOL = 32  # connections to a service, one a worker


@dataclass(frozen=True)
class Cloud:
    """What the program gave to a provider. Clients are made when they are first needed."""

    region: str
    endpoints: dict[str, str]
    default_tags: dict[str, str]
    keys: tuple[str, str]
    path_style: bool
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _making: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(cls, values: Values) -> "Cloud":
        """From the inputs of a provider. The environment is not asked: its keys may be those of a real account.

        Raises:
            UserError: an endpoint is not in the lab.
        """
        values = {key: document(value) for key, value in values.items()}  # the SDK sends all but words as JSON
        endpoints = {service: url for block in values.get("endpoints") or [] for service, url in block.items() if url}
        for service, url in endpoints.items():
            require_lab(url, f"endpoint of {service}")
        return cls(
            region=values.get("region") or "us-east-1",
            endpoints=endpoints,
            default_tags=(values.get("defaultTags") or {}).get("tags") or {},
            keys=(values.get("accessKey") or KEYS[0], values.get("secretKey") or KEYS[1]),
            path_style=bool(values.get("s3UsePathStyle")),
        )

    def client(self, service: str, region: str) -> Any:
        """Raises `UserError` for a service without an endpoint."""
        with self._making:  # a session makes one client at a time
            if (service, region) not in self._clients:
                self._clients[service, region] = self._session.client(
                    service,
                    region_name=region,
                    endpoint_url=self._endpoint(service),
                    config=Config(
                        retries={"mode": "standard", "total_max_attempts": 3},
                        max_pool_connections=_POOL,
                        proxies={},  # whatever the environment says: the lab is here
                        s3={"addressing_style": "path" if self.path_style else "auto"},
                    ),
                )
            return self._clients[service, region]

    def call(self, service: str, operation: str, region: str, **arguments: Any) -> Values:
        """An operation's answer in JSON's terms. Raises `ClientError`."""
        answer: Values = from_api(getattr(self.client(service, region), operation)(**arguments))
        return answer

    def shape(self, service: str, operation: str) -> Any:
        """What botocore knows of an operation's arguments."""
        client = self.client(service, self.region)
        return client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation]).input_shape

    @cached_property
    def account(self) -> str:
        """The number of the account that the keys are of."""
        return str(self.call("sts", "get_caller_identity", self.region)["Account"])

    @property
    def partition(self) -> str:
        return str(self._session.get_partition_for_region(self.region))

    @cached_property
    def _session(self) -> Any:
        access, secret = self.keys
        return boto3.Session(aws_access_key_id=access, aws_secret_access_key=secret)

    def _endpoint(self, service: str) -> str:
        for name in _OF_PULUMI.get(service, (service,)):
            if name in self.endpoints:
                return self.endpoints[name]
        raise UserError(f"service {service} has no endpoint; name the lab's in the stack's endpoints")


def code(error: ClientError) -> str:
    return str(error.response["Error"].get("Code", ""))


def explain(error: Exception) -> str | None:
    """One line for what an interface refused or did not answer; None for anything else."""
    if isinstance(error, ClientError):
        return f"{error.operation_name}: {code(error)}: {error.response['Error'].get('Message', '')}"
    if isinstance(error, BotoCoreError):
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    return None
