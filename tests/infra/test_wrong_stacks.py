"""Wrong stack files: each gets one line with value, limit and remedy, before anything at all is declared."""

import json
from typing import Any

import pulumi
import pytest

from infra.operations.stack_files import tracked, with_overrides
from infra.settings import stack_config
from tests.infra.wrong.apps import REST, SERVING
from tests.infra.wrong.clouds import ADDRESSES, CLOUDS, GPUS
from tests.infra.wrong.structure import KEYS, MISSING, SITES, TYPES
from tests.kit.program import Registered, StrictMocks, run_program
from workloads.spec.errors import UserError

TABLE = [*KEYS, *TYPES, *MISSING, *SITES, *ADDRESSES, *CLOUDS, *GPUS, *SERVING, *REST]


DOCUMENTS = [
    ("config: [sites, links", "expected ',' or ']'", "is not YAML", "mend it"),
    ("- sites", "['sites']", "must be a mapping", "put its values under config:"),
    ("config: sites", "config is 'sites'", "must be a mapping", "write isthmus:KEY"),
    ("config: {}", "sites", "is missing", "add it"),
    (
        "config: {isthmus:sites: {aws-1: aws}, isthmus:training: {recipe: iris}}",
        "{'aws-1': 'aws'}",
        "no list",
        "write one",
    ),
    ("encryptionsalt: v1", "training", "is missing", "add it"),
]


class Nothing(StrictMocks):
    """Takes no resource at all, not even a provider."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.resources.append(
            Registered(args.typ, args.name, dict(args.inputs), args.provider or "", bool(args.custom))
        )
        raise AssertionError(f"{args.typ} {args.name} was declared before the mistake was found")


def refusal(config: dict[str, Any], stack: str) -> str:
    """What the engine shows of the real program, which has declared nothing by then."""
    mocks = Nothing()
    with pytest.raises(pulumi.RunError) as caught:
        run_program(config, stack, mocks)
    assert mocks.resources == []
    assert caught.value.__suppress_context__  # the engine shows the message alone
    return str(caught.value)


def assert_it_says(line: str, *words: str) -> None:
    assert line.strip() == line
    assert "\n" not in line
    assert "Traceback" not in line
    missing = [word for word in words if word not in line]
    assert not missing, line
    positions = [line.rindex(words[-1]), line.index(words[0])]
    assert positions[0] > positions[1], f"the remedy stands before the value: {line}"


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_a_wrong_value_is_refused_in_one_line_before_anything_is_declared(case):
    config = with_overrides(
        stack_config(tracked(case.stack)), [f"{path}={json.dumps(value)}" for path, value in case.changes.items()]
    )
    assert_it_says(refusal(config, case.stack), case.value, case.limit, case.remedy)


@pytest.mark.parametrize(("text", "value", "limit", "remedy"), DOCUMENTS, ids=[text[:20] for text, *_ in DOCUMENTS])
def test_a_malformed_document_is_refused_in_one_line(text, value, limit, remedy, tmp_path):
    file = tmp_path / "Pulumi.wrong.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        line = refusal(stack_config(file), "wrong")
    except UserError as error:
        line = str(error)
    assert_it_says(line, value, limit, remedy)


def test_an_unknown_stack_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"Pulumi.pord.yaml is unknown; stacks: dev, dr, lab, local, prod, staging"):
        stack_config(tmp_path / "Pulumi.pord.yaml")


def test_the_table_is_long_and_nothing_stands_in_it_twice():
    assert len(TABLE) >= 45
    assert len({json.dumps([case.stack, case.changes], sort_keys=True) for case in TABLE}) == len(TABLE)


def test_each_stack_file_as_it_is_gets_past_the_checks():
    """So that what is refused above is refused for its mistake."""
    for stack in ("dev", "prod", "dr", "staging"):
        with pytest.raises(AssertionError, match="was declared before"):
            run_program(stack_config(tracked(stack)), stack, Nothing())
