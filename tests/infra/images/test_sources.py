"""Tags of built images, and the bill of materials inside them."""

from importlib.metadata import distributions

import pytest

from infra.images.sbom import bill_of_materials
from infra.images.sources import context_files, source_tag


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "infra" / "images"
    folder.mkdir(parents=True)
    (folder / "tool.Dockerfile").write_text("FROM scratch AS tool\n")
    (folder / "tool.Dockerfile.dockerignore").write_text("*\n!code\n!lock.txt\n**/*.pyc\n")
    (tmp_path / "code" / "__pycache__").mkdir(parents=True)
    (tmp_path / "code" / "main.py").write_text("print()\n")
    (tmp_path / "code" / "__pycache__" / "main.pyc").write_text("x")
    (tmp_path / "lock.txt").write_text("a==1\n")
    (tmp_path / "other.txt").write_text("not of it\n")
    return tmp_path


def test_a_context_holds_what_is_let_in(root):
    assert [file.as_posix() for file in context_files(root, "tool")] == ["code/main.py", "lock.txt"]


def test_a_tag_stays_while_nothing_of_the_image_changes(root):
    before = source_tag(root, "tool", {"BASE": "a"})
    (root / "other.txt").write_text("changed")
    (root / "code" / "__pycache__" / "main.pyc").write_text("changed")
    assert source_tag(root, "tool", {"BASE": "a"}) == before


@pytest.mark.parametrize("changed", ["code/main.py", "lock.txt", "infra/images/tool.Dockerfile"])
def test_a_tag_changes_with_whatever_the_image_is_made_of(root, changed):
    before = source_tag(root, "tool", {})
    (root / changed).write_text("FROM other AS tool\n")
    assert source_tag(root, "tool", {}) != before


def test_a_tag_changes_with_a_name_and_with_an_argument(root):
    before = source_tag(root, "tool", {})
    assert source_tag(root, "tool", {"BASE": "b"}) != before
    (root / "code" / "main.py").rename(root / "code" / "start.py")
    assert source_tag(root, "tool", {}) != before


def test_a_bill_of_materials_names_every_package_once_and_in_order():
    bill = bill_of_materials("trainer", distributions())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    purls = [component["purl"] for component in bill["components"]]
    assert purls == sorted(set(purls))
    assert any(purl.startswith("pkg:pypi/pydantic@2.") for purl in purls)
    assert all(component["bom-ref"] == component["purl"] for component in bill["components"])
    assert bill == bill_of_materials("trainer", reversed(list(distributions())))
