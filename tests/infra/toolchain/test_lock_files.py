import re

import pytest

from infra.settings import ROOT

LOCKS = sorted((ROOT / "locks").glob("*.txt"))
REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(?: ; .+)? \\$", re.MULTILINE)


def requirements(path):
    return dict(REQUIREMENT.findall(path.read_text()))


def test_there_is_a_lock_for_each_extra_and_for_the_installer():
    assert [path.stem for path in LOCKS] == ["dev", "infra", "serve", "train", "uv"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_and_hashed(path):
    blocks = re.split(r"\n(?=[a-z0-9])", path.read_text().strip())
    assert all(REQUIREMENT.match(block) and "--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_no_address_no_folder_and_no_option(path):
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"(^|\s)(/|\.\.?/)", text)
    assert not re.search(r"^-", text, re.MULTILINE)


@pytest.mark.parametrize("extra", ["infra", "train", "serve"])
def test_what_is_tested_is_what_is_deployed(extra):
    assert requirements(ROOT / f"locks/{extra}.txt").items() <= requirements(ROOT / "locks/dev.txt").items()


def test_what_pulumi_up_needs_has_no_torch():
    assert not {"torch", "triton", "transformers"} & requirements(ROOT / "locks/infra.txt").keys()
