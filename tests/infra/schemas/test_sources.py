"""The checked-in schemas are what their sources give. Collected on request alone: it needs Go and its proxy."""

import json

import pytest

from tests.kit.schemas import pinned
from tests.kit.schemas.fetch import extract, module_folder
from tests.kit.schemas.sources import CUSTOM, KUBERNETES


@pytest.mark.parametrize("source", [KUBERNETES, *CUSTOM], ids=lambda source: source.name)
def test_the_checked_in_schemas_are_those_of_the_pinned_module(source):
    kept = next(document for document in pinned() if document["source"]["module"] == source.module)
    assert json.loads(json.dumps(extract(source, module_folder(source)))) == kept
