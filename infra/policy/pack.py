"""The rules as the engine's SDK wants them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
    proxy,
    secret,
)
from pulumi_policy import Secret as EngineSecret

from infra.policy.rule import UNKNOWN, Config, Resource, Rule, Secret, StackRule, defaults
from infra.policy.rules import RULES

NAME: Final = "isthmus"
_PROXIES: Final = (proxy._DictProxy, proxy._ListProxy, secret._DictSecretsProxy, secret._ListSecretsProxy)  # noqa: SLF001


def policies(rules: Sequence[Rule | StackRule] = RULES) -> list[Policy]:
    """One policy a rule. All are mandatory: what is only advice is no rule."""
    return [_policy(rule) for rule in rules]


def _policy(rule: Rule | StackRule) -> Policy:
    if isinstance(rule, StackRule):
        return _OfStack(rule)
    return _OfSecrets(rule) if rule.sees_secrets else _OfResource(rule)


def _schema(rule: Rule | StackRule) -> PolicyConfigSchema | None:
    return PolicyConfigSchema({name: dict(schema) for name, schema in rule.settings.items()}) if rule.settings else None


class _OfResource(ResourceValidationPolicy):
    def __init__(self, rule: Rule, level: EnforcementLevel = EnforcementLevel.MANDATORY) -> None:
        self.rule = rule
        super().__init__(rule.name, rule.says, enforcement_level=level, config_schema=_schema(rule))

    def validate(self, args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        for message in self.rule.check(_resource(args, args.props), self.config(args)):
            report_violation(message, None)

    def config(self, args: Any) -> Config:
        return {**defaults(self.rule), **args.get_config()}


class _OfSecrets(_OfResource):
    """The engine says what is secret only to a policy that may mend it; this one looks, mends nothing, and refuses."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, EnforcementLevel.REMEDIATE)
        self._found: dict[str, list[str]] = {}

    def remediate(self, args: ResourceValidationArgs) -> None:
        self._found[args.urn] = self.rule.check(_resource(args, args.props), self.config(args))

    def validate(self, args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        for message in self._found.get(args.urn, ["was not looked at; leave this rule's enforcement level as it is"]):
            report_violation(message, None)


class _OfStack(StackValidationPolicy):
    def __init__(self, rule: StackRule) -> None:
        self.rule = rule
        super().__init__(
            rule.name, rule.says, enforcement_level=EnforcementLevel.MANDATORY, config_schema=_schema(rule)
        )

    def validate(self, args: StackValidationArgs, report_violation: ReportViolation) -> None:
        config = {**defaults(self.rule), **args.get_config()}
        for finding in self.rule.check([_made(resource) for resource in args.resources], config):
            report_violation(finding.message, finding.urn)


def _resource(args: ResourceValidationArgs, props: Mapping[str, Any]) -> Resource:
    return Resource(args.resource_type, args.name, plain(props), args.urn, bool(args.opts.protect))


def _made(resource: PolicyResource) -> Resource:
    needs = {key: tuple(other.urn for other in others) for key, others in resource.property_dependencies.items()}
    return Resource(
        resource.resource_type,
        resource.name,
        plain(resource.props),
        resource.urn,
        bool(resource.opts.protect),
        needs,
    )


def plain(value: Any) -> Any:
    """A value without the SDK's proxies: what is not known is `UNKNOWN`, what is secret is `Secret` where that shows."""
    if isinstance(value, _PROXIES):
        value = value["__target"]  # as the SDK itself looks behind them, to send a value back
    if isinstance(value, EngineSecret):
        return Secret(plain(value.value))
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return UNKNOWN if proxy._is_unknown(value) else value  # noqa: SLF001 - the SDK has no other way to ask
