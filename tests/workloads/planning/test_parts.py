"""The planner's arithmetic: batches, link, time."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workloads.planning.batches import share_batch
from workloads.planning.calibrate import calibrate
from workloads.planning.compute import sample_flops, step_time
from workloads.planning.link import payload_bytes, transfer_s
from workloads.planning.recognise import architecture
from workloads.planning.speed import CARDS, Speed, peak_flops, worker_speed
from workloads.spec.facts import Accelerator, Calibration, SiteFacts
from workloads.spec.launch import LinkFacts
from workloads.spec.plan import Layout
from workloads.spec.recipe import load_recipe
from workloads.sync.payload import UpdateFormat

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 258,
}
LANGUAGE = load_recipe(
    "language", {"data.context": 256, **{f"model.config.{key}": value for key, value in SHAPE.items()}}
)
SPEED = Speed(1e11, 2.5e10, 8e-6, 2e11, 1e9, 2.5e10)


@given(size=st.integers(1, 10_000), bits=st.sampled_from([2, 4, 8, 32]))
def test_a_payload_is_as_large_as_the_one_that_is_sent(size, bits):
    assert payload_bytes(size, bits) == UpdateFormat(size, torch.float32, bits).payload_bytes


def test_a_transfer_takes_its_bits_and_a_round_trip():
    assert transfer_s(12_500_000, LinkFacts(rate_mbps=100, rtt_ms=30)) == pytest.approx(1.03)


@given(
    speeds=st.lists(st.floats(1, 100), min_size=1, max_size=5),
    units=st.lists(st.sampled_from([1, 2, 4]), min_size=5, max_size=5),
    multiple=st.integers(1, 20),
)
def test_shares_are_whole_units_and_add_up(speeds, units, multiple):
    names = [f"site-{index}" for index in range(len(speeds))]
    unit_of = dict(zip(names, units, strict=False))
    batch = 4 * multiple
    shares = share_batch(batch, dict(zip(names, speeds, strict=True)), unit_of)
    assert sum(shares.values()) == batch * len(names)
    assert all(shares[name] > 0 and shares[name] % unit_of[name] == 0 for name in names)


def test_speeds_that_differ_by_noise_alone_are_alike():
    assert share_batch(8, {"a-1": 100.0, "b-1": 110.0}, {"a-1": 1, "b-1": 1}) == {"a-1": 8, "b-1": 8}


def test_a_site_of_unknown_speed_gets_the_same_as_all():
    assert share_batch(8, {"a-1": 100.0, "b-1": None}, {"a-1": 1, "b-1": 1}) == {"a-1": 8, "b-1": 8}


def predicted(layout: Layout = Layout(), batch: int = 8, micro_batch: int = 8, **changes: object) -> float:  # noqa: B008
    speed = dataclasses.replace(SPEED, **changes)
    settings = {"precision": "fp32", "checkpointing": False}
    return step_time(architecture(LANGUAGE), LANGUAGE, layout, batch, micro_batch, speed, **settings).total


def test_a_step_takes_longer_with_more_samples_smaller_micro_batches_and_slower_workers():
    assert predicted() < predicted(batch=16, micro_batch=16)
    assert predicted() < predicted(micro_batch=1)
    assert predicted() < predicted(flops=5e10)
    assert predicted() < predicted(memory_bytes_s=1e10)
    assert predicted(Layout(replicas=2), micro_batch=4, interconnect_bytes_s=1e12) < predicted()


def test_a_pipeline_pays_for_its_bubble():
    few = predicted(Layout(pipeline=4), micro_batch=4, interconnect_bytes_s=1e12)
    many = predicted(Layout(pipeline=4), micro_batch=1, interconnect_bytes_s=1e12)
    assert many < few


def test_flops_of_a_sample_are_six_for_each_matrix_weight_and_token_and_the_attention():
    model, rows = architecture(LANGUAGE), 256
    weights = 4 * (4 * 256 * 256 + 3 * 256 * 688) + 258 * 256
    attention = 3 * 4 * 4 * rows * rows * 256
    assert sample_flops(model) == 6 * rows * weights + attention


def test_accelerators_are_as_fast_as_their_data_sheets_allow():
    for kind in CARDS:
        site = SiteFacts(
            name="a-1", workers=1, memory_bytes=1, accelerator=Accelerator(kind=kind, memory_bytes=16 << 30)
        )
        speed = worker_speed(site, "fp32")
        assert speed is not None
        assert 0.3 * CARDS[kind].fp32 < speed.flops < CARDS[kind].fp32


def test_a_measured_speed_goes_before_a_data_sheet():
    card = Accelerator(kind="h100", memory_bytes=80 << 30)
    speed = worker_speed(SiteFacts(name="a-1", workers=1, memory_bytes=1, accelerator=card, flops=3e14), "bf16")
    assert speed is not None
    assert speed.flops == 3e14


def peak_of(precision: str, kind: str | None = None, **measured: float) -> float | None:
    card = None if kind is None else Accelerator(kind=kind, memory_bytes=16 << 30)
    return peak_flops(SiteFacts(name="a-1", workers=1, memory_bytes=1, accelerator=card, **measured), precision)


def test_the_most_that_a_worker_can_do_is_its_data_sheet_s_or_measured():
    assert peak_of("bf16", "h100") == CARDS["h100-sxm"].bf16
    assert peak_of("fp32", "h100") == CARDS["h100-sxm"].fp32
    assert peak_of("fp32", peak_flops=1e11, bf16_flops=2e11) == 1e11
    assert peak_of("bf16", peak_flops=1e11, bf16_flops=2e11) == 2e11


def test_of_an_unknown_worker_it_is_not_known():
    assert peak_of("fp32") is None
    assert peak_of("bf16", "v100") is None
    assert peak_of("bf16", "of-next-year") is None
    assert peak_of("bf16", "of-next-year", peak_flops=3e15) == 3e15


def test_this_machine_can_be_measured(monkeypatch):
    monkeypatch.setattr("workloads.planning.calibrate._BUDGET_S", 0.0)
    threads = torch.get_num_threads()
    try:
        found = calibrate(1)
    finally:
        torch.set_num_threads(threads)
    assert found.flops > 1e8
    assert found.peak_flops > 1e8
    assert found.bf16_flops > 1e7
    assert found.copy_bytes_s > 1e8
    assert 1e-8 < found.operation_s < 1e-2


def test_more_threads_than_cores_share_them():
    found = calibrate_of(4e10)
    assert found.shared_by(2.0).flops == found.shared_by(2.0).peak_flops == 2e10
    assert found.shared_by(2.0).operation_s == 2 * found.operation_s
    assert found.shared_by(0.5) == found


def calibrate_of(flops: float):
    return Calibration(flops=flops, peak_flops=flops, bf16_flops=flops, copy_bytes_s=1e10, operation_s=1e-5)
