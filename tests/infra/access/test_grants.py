"""Grants: what each intent allows, and what is refused where it is written."""

import json

import pytest

from infra.access import grants
from infra.access.statements import WITHOUT_RESOURCE
from infra.cloud_contracts import RepositoryContract
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare
from workloads.spec.errors import UserError

ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/rolePolicy:RolePolicy"
BUCKET, KEY = "arn:aws:s3:::isthmus-dev-aws-1", "arn:aws:kms:eu-central-1:123456789012:key/artefacts"


def granted(body):
    """Statements of the one policy that `body(scope, role)` writes."""
    program = declare(lambda scope: body(scope, grants.service_role(scope, "tester", grants.Trust.EC2)))
    return json.loads(program.one(POLICY).inputs["policy"])["Statement"]


def trusted(trust):
    program = declare(lambda scope: grants.service_role(scope, "tester", trust))
    return json.loads(program.one(ROLE).inputs["assumeRolePolicy"])["Statement"]


def actions(statements, resource):
    return [s["Action"] for s in statements if s["Resource"] == [resource]]


@pytest.mark.parametrize(
    ("trust", "service", "does"),
    [
        (grants.Trust.EC2, "ec2", ["sts:AssumeRole"]),
        (grants.Trust.EKS, "eks", ["sts:AssumeRole"]),
        (grants.Trust.POD_IDENTITY, "pods.eks", ["sts:AssumeRole", "sts:TagSession"]),
        (grants.Trust.S3, "s3", ["sts:AssumeRole"]),
        (grants.Trust.SSM, "ssm", ["sts:AssumeRole"]),
        (grants.Trust.VPC_FLOW_LOGS, "vpc-flow-logs", ["sts:AssumeRole"]),
    ],
)
def test_a_role_is_taken_by_its_service_alone(trust, service, does):
    (statement,) = trusted(trust)
    assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
    assert statement["Action"] == does


def test_a_role_has_a_name_of_its_stack_within_the_limit_and_its_tags():
    role = declare(lambda scope: grants.service_role(scope, "a" * 80, grants.Trust.EC2)).one(ROLE)
    assert role.inputs["name"].startswith("isthmus-dev-aaa")
    assert len(role.inputs["name"]) == 64
    assert role.inputs["tags"]["owner"] == "ml-platform"


def test_a_hybrid_node_calls_its_session_as_its_certificate_does():
    assume, session = trusted(grants.Trust.roles_anywhere("arn:aws:rolesanywhere:eu-central-1:1:trust-anchor/a"))
    anchor = {"aws:SourceArn": "arn:aws:rolesanywhere:eu-central-1:1:trust-anchor/a"}
    assert assume["Condition"] == {
        "ArnEquals": anchor,
        "StringEquals": {"sts:RoleSessionName": "${aws:PrincipalTag/x509Subject/CN}"},
    }
    assert assume["Action"] == ["sts:AssumeRole"]
    assert session["Condition"] == {"ArnEquals": anchor}
    assert session["Action"] == ["sts:SetSourceIdentity", "sts:TagSession"]


def test_a_service_acts_for_this_account_alone_and_a_pod_for_its_service_account():
    (statement,) = trusted(grants.Trust.SSM.of_account("123456789012"))
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    (statement,) = trusted(grants.Trust.pod("isthmus-training", "trainer"))
    assert statement["Condition"]["StringEquals"] == {
        "aws:RequestTag/kubernetes-namespace": "isthmus-training",
        "aws:RequestTag/kubernetes-service-account": "trainer",
    }


def test_whoever_reads_a_bucket_changes_nothing():
    statements = granted(lambda scope, role: grants.read_bucket(scope, "read", role, fakes.store(scope)))
    assert actions(statements, BUCKET) == [["s3:GetBucketLocation", "s3:ListBucket"]]
    assert actions(statements, f"{BUCKET}/*") == [["s3:GetObject", "s3:GetObjectVersion"]]
    assert actions(statements, KEY) == [["kms:Decrypt"]]


def test_whoever_writes_a_bucket_leaves_its_versions_and_uses_its_key_through_s3():
    statements = granted(lambda scope, role: grants.write_bucket(scope, "write", role, fakes.store(scope)))
    (on_objects,) = actions(statements, f"{BUCKET}/*")
    assert {"s3:PutObject", "s3:DeleteObject", "s3:GetObject"} <= set(on_objects)
    assert "s3:DeleteObjectVersion" not in on_objects
    (by_key,) = [s for s in statements if s["Resource"] == [KEY]]
    assert by_key["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert by_key["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}}


