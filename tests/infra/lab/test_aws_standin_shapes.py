"""Values on their way to AWS's interfaces and back."""

import pytest

from tests.lab.providers.aws.cloud import Cloud
from tests.lab.providers.aws.shapes import agrees, camel, from_api, tag_map, to_api
from workloads.spec.errors import UserError


def shape(service, operation):
    return Cloud.of({"endpoints": [{service: "http://127.0.0.1:1"}]}).shape(service, operation)


def test_names_are_found_in_whatever_case_and_under_another_word_where_one_is_given():
    given = {"cidrBlock": "10.0.0.0/16", "ipv6": True}
    found = to_api(shape("ec2", "create_vpc"), given, {"ipv6": "AmazonProvidedIpv6CidrBlock"})
    assert found == {"CidrBlock": "10.0.0.0/16", "AmazonProvidedIpv6CidrBlock": True}


def test_a_map_becomes_keys_and_values_in_the_service_s_words():
    assert to_api(shape("iam", "create_role"), {"tags": {"b": "1", "a": "2"}}, {})["Tags"] == [
        {"Key": "a", "Value": "2"},
        {"Key": "b", "Value": "1"},
    ]
    assert to_api(shape("kms", "create_key"), {"tags": {"a": "2"}}, {})["Tags"] == [{"TagKey": "a", "TagValue": "2"}]
    assert to_api(shape("eks", "create_cluster"), {"tags": {"a": "2"}}, {})["tags"] == {"a": "2"}


def test_words_become_switches_and_numbers_and_one_becomes_a_list_of_one():
    ebs = {"deleteOnTermination": "true", "volumeSize": 50}
    template = shape("ec2", "create_launch_template").members["LaunchTemplateData"]
    found = to_api(template, {"blockDeviceMappings": {"deviceName": "/dev/xvda", "ebs": ebs}}, {})
    assert found["BlockDeviceMappings"] == [
        {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": True, "VolumeSize": 50}}
    ]


def test_an_input_without_a_place_is_refused_with_its_path():
    with pytest.raises(UserError, match=r"input vpcConfig\.speed has no place in VpcConfigRequest"):
        to_api(shape("eks", "create_cluster"), {"vpcConfig": {"speed": 1}}, {"vpcConfig": "resourcesVpcConfig"})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a", "b"], ["b", "a"]),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
        ('{"a": 1}', {"a": 1}),
        ({"sseAlgorithm": "aws:kms"}, {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "key"}),
        ([{"id": "x", "days": 3}], [{"ID": "x", "Days": 3, "more": 1}]),
        ("64552", 64552),
        ("true", True),
        ("anything", None),
    ],
)
def test_what_an_interface_tells_in_other_words_is_what_was_given(given, found):
    assert agrees(given, found)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a"], ["a", "b"]),
        ('{"a": 1}', '{"a": 2}'),
        ({"status": "Enabled"}, {"Status": "Suspended"}),
        ([{"id": "x"}], [{"ID": "y"}]),
        (5, 6),
        (True, False),
    ],
)
def test_what_an_interface_tells_otherwise_is_drift(given, found):
    assert not agrees(given, found)


def test_tags_are_one_map_whatever_a_service_calls_them():
    for told in ([{"Key": "a", "Value": "b"}], [{"TagKey": "a", "TagValue": "b"}], {"a": "b", "aws:created": "x"}):
        assert tag_map(told) == {"a": "b"}


def test_answers_are_in_json_s_terms():
    assert from_api({"ResponseMetadata": {}, "Rows": [{"A": 1}]}) == {"Rows": [{"A": 1}]}
    assert camel({"RoleArn": {"Deep": [{"Er": 1}]}}) == {"roleArn": {"deep": [{"er": 1}]}}
