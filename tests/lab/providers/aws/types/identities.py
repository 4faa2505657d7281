"""IAM: roles and what they may do."""

from typing import Any, Final

from tests.lab.providers.aws.spec import Make, Op, Tagging, Type, Work

ROLE = Type(
    "aws:iam/role:Role",
    "iam",
    create=Make("create_role", {"RoleName": "$name"}, "Role.RoleName"),
    read=Op("get_role", {"RoleName": "$id"}, "Role"),
    delete=Op("delete_role", {"RoleName": "$id"}),
    names={"assumeRolePolicy": "AssumeRolePolicyDocument"},
    elsewhere=frozenset({"name"}),
    changes={
        "assumeRolePolicy": Op("update_assume_role_policy", {"RoleName": "$id", "PolicyDocument": "$assumeRolePolicy"})
    },
    tells={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
    tagging=Tagging("tag_role", "untag_role", "RoleName", read="list_role_tags"),
    outputs={"arn": "Arn", "uniqueId": "RoleId"},
    unique=("name",),
    regional=False,
)


def _policy(work: Work) -> str:
    role, name = work.new["role"], work.new["name"]
    work.call("put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=work.new["policy"])
    return f"{role}:{name}"


_OF_ROLE = {"RoleName": "$role", "PolicyName": "$name"}

ROLE_POLICY = Type(
    "aws:iam/rolePolicy:RolePolicy",
    "iam",
    create=_policy,
    read=Op("get_role_policy", _OF_ROLE),
    delete=Op("delete_role_policy", _OF_ROLE),
    changes={"policy": _policy},
    tells={"policy": "PolicyDocument"},
    drawn="name",
    regional=False,
)


def _attached(work: Work) -> str:
    work.call("attach_role_policy", RoleName=work.new["role"], PolicyArn=work.new["policyArn"])
    return f"{work.new['role']}/{work.new['policyArn']}"


def _attachment(work: Work) -> Any:
    path = f"AttachedPolicies[?PolicyArn=='{work.new['policyArn']}'] | [0]"
    return Op("list_attached_role_policies", {"RoleName": "$role"}, path)(work)


ROLE_POLICY_ATTACHMENT = Type(
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "iam",
    create=_attached,
    read=_attachment,
    delete=Op("detach_role_policy", {"RoleName": "$role", "PolicyArn": "$policyArn"}),
    regional=False,
)

TYPES: Final = (ROLE, ROLE_POLICY, ROLE_POLICY_ATTACHMENT)