def test_a_recovery_reads_the_replica_and_decrypts_that_bucket_alone():
    def body(scope, role):
        store = fakes.store(scope)
        restored = type(store)(**{**vars(store), "restore_from": "isthmus-prod-replica"})
        return grants.write_bucket(scope, "write", role, restored)

    statements = granted(body)
    assert actions(statements, "arn:aws:s3:::isthmus-prod-replica/*") == [["s3:GetObject", "s3:GetObjectVersion"]]
    (decrypt,) = [s for s in statements if s["Resource"] == ["arn:aws:kms:eu-central-1:*:key/*"]]
    assert decrypt["Action"] == ["kms:Decrypt"]
    assert decrypt["Condition"] == {
        "StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"},
        "StringLike": {
            "kms:EncryptionContext:aws:s3:arn": [
                "arn:aws:s3:::isthmus-prod-replica",
                "arn:aws:s3:::isthmus-prod-replica/*",
            ]
        },
    }


@pytest.mark.parametrize("intent", [grants.read_bucket, grants.write_bucket])
def test_no_role_reaches_a_store_of_openstack(intent):
    with pytest.raises(UserError, match="store of site os-1 is not on AWS"):
        granted(lambda scope, role: intent(scope, "x", role, fakes.store(scope, "os-1")))


def test_images_are_pulled_from_the_stacks_own_repositories():
    token, layers = granted(lambda scope, role: grants.pull_images(scope, "pull", role, fakes.repositories()))
    assert (token["Action"], token["Resource"]) == (["ecr:GetAuthorizationToken"], ["*"])
    assert layers["Resource"] == [
        f"arn:aws:ecr:eu-central-1:123456789012:repository/isthmus-dev/{name}"
        for name in ("inference", "registry", "trainer")
    ]
    assert not any("Put" in action for action in layers["Action"])


def test_nothing_is_granted_where_there_is_no_repository():
    program = declare(
        lambda scope: grants.pull_images(
            scope, "pull", grants.service_role(scope, "tester", grants.Trust.EC2), RepositoryContract({}, {})
        )
    )
    assert program.of_type(POLICY) == []


def test_managed_policies_come_from_a_list_and_from_the_roles_own_partition():
    def attach(*names):
        return declare(
            lambda scope: grants.attach_managed(
                scope, "nodes", grants.service_role(scope, "nodes", grants.Trust.EC2), *names
            )
        )

    attached = attach("AmazonEKSWorkerNodePolicy", "AmazonEBSCSIDriverPolicy").of_type(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    )
    assert [a.inputs["policyArn"] for a in attached] == [
        "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",
        "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
    ]
    with pytest.raises(UserError, match=r"\['AdministratorAccess'\] may not be attached"):
        attach("AdministratorAccess")


def test_a_secret_is_read_by_name_with_its_key():
    reading, decrypting = granted(lambda scope, role: grants.read_secret(scope, "secret", role, "arn:s", "arn:k"))
    assert reading["Resource"] == ["arn:s"]
    assert (decrypting["Action"], decrypting["Resource"]) == (["kms:Decrypt"], ["arn:k"])


def test_a_log_group_is_written_and_no_other():
    group = "arn:aws:logs:eu-central-1:123456789012:log-group:flow"

    def body(scope, role):
        return grants.write_logs(scope, "logs", role, role.arn.apply(lambda _: f"{group}:*"))

    streams, groups = granted(body)
    assert streams["Resource"] == [group, f"{group}:*"]
    assert groups == {
        "Effect": "Allow",
        "Action": ["logs:DescribeLogGroups"],
        "Resource": ["arn:aws:logs:eu-central-1:123456789012:log-group:*"],
    }


@pytest.mark.parametrize("action", ["*", "s3:*", "s3:Get*", "kms:?ecrypt", "GetObject"])
def test_an_action_that_is_a_pattern_is_refused(action):
    with pytest.raises(UserError, match="reaches too far; name each action"):
        grants.Statement((action,), ("arn:aws:s3:::b",))


