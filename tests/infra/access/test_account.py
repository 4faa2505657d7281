"""Where the credentials lead."""

from infra.access.account import account
from tests.kit.cloud import cloud_settings, declare


def test_the_account_is_asked_of_the_stacks_own_provider():
    program = declare(lambda scope: account(scope, cloud_settings()))
    assert (program.result.account_id, program.result.partition) == ("123456789012", "aws")
    assert program.result.region == "eu-central-1"
    assert [r.type for r in program.resources if r.custom and not r.type.startswith("pulumi:")] == []
