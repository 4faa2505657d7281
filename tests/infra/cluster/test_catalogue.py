"""What is known of instance types, and what is said of those that are not."""

import pytest

from infra.cluster.catalogue import CATALOGUE, efa_interfaces, instance_facts
from infra.cluster.interfaces import efa_layout
from infra.cluster.nodes import ami_type
from workloads.planning.speed import CARDS
from workloads.spec.errors import UserError


@pytest.mark.parametrize("facts", CATALOGUE.values(), ids=lambda facts: facts.name)
def test_the_planner_has_a_data_sheet_of_every_gpu_in_the_catalogue(facts):
    assert facts.gpu in CARDS
    assert facts.gpus in {1, 4, 8}
    assert facts.vcpus >= 4
    assert facts.memory_gib >= facts.vcpus


@pytest.mark.parametrize(
    ("name", "gpus", "kind", "efa"),
    [
        ("g6.xlarge", 1, "l4", 0),
        ("g6e.48xlarge", 8, "l40s", 4),
        ("p4d.24xlarge", 8, "a100-sxm", 4),
        ("p5.48xlarge", 8, "h100-sxm", 32),
        ("p5en.48xlarge", 8, "h200", 16),
        ("p6-b200.48xlarge", 8, "b200", 8),
    ],
)
def test_types_are_as_aws_describes_them(name, gpus, kind, efa):
    facts = instance_facts("pool", name)
    assert (facts.gpus, facts.accelerator.kind, facts.efa) == (gpus, kind, efa)


def test_the_memory_of_a_gpu_is_never_more_than_its_name_says():
    gib = {"t4": 16, "a10g": 24, "l4": 24, "l40s": 48, "h100-sxm": 80, "h200": 141, "b200": 192}
    for facts in CATALOGUE.values():
        if facts.gpu in gib:
            assert facts.accelerator.memory_bytes <= gib[facts.gpu] * 2**30


def test_an_unknown_size_is_told_its_family():
    with pytest.raises(UserError, match=r"pool l4: instance type g6.96xlarge .* g6.xlarge.* g6.48xlarge"):
        instance_facts("l4", "g6.96xlarge")


def test_an_unknown_family_is_told_what_comes_near():
    with pytest.raises(UserError, match=r"p5f.48xlarge .*p5"):
        instance_facts("big", "p5f.48xlarge")


def test_efa_on_a_type_without_it_is_refused_with_types_of_the_same_gpu():
    with pytest.raises(UserError, match=r"g6.xlarge has no EFA; set efa: false, or pick one of g6.8xlarge") as refused:
        efa_interfaces("l4", instance_facts("l4", "g6.xlarge"))
    assert "g6e" not in str(refused.value)


def test_one_card_carries_efa_and_addresses_on_one_interface():
    assert [(i.card, i.device, i.kind) for i in efa_layout(1)] == [(0, 0, "efa")]


@pytest.mark.parametrize("count", [2, 4, 8, 16, 32])
def test_of_several_cards_the_first_interface_is_plain_and_each_card_has_one_efa(count):
    layout = efa_layout(count)
    assert (layout[0].card, layout[0].device, layout[0].kind) == (0, 0, "interface")
    assert sorted(i.card for i in layout if i.kind == "efa-only") == list(range(count))
    assert len({(i.card, i.device) for i in layout}) == len(layout)
    assert [i for i in layout if i.has_address] == [layout[0]]


def test_no_interface_makes_no_layout():
    with pytest.raises(ValueError, match="0 EFA interfaces"):
        efa_layout(0)


@pytest.mark.parametrize(
    ("instance_type", "image"),
    [
        ("m7i.xlarge", "AL2023_x86_64_STANDARD"),
        ("m7g.xlarge", "AL2023_ARM_64_STANDARD"),
        ("c8gd.large", "AL2023_ARM_64_STANDARD"),
        ("t4g.large", "AL2023_ARM_64_STANDARD"),
        ("g6.xlarge", "AL2023_x86_64_STANDARD"),
    ],
)
def test_a_node_gets_the_image_of_its_architecture(instance_type, image):
    assert ami_type(instance_type, gpu=False) == image
