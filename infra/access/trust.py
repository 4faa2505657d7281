"""Who may take a role: an AWS service, and under which conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pulumi

from infra.access.statements import VERSION

Conditions = Mapping[str, Mapping[str, pulumi.Input[str] | Sequence[pulumi.Input[str]]]]
"""Operator to condition key to value, as IAM writes them: `{"StringEquals": {"aws:SourceAccount": …}}`."""

_SESSION_NAME = "${aws:PrincipalTag/x509Subject/CN}"


@dataclass(frozen=True)
class Trust:
    """A service that may take a role. Karpenter's controller and whatever else runs in a pod: `POD_IDENTITY`."""

    service: str
    session: tuple[str, ...] = ()  # what it does beside `sts:AssumeRole`
    conditions: Conditions = field(default_factory=dict)
    naming: Conditions = field(default_factory=dict)  # of `sts:AssumeRole` alone

    EC2: ClassVar["Trust"]
    EKS: ClassVar["Trust"]
    POD_IDENTITY: ClassVar["Trust"]
    S3: ClassVar["Trust"]
    SSM: ClassVar["Trust"]
    VPC_FLOW_LOGS: ClassVar["Trust"]

    @classmethod
    def roles_anywhere(cls, anchor_arn: pulumi.Input[str]) -> "Trust":
        """Holders of certificates under a trust anchor; a hybrid node must call its session as its certificate does.

        From AWS's EKS guide, "Prepare credentials for hybrid nodes", and the IAM Roles Anywhere trust model.
        """
        return cls(
            "rolesanywhere.amazonaws.com",
            session=("sts:SetSourceIdentity", "sts:TagSession"),
            conditions={"ArnEquals": {"aws:SourceArn": anchor_arn}},
            naming={"StringEquals": {"sts:RoleSessionName": _SESSION_NAME}},
        )

    @classmethod
    def pod(cls, namespace: str, service_account: str) -> "Trust":
        """Pods of one service account alone, by the session tags that EKS Pod Identity sends."""
        tags = {
            "aws:RequestTag/kubernetes-namespace": namespace,
            "aws:RequestTag/kubernetes-service-account": service_account,
        }
        return replace(cls.POD_IDENTITY, conditions={"StringEquals": tags})

    def of_account(self, account_id: pulumi.Input[str]) -> "Trust":
        """The same for what the service does in this account alone: no confused deputy."""
        equals = {**self.conditions.get("StringEquals", {}), "aws:SourceAccount": account_id}
        return replace(self, conditions={**self.conditions, "StringEquals": equals})

    def document(self) -> dict[str, Any]:
        """The trust policy; leaves may be outputs."""
        together = ("sts:AssumeRole", *(() if self.naming else self.session))
        statements = [self._statement(together, _merged(self.conditions, self.naming))]
        if self.naming and self.session:
            statements.append(self._statement(self.session, self.conditions))
        return {"Version": VERSION, "Statement": statements}

    def _statement(self, actions: tuple[str, ...], conditions: Conditions) -> dict[str, Any]:
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"Service": self.service},
            "Action": sorted(actions),
        }
        return {**statement, "Condition": conditions} if conditions else statement


def _merged(one: Conditions, other: Conditions) -> Conditions:
    return {operator: {**one.get(operator, {}), **other.get(operator, {})} for operator in sorted({*one, *other})}


Trust.EC2 = Trust("ec2.amazonaws.com")
Trust.EKS = Trust("eks.amazonaws.com")
Trust.POD_IDENTITY = Trust("pods.eks.amazonaws.com", session=("sts:TagSession",))
Trust.S3 = Trust("s3.amazonaws.com")
Trust.SSM = Trust("ssm.amazonaws.com")
Trust.VPC_FLOW_LOGS = Trust("vpc-flow-logs.amazonaws.com")
