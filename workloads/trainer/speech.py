"""Spoken digits, synthesised on this machine: a stand-in for recordings, where there are none.

Speakers are espeak-ng's accents and voices, each with a rate and a pitch of its own. Whole speakers go to one site or to
a site's held-out part, so sites differ as their speakers do and a held-out voice has not been heard at any site.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from workloads.spec.data import AudioData
from workloads.spec.errors import UserError
from workloads.trainer.audio import fit_wave
from workloads.trainer.dealing import Deal

SPOKEN_DIGITS = "spoken-digits"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Voices with breath in them are left out: their noise comes from a clock, and a deal must be the same when made again.
_ACCENTS = ("en", "en-us", "en-gb-scotland", "en-029")
_VOICES = (
    "m1",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "f1",
    "linda",
    "Annie",
    "Andy",
    "Alex",
    "steph",
    "belinda",
    "max",
    "ian",
    "aunty",
)
_TAKES = 2  # of each digit by each speaker
_RATES_WPM, _PITCHES = (130, 190), (30, 71)  # ranges
_NOISE = (0.0, 0.01)  # of full scale

# From espeak-ng's speak_lib.h.
_RETRIEVAL, _CHARACTERS, _UTF8, _RATE, _PITCH = 1, 1, 1, 1, 3
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_BUFFER_MS = 200


@dataclass(frozen=True)
class Utterance:
    """One word by one speaker."""

    text: str
    voice: str
    rate_wpm: int
    pitch: int  # 0 to 100


@dataclass(frozen=True)
class Speech:
    """One part of a site's synthesised data."""

    waves: NDArray[np.int16]  # [recordings, samples]
    labels: NDArray[np.int64]
    speakers: NDArray[np.int64]  # by number; no number is in two parts of a deal


def speakers() -> list[str]:
    """Names of all voices, in order of their numbers."""
    return [f"{accent}+{voice}" for accent in _ACCENTS for voice in _VOICES]


def deal_speakers(deal: Deal) -> dict[str, list[int]]:
    """Numbers of the speakers of the site's parts `train` and `held_out`.

    Raises:
        UserError: there are too few speakers for so many sites.
    """
    order = np.random.default_rng(deal.seed).permutation(len(speakers()))
    unheard = max(round(deal.held_out * len(order)), 1)
    parts = {"held_out": order[:unheard], "train": order[unheard:]}
    share = {part: sorted(numbers[deal.place :: len(deal.sites)].tolist()) for part, numbers in parts.items()}
    for part, numbers in parts.items():
        if len(numbers) < len(deal.sites):
            raise UserError(
                f"data.held_out {deal.held_out} of {len(order)} speakers gives {len(deal.sites)} sites {len(numbers)} "
                f"for {part}; choose a fraction nearer to 0.2, or fewer sites"
            )
    return share


def speak_digits(data: AudioData, deal: Deal) -> dict[str, Speech]:
    """The site's parts `train` and `held_out`: each digit by each of its speakers, more than once, with a little noise.

    Raises:
        UserError: the synthesiser is not installed, or there are too few speakers.
    """
    share = deal_speakers(deal)
    plans = {part: _utterances(numbers, data.seed) for part, numbers in share.items()}
    spoken = _in_a_fresh_process([utterance for plan in plans.values() for utterance in plan])
    speech = {}
    for part, numbers in share.items():
        count = len(plans[part])
        waves = [_noisy(wave, rate_hz, data, place) for place, (wave, rate_hz) in enumerate(spoken[:count])]
        spoken = spoken[count:]
        speech[part] = Speech(
            waves=np.stack(waves),
            labels=np.tile(np.repeat(np.arange(len(DIGITS)), _TAKES), len(numbers)),
            speakers=np.repeat(np.array(numbers), len(DIGITS) * _TAKES),
        )
    return speech


def _utterances(numbers: Sequence[int], seed: int) -> list[Utterance]:
    names, plan = speakers(), []
    for number in numbers:
        source = np.random.default_rng((seed, number))
        rate, pitch = int(source.integers(*_RATES_WPM)), int(source.integers(*_PITCHES))
        plan += [
            Utterance(text, names[number], rate + int(source.integers(-15, 16)), pitch + int(source.integers(-8, 9)))
            for text in DIGITS
            for _ in range(_TAKES)
        ]
    return plan


def _noisy(wave: NDArray[np.int16], rate_hz: int, data: AudioData, place: int) -> NDArray[np.int16]:
    source = np.random.default_rng((data.seed, place))
    loudness = np.iinfo(np.int16).max
    fitted = fit_wave(wave / loudness, rate_hz, data) * source.uniform(0.5, 1.0)
    fitted += source.normal(0, source.uniform(*_NOISE) * loudness, len(fitted))
    return fitted.clip(-loudness, loudness).round().astype(np.int16)


def _in_a_fresh_process(plan: Sequence[Utterance]) -> list[tuple[NDArray[np.int16], int]]:
    """Waves and their rate. The synthesiser's voice trembles on from what it said before, so each deal has its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.safetensors"
        ended = subprocess.run(
            [sys.executable, "-m", __name__, str(path)],
            input=json.dumps([asdict(utterance) for utterance in plan]),
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            reason = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(
                f"data.source {SPOKEN_DIGITS} is synthesised, and the synthesiser failed ({reason}); install the package "
                "espeakng-loader, or give data.source the address of a folder of recordings"
            )
        spoken = load_file(path)
    waves = np.split(spoken["waves"], np.cumsum(spoken["lengths"])[:-1])
    return [(wave, int(spoken["rate_hz"][0])) for wave in waves]


def _synthesise(plan: Sequence[Utterance]) -> dict[str, NDArray[np.int16] | NDArray[np.int64]]:
    import espeakng_loader  # noqa: PLC0415 - only the fresh process needs it

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz = library.espeak_Initialize(_RETRIEVAL, _BUFFER_MS, str(espeakng_loader.get_data_path()).encode(), 0)
    chunks: list[NDArray[np.int16]] = []

    def keep(wave: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if wave and count > 0:
            chunks.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        return 0

    callback = _CALLBACK(keep)  # it must not be collected while the library calls it
    library.espeak_SetSynthCallback(callback)
    waves, voice = [], ""
    for utterance in plan:
        chunks.clear()
        if utterance.voice != voice and library.espeak_SetVoiceByName(utterance.voice.encode()):
            raise LookupError(f"no voice {utterance.voice}")
        voice = utterance.voice
        library.espeak_SetParameter(_RATE, utterance.rate_wpm, 0)
        library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
        text = utterance.text.encode() + b"\0"
        library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, _CHARACTERS, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        waves.append(np.concatenate(chunks))
    return {
        "waves": np.concatenate(waves),
        "lengths": np.array([len(wave) for wave in waves]),
        "rate_hz": np.array([rate_hz]),
    }


if __name__ == "__main__":
    save_file(_synthesise([Utterance(**fields) for fields in json.load(sys.stdin)]), sys.argv[1])
