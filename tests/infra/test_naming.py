"""Names fit each cloud's limit, stay apart, and tags say whose a resource is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.naming import Naming

PATIENT = settings(deadline=None)  # a timing is no assertion
NAMING = Naming("isthmus", "dev", "ml-platform", "cc-100")
WORDS = st.from_regex(r"[a-z][a-z0-9-]{0,120}", fullmatch=True)


@PATIENT
@given(WORDS, st.integers(20, 128))
def test_a_name_fits_and_begins_with_its_stack(name, limit):
    physical = NAMING.physical(name, limit)
    assert len(physical) <= limit
    assert physical.startswith("isthmus-dev"[:limit])
    assert re.fullmatch(r"[a-z0-9-]+", physical)


@PATIENT
@given(WORDS, WORDS, st.integers(20, 64))
def test_two_names_stay_two_after_the_cut(one, other, limit):
    assert (NAMING.physical(one, limit) == NAMING.physical(other, limit)) == (one == other)


@PATIENT
@given(WORDS)
def test_a_name_that_fits_is_not_cut(name):
    assert NAMING.physical(name, 200) == f"isthmus-dev-{name}"


def test_a_limit_without_room_for_the_digest_is_refused():
    assert len(NAMING.physical("gateway", 10)) == 10
    with pytest.raises(ValueError, match="it needs 10"):
        NAMING.physical("gateway", 9)


def test_stacks_do_not_share_names():
    assert NAMING.physical("x" * 99) != Naming("isthmus", "prod", "ml-platform", "cc-100").physical("x" * 99)


def test_tags_say_whose_it_is():
    assert NAMING.tags("vpc", "aws-1") == {
        "project": "isthmus",
        "stack": "dev",
        "owner": "ml-platform",
        "cost-center": "cc-100",
        "managed-by": "pulumi",
        "site": "aws-1",
        "Name": "isthmus-dev-vpc",
    }


def test_tags_are_words_in_openstack():
    words = NAMING.tag_list("os-1")
    assert "site=os-1" in words
    assert words == sorted(words)
    # Neutron's limit on a tag
    assert all(len(word) <= 60 and "," not in word and "/" not in word for word in words)
