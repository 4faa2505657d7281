"""Recordings: from a folder, and speech that is synthesised where there are none."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from workloads.spec.data import AudioData
from workloads.spec.errors import UserError
from workloads.spec.launch import ShardLaunch, ShardManifest
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer import speech
from workloads.trainer.audio import fit_wave
from workloads.trainer.data import open_data
from workloads.trainer.dealing import Deal
from workloads.trainer.shard import make_shard
from workloads.trainer.shard_files import read_part

SITES = ("aws-1", "os-1")
PITCHES_HZ = {"high": 900.0, "low": 200.0}


def shard(recipe: Recipe, folder: Path, site: str = "aws-1", sites: tuple[str, ...] = SITES) -> ShardManifest:
    return make_shard(ShardLaunch(recipe=recipe, site=site, sites=sites, folder=folder / site))


def tones(folder: Path, count: int = 8, suffix: str = "wav") -> Path:
    """Tones of 16 kHz in stereo, each of another length."""
    for name, pitch_hz in PITCHES_HZ.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            time_s = np.arange(8000 + 900 * number) / 16000
            wave = 0.5 * np.sin(2 * np.pi * pitch_hz * time_s)
            soundfile.write(folder / name / f"{number}.{suffix}", np.stack([wave, wave], axis=1), 16000)
    return folder


def recipe_for(source: str) -> Recipe:
    return load_recipe("speech", {"data.source": source, "data.held_out": 0.25, "model.config.num_labels": 2})


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_recordings_are_made_of_one_rate_and_length_and_keep_their_pitch(tmp_path: Path, suffix: str) -> None:
    recipe = recipe_for(str(tones(tmp_path / "source", suffix=suffix)))

    manifest = shard(recipe, tmp_path)

    assert manifest.class_counts == (3, 3)
    inputs, labels = open_data(recipe, tmp_path / "aws-1").batch(0, 0, 6)
    assert (inputs.shape, inputs.dtype) == ((6, 4800), np.float32)
    np.testing.assert_allclose(inputs.mean(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(inputs.std(axis=1), 1, atol=1e-3)
    loudest_hz = np.abs(np.fft.rfft(inputs)).argmax(axis=1) / 0.6
    np.testing.assert_allclose(loudest_hz, np.array(list(PITCHES_HZ.values()))[labels], atol=4)


def test_no_recording_is_in_two_places(tmp_path: Path) -> None:
    recipe = recipe_for(str(tones(tmp_path / "source")))

    for site in SITES:
        shard(recipe, tmp_path, site)

    waves = [bytes(w) for s in SITES for part in ("train", "held_out") for w in read_part(tmp_path / s, part)["waves"]]
    assert len(waves) == 16


def test_a_short_recording_has_silence_around_it_and_a_long_one_loses_its_ends() -> None:
    data = AudioData(kind="audio", source="/x", rate_hz=10, seconds=1.0, held_out=0.2)

    assert fit_wave(np.ones(4), 10, data).tolist() == [0] * 3 + [32767] * 4 + [0] * 3
    assert fit_wave(np.arange(14) / 14, 10, data).tolist() == [round(32767 * place / 14) for place in range(2, 12)]


@pytest.mark.parametrize(("content", "words"), [(b"no sound", "not a recording"), (b"", "not a recording")])
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    source = tones(tmp_path / "source")
    (source / "low" / "bad.wav").write_bytes(content)

    with pytest.raises(UserError, match=rf"bad\.wav: {words}"):
        shard(recipe_for(str(source)), tmp_path)


def test_voices_are_at_one_site_or_held_out_there_and_never_both() -> None:
    parts = [speech.deal_speakers(Deal(site, ("a", "b", "c"), 7, 0.2)) for site in ("a", "b", "c")]

    numbers = [number for part in parts for side in ("train", "held_out") for number in part[side]]
    assert sorted(numbers) == list(range(len(speech.speakers())))
    assert {len(part["held_out"]) for part in parts} == {4, 5}
    with pytest.raises(UserError, match=r"0\.01 of 64 speakers gives 3 sites 1 for held_out"):
        speech.deal_speakers(Deal("a", ("a", "b", "c"), 7, 0.01))


@pytest.fixture
def few_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "_ACCENTS", ("en", "en-us"))
    monkeypatch.setattr(speech, "_VOICES", ("m1", "f1", "linda"))


@pytest.mark.usefixtures("few_voices")
def test_the_same_speech_is_synthesised_again_and_takes_differ(tmp_path: Path) -> None:
    recipe = load_recipe("speech", {"data.held_out": 0.34})

    first, again = shard(recipe, tmp_path / "first"), shard(recipe, tmp_path / "again")

    assert first == again
    parts = [read_part(tmp_path / "first" / "aws-1", part) for part in ("train", "held_out")]
    assert set(parts[0]["speaker"]).isdisjoint(parts[1]["speaker"])
    for part in parts:
        assert len({bytes(wave) for wave in part["waves"]}) == len(part["waves"])
        assert np.bincount(part["labels"]).tolist() == [2 * len(np.unique(part["speaker"]))] * 10
        assert np.abs(part["waves"].astype(float)).mean(axis=1).min() > 50  # nobody is silent


def test_a_synthesiser_that_fails_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(speech, "_ACCENTS", ("xx",))

    with pytest.raises(UserError, match=r"LookupError: no voice xx.*install the package espeakng-loader") as refused:
        shard(load_recipe("speech"), tmp_path)
    assert "\n" not in str(refused.value)
