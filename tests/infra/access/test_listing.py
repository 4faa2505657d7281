"""The list of principals: whoever may do something is on it, with all that it may do."""

from dataclasses import dataclass
from typing import Any

from infra.access import grants
from infra.access.account import account
from infra.access.listing import principals
from infra.storage.artefacts import stores
from infra.storage.keys import keys
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare


@dataclass(frozen=True)
class Plain:
    type: str
    name: str
    inputs: dict[str, Any]


def listed(body):
    return principals(declare(body).resources)


def test_a_role_is_listed_with_its_trust_its_grants_and_its_pods():
    def body(scope):
        role = grants.service_role(scope, "trainer", grants.Trust.pod("isthmus-training", "trainer"))
        grants.read_bucket(scope, "trainer-reads", role, fakes.store(scope))
        grants.attach_managed(scope, "trainer", role, "AmazonEC2ContainerRegistryPullOnly")
        grants.pod_identity(scope, "trainer", fakes.cluster(scope), "isthmus-training", "trainer", role)

    listing = listed(body)
    assert listing["pod"] == {"isthmus-training/trainer": ["has role trainer"]}
    pod = "aws:RequestTag/kubernetes"
    tags = f"{pod}-namespace StringEquals isthmus-training and {pod}-service-account StringEquals trainer"
    assert listing["role"]["trainer"][:3] == [
        f"taken by pods.eks.amazonaws.com (AssumeRole, TagSession) if {tags}",
        "may s3:GetBucketLocation, s3:ListBucket on arn:aws:s3:::isthmus-dev-aws-1",
        "may s3:GetObject, s3:GetObjectVersion on arn:aws:s3:::isthmus-dev-aws-1/*",
    ]
    through = "kms:ViaService StringEquals s3.eu-central-1.amazonaws.com"
    assert listing["role"]["trainer"][3:] == [
        f"may kms:Decrypt on arn:aws:kms:eu-central-1:123456789012:key/artefacts if {through}",
        "may what AWS's AmazonEC2ContainerRegistryPullOnly says",
    ]


def test_service_accounts_are_listed_with_their_roles():
    def body(scope):
        rule = grants.Rule(("", "apps"), ("pods", "deployments"), ("get",), ("one",))
        grants.kubernetes_role(fakes.inside(scope), "watcher", "isthmus-training", "trainer", [rule])

    listing = listed(body)
    assert listing["service account"] == {"isthmus-training/trainer": ["has Role watcher in isthmus-training"]}
    assert listing["kubernetes Role"] == {
        "isthmus-training/watcher": ["may get pods, deployments of core, apps named one"]
    }


def test_keys_and_stores_of_a_platform_are_listed():
    settings = cloud_settings(**{"cloud.storage.replica_region": "eu-west-1"})

    def body(scope):
        here = account(scope, settings)
        stores(scope, settings, here, keys(scope, settings, here))

    listing = listed(body)
    assert set(listing["key"]) == {"artefacts-key", "artefacts-key-replica", "cluster-key", "logs-key"}
    assert listing["key"]["artefacts-key"] == ["arn:aws:iam::123456789012:root may kms:* on *"]
    assert set(listing["role"]) == {"aws-1-replication"}
    assert set(listing["openstack"]) == {"os-1-artefacts"}


def test_whoever_enters_the_cluster_is_listed():
    arn = "arn:aws:iam::1:role/nodes"
    found = principals(
        [
            Plain("aws:eks/accessEntry:AccessEntry", "n", {"principalArn": arn, "type": "HYBRID_LINUX"}),
            Plain(
                "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
                "a",
                {
                    "principalArn": arn,
                    "policyArn": "arn:aws:eks::aws:x/AmazonEKSViewPolicy",
                    "accessScope": {"type": "cluster"},
                },
            ),
        ]
    )
    assert found == {
        "cluster": {arn: ["enters as HYBRID_LINUX with no group", "may what AmazonEKSViewPolicy says in cluster"]}
    }


def test_an_application_credential_is_listed_with_the_rules_that_bind_it():
    rule = {"method": "GET", "path": "/v3/x", "service": "identity"}
    found = principals(
        [
            Plain(
                "openstack:identity/applicationCredential:ApplicationCredential",
                "gateway",
                {"roles": ["reader"], "accessRules": [rule]},
            )
        ]
    )
    assert found == {"openstack": {"gateway": ["may what reader says, and of that GET /v3/x of identity alone"]}}


def test_what_names_no_principal_is_not_listed():
    assert principals([Plain("aws:ec2/vpc:Vpc", "vpc", {"cidrBlock": "10.0.0.0/16"})]) == {}
