"""Pods get credentials by their service account's role, and by nothing else."""

import datetime as dt
import threading
from contextlib import contextmanager
from http import HTTPStatus

import httpx
import pytest

from tests.lab.identity.admission import manifests
from tests.lab.identity.agent import PATH, RefusedError, ServiceAccount, answer, server

TRAINER = ServiceAccount("training", "trainer")
ROLE = "arn:aws:iam::123456789012:role/trainer"
EXPIRATION = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=1)))


class Tokens:
    def user_of(self, token):
        return {"good": "system:serviceaccount:training:trainer", "human": "jane"}.get(token)


class Roles:
    def __init__(self, roles):
        self.roles = roles

    def role_of(self, account):
        return self.roles.get(account)

    def credentials(self, role_arn, session):
        return {
            "AccessKeyId": f"key of {role_arn}",
            "SecretAccessKey": session,
            "SessionToken": "token",
            "Expiration": EXPIRATION,
        }


WITH_ROLE, WITHOUT = Roles({TRAINER: ROLE}), Roles({})


@contextmanager
def serving(account):
    with server(("127.0.0.1", 0), Tokens(), account) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def test_a_pod_gets_the_credentials_of_its_account_s_role():
    given = answer("good", Tokens(), WITH_ROLE)
    assert given == {
        "AccessKeyId": f"key of {ROLE}",
        "SecretAccessKey": "training-trainer",
        "Token": "token",
        "AccountId": "123456789012",
        "Expiration": "2026-01-01T11:00:00Z",
    }


@pytest.mark.parametrize(
    ("token", "account", "status"),
    [
        ("", WITH_ROLE, HTTPStatus.UNAUTHORIZED),
        ("forged", WITH_ROLE, HTTPStatus.UNAUTHORIZED),
        ("human", WITH_ROLE, HTTPStatus.FORBIDDEN),
        ("good", WITHOUT, HTTPStatus.NOT_FOUND),
    ],
)
def test_nobody_else_gets_any(token, account, status):
    with pytest.raises(RefusedError) as refused:
        answer(token, Tokens(), account)
    assert refused.value.status == status


def test_the_agent_speaks_as_aws_s_sdks_expect():
    with serving(WITH_ROLE) as url:
        assert httpx.get(f"{url}{PATH}", headers={"Authorization": "good"}).json()["AccountId"] == "123456789012"
        assert httpx.get(f"{url}{PATH}").status_code == HTTPStatus.UNAUTHORIZED
        assert httpx.get(f"{url}/latest/meta-data").status_code == HTTPStatus.NOT_FOUND


def test_the_policy_names_the_namespaces_and_both_kinds_of_containers():
    policy, binding = manifests(["training"])
    (chosen,) = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert chosen["values"] == ["training"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    expression = policy["spec"]["mutations"][1]["applyConfiguration"]["expression"]
    assert "object.spec.containers.map" in expression
    assert "object.spec.initContainers.map" in expression
