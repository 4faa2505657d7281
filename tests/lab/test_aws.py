"""The AWS half, applied: the whole program, the real engine, the stand-in provider and both emulators.

What is not AWS's is echoed (`tests/lab/aws_half`). The tests of this module are one story and run in its order.
"""

import json
from collections import Counter

import boto3
import pytest

from infra.settings import ROOT
from tests.kit.cloud import whole
from tests.lab.aws import control
from tests.lab.aws.census import census, left
from tests.lab.aws.layout import ACCOUNT, KEYS, REGION, Layout, emulator_of, url
from tests.lab.half import Half
from tests.lab.providers import standin
from tests.lab.providers.aws.kept import FOLDER
from tests.lab.providers.bridge import sdk_version

pytestmark = pytest.mark.lab

STORE = f"isthmus-lab-aws-1-artefacts-{ACCOUNT}"
RETAGGED = "cloud.cost_center=moved"


@pytest.fixture(scope="module")
def emulators():
    with control.running(Layout(ROOT / ".state/lab/aws")) as layout:
        yield layout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """PULUMI_HOME with the stand-in and, for the other clouds, with echoes."""
    folder = tmp_path_factory.mktemp("home")
    standin.install("aws", folder / "plugins")
    for package in ("kubernetes", "openstack"):
        standin.install(package, folder / "plugins", "tests.lab.aws_half.echo", package)
    return folder


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Settings over those of the stack's file: it names a cluster that is not there."""
    kubeconfig = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n", encoding="utf-8")
    services = ("ecr", "ec2", "eks", "iam", "kms", "logs", "rolesanywhere", "s3", "secretsmanager", "ssm", "sts")
    endpoints = {service: url(emulator_of(service)) for service in services}
    return (f"cloud.cluster.kubeconfig={kubeconfig}", f"sites.0.aws.endpoints={json.dumps(endpoints)}")


@pytest.fixture(scope="module")
def stack(emulators, home, values, tmp_path_factory):
    made = Half(
        tmp_path_factory.mktemp("half"),
        home,
        clouds=ROOT / "clouds.yaml",
        program=ROOT,
        # whatever is here, it is not what the emulators get
        environment={"AWS_ACCESS_KEY_ID": "AKIAREAL", "AWS_SECRET_ACCESS_KEY": "real", FOLDER: str(emulators.root)},
    )
    made.configure(*values)
    return made


def client(service, access=KEYS[0], secret=KEYS[1], session=None):
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=url(emulator_of(service)),
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        aws_session_token=session,
    )


def succeeded(done):
    assert done.status == 0, done.text
    return done


def changes(stack):
    """What an `up` would do, by kind of step and type."""
    steps = succeeded(stack.preview()).steps()
    kinds = {step["urn"]: step["op"] for step in steps if step["op"] in {"create", "update", "delete", "replace"}}
    return Counter((op, urn.split("::")[2].rpartition("$")[2]) for urn, op in kinds.items())


def resource(stack, kind, name):
    (found,) = [r for r in stack.resources() if r["type"].endswith(f":{kind}") and r["urn"].endswith(f"::{name}")]
    return found


def of_aws(stack):
    """What is there, by URN: an id, which a replacement would change."""
    return {r["urn"]: r.get("id") for r in stack.resources() if r["type"].startswith("aws:")}


def test_up_makes_all_that_the_program_declares_and_every_service_says_that_it_is_there(stack):
    succeeded(stack.up())
    declared = Counter(r.type for r in whole("lab").resources if r.type.startswith("aws:"))
    assert stack.of_cloud("aws") == declared
    there = census()
    assert there["clusters"] == ["isthmus-lab"]
    assert there["buckets"] == [STORE]
    assert there["aliases"] == [f"alias/isthmus-lab-{purpose}" for purpose in ("artefacts", "cluster", "logs")]
    assert there["node groups"] == ["isthmus-lab/isthmus-lab-aws-1-l4", "isthmus-lab/isthmus-lab-aws-1-system"]
    for kind, token in {
        "add-ons": "aws:eks/addon:Addon",
        "keys": "aws:kms/key:Key",
        "pod identities": "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "roles": "aws:iam/role:Role",
        "route tables": "aws:ec2/routeTable:RouteTable",
        "subnets": "aws:ec2/subnet:Subnet",
    }.items():
        assert len(there[kind]) == declared[token], kind


def test_nothing_is_left_to_do_after_it(stack):
    assert changes(stack) == {}


def test_the_store_takes_objects_and_keeps_their_versions(stack):
    s3 = client("s3")
    for text in (b"first", b"second"):
        s3.put_object(Bucket=STORE, Key="model", Body=text)
    assert s3.get_object(Bucket=STORE, Key="model")["Body"].read() == b"second"
    assert len(s3.list_object_versions(Bucket=STORE, Prefix="model")["Versions"]) == 2
    assert s3.get_public_access_block(Bucket=STORE)["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"]


def test_a_pod_s_service_account_has_its_role_and_the_role_opens_the_store(stack):
    role = resource(stack, "Role", "trainer")["outputs"]["arn"]
    eks = client("eks")
    listed = eks.list_pod_identity_associations(clusterName="isthmus-lab")["associations"]
    found = {
        each["serviceAccount"]: eks.describe_pod_identity_association(
            clusterName="isthmus-lab", associationId=each["associationId"]
        )["association"]["roleArn"]
        for each in listed
    }
    assert found["trainer"] == role
    session = client("sts").assume_role(RoleArn=role, RoleSessionName="pod")["Credentials"]
    keys = (session["AccessKeyId"], session["SecretAccessKey"])
    s3 = client("s3", *keys, session["SessionToken"])
    s3.put_object(Bucket=STORE, Key="of-a-pod", Body=b"model")
    assert client("s3").get_object(Bucket=STORE, Key="of-a-pod")["Body"].read() == b"model"