def test_every_resource_is_refused_unless_the_action_knows_none():
    with pytest.raises(UserError, match="a grant of s3:GetObject on every resource reaches too far"):
        grants.Statement(("s3:GetObject", "ec2:DescribeSubnets"), ("*",))
    assert grants.Statement(("ec2:DescribeSubnets",), ("*",)).rendered()["Resource"] == ["*"]


def test_an_output_that_turns_out_to_be_every_resource_is_refused():
    def body(scope, role):
        everywhere = role.arn.apply(lambda _: "*")
        return grants.statements(scope, "x", role, [grants.Statement(("s3:GetObject",), (everywhere,))])

    with pytest.raises(UserError, match="on every resource"):
        granted(body)


@pytest.mark.parametrize("empty", [{"actions": (), "resources": ("arn:a",)}, {"actions": ("a:B",), "resources": ()}])
def test_a_statement_without_action_or_resource_is_refused(empty):
    with pytest.raises(UserError):
        grants.Statement(**empty)


def test_no_action_that_changes_anything_is_held_to_know_no_resource():
    # figures that are sent belong to no resource that CloudWatch would know
    changing = {a for a in WITHOUT_RESOURCE if not a.split(":")[1].startswith(("Describe", "Get", "List"))}
    assert changing == {"cloudwatch:PutMetricData"}


def test_a_pod_gets_its_role_by_association():
    def body(scope):
        cluster = fakes.cluster(scope)
        role = grants.service_role(scope, "trainer", grants.Trust.pod("isthmus-training", "trainer"))
        return grants.pod_identity(scope, "trainer", cluster, "isthmus-training", "trainer", role)

    association = declare(body).one("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert association.inputs["roleArn"] == "arn:aws:iam::123456789012:role/trainer"
    assert association.inputs["serviceAccount"] == "trainer"
    assert association.inputs["tags"]["stack"] == "dev"


def in_cluster(grant, *rules):
    settings = cloud_settings()
    return declare(lambda scope: grant(fakes.inside(scope), "watcher", "isthmus-training", "trainer", rules), settings)


def test_a_service_account_does_what_its_rules_say_in_its_namespace():
    program = in_cluster(grants.kubernetes_role, grants.Rule(("",), ("configmaps",), ("get", "patch"), ("plan",)))
    role = program.one("kubernetes:rbac.authorization.k8s.io/v1:Role")
    assert role.inputs["metadata"]["namespace"] == "isthmus-training"
    assert role.inputs["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"], "resourceNames": ["plan"]}
    ]
    binding = program.one("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding")
    assert binding.inputs["roleRef"]["name"] == "watcher"
    assert binding.inputs["subjects"] == [
        {"kind": "ServiceAccount", "name": "trainer", "namespace": "isthmus-training"}
    ]


def test_readers_read():
    pods = grants.Rule(("",), ("pods",))
    program = in_cluster(grants.kubernetes_cluster_reader, pods)
    role = program.one("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")
    assert role.inputs["rules"][0]["verbs"] == ["get", "list", "watch"]
    for grant in (grants.kubernetes_reader, grants.kubernetes_cluster_reader):
        with pytest.raises(UserError, match=r"only reads and has verbs \['delete'\]"):
            in_cluster(grant, grants.Rule(("",), ("pods",), ("get", "delete")))


def test_no_role_reads_the_secrets_of_every_namespace():
    with pytest.raises(UserError, match="reads every secret"):
        in_cluster(grants.kubernetes_cluster_reader, grants.Rule(("",), ("secrets",)))


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"groups": ("*",), "resources": ("pods",)}, r"\['\*'\]"),
        ({"groups": ("",), "resources": ("*",)}, r"\['\*'\]"),
        ({"groups": ("",), "resources": ("pods",), "verbs": ("*",)}, r"\['\*'\]"),
        ({"groups": ("",), "resources": ("serviceaccounts",), "verbs": ("impersonate",)}, r"\['impersonate'\]"),
    ],
)
def test_rules_that_give_more_than_they_name_are_refused(rule, named):
    with pytest.raises(UserError, match=named):
        grants.Rule(**rule)


def test_a_key_is_used_and_not_managed():
    (using,) = granted(lambda scope, role: grants.use_key(scope, "key", role, KEY))
    assert using["Resource"] == [KEY]
    assert using["Action"] == ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ListGrants"]
