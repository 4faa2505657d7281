"""Karpenter: what it may make, what it may do, and the order in which it goes."""

import json

import pytest

from infra.cluster import karpenter_objects as objects
from tests.kit import schemas

TAGS = {"project": "isthmus", "stack": "dev"}


@pytest.fixture
def program(installed):
    return installed()


def names(urns):
    return {urn.rsplit("::", 1)[-1] for urn in urns}


def policy(program):
    (role_policy,) = program.of_type("aws:iam/rolePolicy:RolePolicy")
    return json.loads(role_policy.inputs["policy"])["Statement"]


def test_pool_and_class_fit_the_schemas_of_the_pinned_version():
    node_class = objects.node_class("isthmus-dev", "profile", "sg-0cluster", TAGS)
    assert schemas.validate_all([node_class, objects.node_pool("aws-1", 64)]) == 2


def test_what_is_destroyed_goes_pool_first_and_controller_last(program):
    node_class, pool = program.named("aws-1-karpenter-class"), program.named("aws-1-karpenter-pool")
    assert "aws-1-karpenter-class" in names(pool.depends_on)
    assert "karpenter" in names(node_class.depends_on)
    assert pool.inputs["metadata"]["annotations"]["pulumi.com/deletionPropagationPolicy"] == "foreground"


def test_its_nodes_are_cpu_nodes_with_the_sites_label_and_an_upper_limit():
    spec = objects.node_pool("aws-1", 64)["spec"]
    assert spec["template"]["metadata"]["labels"] == {"isthmus.dev/site": "aws-1", "isthmus.dev/pool": "elastic"}
    assert spec["limits"] == {"cpu": "64"}
    requirements = {each["key"]: each["values"] for each in spec["template"]["spec"]["requirements"]}
    assert requirements["karpenter.k8s.aws/instance-category"] == ["c", "m", "r"]  # none with GPUs


def test_its_nodes_are_encrypted_keep_their_metadata_and_lie_in_the_private_subnets():
    spec = objects.node_class("isthmus-dev", "profile", "sg-0cluster", TAGS)["spec"]
    assert spec["metadataOptions"]["httpTokens"] == "required"
    assert spec["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert spec["blockDeviceMappings"][0]["ebs"]["encrypted"] is True
    assert spec["subnetSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "isthmus-dev"}}]
    assert spec["securityGroupSelectorTerms"] == [{"id": "sg-0cluster"}]


def test_the_controller_stands_on_nodes_that_it_did_not_make_on_aws():
    affinity = objects.values("isthmus-dev", "https://api", "queue")["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {each["key"]: each["operator"] for each in term["matchExpressions"]} == {
        "karpenter.sh/nodepool": "DoesNotExist",
        "eks.amazonaws.com/compute-type": "NotIn",
    }


def test_it_hears_of_interruptions_before_they_happen(program):
    queue = program.one("aws:sqs/queue:Queue")
    rules = program.of_type("aws:cloudwatch/eventRule:EventRule")
    targets = program.of_type("aws:cloudwatch/eventTarget:EventTarget")
    patterns = {json.loads(rule.inputs["eventPattern"])["detail-type"][0] for rule in rules}
    assert "EC2 Spot Instance Interruption Warning" in patterns
    assert len(patterns) == len(targets) == 4
    release = next(r for r in program.of_type("kubernetes:helm.sh/v3:Release") if r.inputs["name"] == "karpenter")
    assert release.inputs["values"]["settings"]["interruptionQueue"] == queue.inputs["name"]
    assert queue.inputs["sqsManagedSseEnabled"] is True


def test_only_awss_events_write_to_the_queue_and_over_tls():
    allow, deny = objects.queue_policy("arn:queue")["Statement"]
    assert allow["Principal"] == {"Service": ["events.amazonaws.com", "sqs.amazonaws.com"]}
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_controller_passes_the_nodes_role_alone_and_writes_no_iam(program):
    written = [action for statement in policy(program) for action in statement["Action"] if action.startswith("iam:")]
    assert sorted(written) == ["iam:GetInstanceProfile", "iam:ListInstanceProfiles", "iam:PassRole"]
    (passing,) = (statement for statement in policy(program) if statement["Action"] == ["iam:PassRole"])
    assert passing["Resource"] == ["arn:aws:iam::123456789012:role/nodes"]


def test_it_ends_only_what_it_made_in_this_cluster(program):
    (ending,) = (statement for statement in policy(program) if "ec2:TerminateInstances" in statement["Action"])
    assert ending["Condition"] == {
        "StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/isthmus-dev": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }


def test_whatever_it_makes_bears_the_clusters_tag(program):
    making = [statement for statement in policy(program) if "ec2:CreateLaunchTemplate" in statement["Action"]]
    assert all(
        statement["Condition"]["StringEquals"]["aws:RequestTag/kubernetes.io/cluster/isthmus-dev"] == "owned"
        for statement in making
    )
    assert making


def test_the_controllers_role_is_for_its_service_account(program):
    identity = program.one("aws:eks/podIdentityAssociation:PodIdentityAssociation").inputs
    assert (identity["namespace"], identity["serviceAccount"]) == ("kube-system", "karpenter")
    trust = program.one("aws:iam/role:Role").inputs["assumeRolePolicy"]
    assert '"aws:RequestTag/kubernetes-service-account": "karpenter"' in trust
    profile = program.one("aws:iam/instanceProfile:InstanceProfile").inputs
    assert profile["role"] == "nodes"


def test_the_policy_fits_iams_limit(program):
    (role_policy,) = program.of_type("aws:iam/rolePolicy:RolePolicy")
    assert len("".join(role_policy.inputs["policy"].split())) <= 10_240  # characters of inline policies of one role