def test_the_other_side_s_ways_in_are_on_the_cluster_s_own_group(stack):
    group = resource(stack, "Cluster", "aws-1-cluster")["outputs"]["vpcConfig"]["clusterSecurityGroupId"]
    rules = client("ec2").describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    admitted = {(r["IpProtocol"], r["FromPort"]) for r in rules["SecurityGroupRules"] if not r["IsEgress"]}
    assert {("tcp", 443), ("tcp", 7399), ("icmp", 3)} <= admitted


def test_tunnels_end_at_two_addresses_with_keys_that_are_in_no_plain_text(stack):
    connection = resource(stack, "VpnConnection", "os-1")
    keys = stack.secrets_of(connection["urn"])
    ends = {connection["outputs"][f"tunnel{number}Address"] for number in (1, 2)}
    assert len(ends) == len({keys["tunnel1PresharedKey"], keys["tunnel2PresharedKey"]}) == 2
    text = "".join(path.read_text() for path in (stack.folder / "backend").rglob("*") if path.is_file())
    assert ends.pop() in text
    assert keys["tunnel1PresharedKey"] not in text


def test_a_refresh_finds_all_as_it_was_left(stack):
    succeeded(stack.run("refresh", "--yes", "--expect-no-changes"))


def test_a_changed_tag_is_an_update_of_each_and_replaces_nothing(stack, values):
    stack.configure(*values, RETAGGED)
    foreseen = changes(stack)
    assert {op for op, kind in foreseen if kind.startswith("aws:")} == {"update"}
    assert foreseen["update", "aws:ec2/vpc:Vpc"] == 1
    assert foreseen["update", "aws:ec2/launchTemplate:LaunchTemplate"] == 2
    before = of_aws(stack)
    succeeded(stack.up())
    assert of_aws(stack) == before
    assert changes(stack) == {}
    succeeded(stack.run("refresh", "--yes", "--expect-no-changes"))


def test_the_changed_tag_is_in_every_service(stack):
    outputs = {
        name: resource(stack, kind, name)["outputs"]
        for kind, name in (("Cluster", "aws-1-cluster"), ("Key", "logs-key"))
    }
    vpc = client("ec2").describe_vpcs(VpcIds=[resource(stack, "Vpc", "aws-1")["id"]])["Vpcs"][0]
    told = {
        "ec2": {tag["Key"]: tag["Value"] for tag in vpc["Tags"]},
        # what a read of the cluster tells are the tags that it was made with
        "eks": client("eks").list_tags_for_resource(resourceArn=outputs["aws-1-cluster"]["arn"])["tags"],
        "iam": {
            tag["Key"]: tag["Value"] for tag in client("iam").list_role_tags(RoleName="isthmus-lab-trainer")["Tags"]
        },
        "kms": {
            tag["TagKey"]: tag["TagValue"]
            for tag in client("kms").list_resource_tags(KeyId=outputs["logs-key"]["keyId"])["Tags"]
        },
        "s3": {tag["Key"]: tag["Value"] for tag in client("s3").get_bucket_tagging(Bucket=STORE)["TagSet"]},
    }
    assert {service: tags["cost-center"] for service, tags in told.items()} == dict.fromkeys(told, "moved")


def test_what_somebody_changed_or_deleted_is_seen_by_a_refresh_and_mended(stack):
    route = resource(stack, "Route", "aws-1-private-0-out")["inputs"]
    ec2 = client("ec2")
    ec2.delete_route(RouteTableId=route["routeTableId"], DestinationCidrBlock=route["destinationCidrBlock"])
    client("s3").put_bucket_versioning(Bucket=STORE, VersioningConfiguration={"Status": "Suspended"})
    succeeded(stack.run("refresh", "--yes"))
    assert changes(stack) == {
        ("create", "aws:ec2/route:Route"): 1,
        ("update", "aws:s3/bucketVersioning:BucketVersioning"): 1,
    }
    succeeded(stack.up())
    assert client("s3").get_bucket_versioning(Bucket=STORE)["Status"] == "Enabled"
    assert changes(stack) == {}


def test_a_store_by_s3_that_is_not_aws_s_is_set_with_its_own_keys(stack, values):
    """Ceph's gateway, in whose place the emulator has the bucket that the echo has not made."""
    bucket, s3 = "isthmus-lab-os-1-artefacts", client("s3")
    s3.create_bucket(Bucket=bucket)
    ceph = ("sites.1.openstack.object_store.kind=ceph", f"sites.1.openstack.object_store.endpoint={url('ministack')}")
    stack.configure(*values, RETAGGED, *ceph)
    succeeded(stack.up())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert len(s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]) == 2
    assert changes(stack) == {}
    stack.configure(*values, RETAGGED)
    succeeded(stack.up())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Suspended"
    s3.delete_bucket(Bucket=bucket)


def test_destroy_leaves_nothing_in_the_account(stack):
    succeeded(stack.run("destroy", "--yes"))
    assert stack.resources() == []
    assert left(census()) == {}


def test_the_stand_in_speaks_with_no_cloud_elsewhere(stack, values):
    stack.configure(*values, "sites.0.aws.endpoints.iam=http://192.0.2.1:4566")
    done = stack.preview()
    assert done.status != 0
    assert "endpoint of iam http://192.0.2.1:4566 is neither on this machine's loopback" in done.text


def test_the_stand_in_is_not_where_another_stack_would_find_it():
    assert not list((ROOT / ".state/pulumi").glob(f"plugins/resource-aws-v{sdk_version('aws')}/{standin.MARK}"))
