"""What the engine runs for `--policy-pack infra/policy`."""

from pulumi_policy import PolicyPack

from infra.policy.pack import NAME, policies

PolicyPack(NAME, policies())
