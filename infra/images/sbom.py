"""`python sbom.py NAME`: the bill of materials of this Python environment, as CycloneDX 1.6 on standard output.

It runs inside a build, in an environment that holds an image's packages and nothing else, so that it has the standard
library alone. https://cyclonedx.org/docs/1.6/json/
"""

import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from typing import Any
from urllib.parse import quote


def bill_of_materials(name: str, installed: Iterable[Distribution]) -> dict[str, Any]:
    """The document: a component a package, in the order of their names, the same for the same packages."""
    components = {component["bom-ref"]: component for component in map(_component, installed)}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"isthmus-{name}", "bom-ref": name}},
        "components": [components[reference] for reference in sorted(components)],
    }


def _component(package: Distribution) -> dict[str, Any]:
    name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
    reference = f"pkg:pypi/{name}@{quote(package.version)}"
    component = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": package.version,
        "purl": reference,
    }
    if "License-Expression" not in package.metadata:  # of PEP 639; older packages write what they like
        return component
    return {**component, "licenses": [{"expression": package.metadata["License-Expression"]}]}


if __name__ == "__main__":
    json.dump(bill_of_materials(sys.argv[1], distributions()), sys.stdout, indent=1)
