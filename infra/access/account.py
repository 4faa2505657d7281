"""Where the stack's AWS credentials lead."""

import pulumi
import pulumi_aws as aws

from infra.cloud_contracts import AccountContract
from infra.scope import Scope
from infra.settings import Settings


def account(scope: Scope, settings: Settings) -> AccountContract:
    """The account and partition that the stack's AWS provider is authorised for. Creates nothing."""
    _, values = settings.aws_site
    asked = pulumi.InvokeOutputOptions(parent=scope.parent)  # the provider comes down from there
    return AccountContract(
        account_id=aws.get_caller_identity_output(opts=asked).account_id,
        partition=aws.get_partition_output(opts=asked).partition,
        region=values.region,
    )
