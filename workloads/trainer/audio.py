"""Recordings with a class each, all made of one rate and one length."""

import io
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workloads.spec.data import AudioData
from workloads.spec.errors import UserError
from workloads.trainer.dealing import number_classes
from workloads.trainer.images import class_of
from workloads.trainer.sources import fetch, is_address, read_files, site_address

_SUFFIXES = (".wav", ".flac")
_LOUDEST = 32767  # of 16 bits


def load_recordings(
    data: AudioData, site: str, scratch: Path
) -> tuple[NDArray[np.int16], NDArray[np.int64], tuple[str, ...]]:
    """Waves [recordings, samples], classes [recordings] and their names, as `site` sees the address `data.source`.

    Raises:
        UserError: the source is unknown, not there, or no recording.
    """
    if not is_address(data.source):
        raise UserError(f"data.source {data.source!r} is unknown; choose spoken-digits, or give an address")
    address = site_address(data.source, site)
    files = fetch(address, _SUFFIXES, scratch / "files")
    labels, classes = number_classes([class_of(address, name) for name, _ in files], data.classes, data.source)
    waves = [_decode(path, content, data) for (_, path), content in zip(files, read_files(files), strict=True)]
    return np.stack(waves), labels, classes


def fit_wave(wave: NDArray[np.float64], rate_hz: int, data: AudioData) -> NDArray[np.int16]:
    """`wave` [samples] of `rate_hz`, in -1 to 1, at the recipe's rate and length: its middle, or silence around it."""
    from scipy.signal import resample_poly  # noqa: PLC0415 - slow, and only sharding needs it

    common = gcd(rate_hz, data.rate_hz)
    if rate_hz != data.rate_hz:
        wave = resample_poly(wave, data.rate_hz // common, rate_hz // common)
    length = round(data.rate_hz * data.seconds)
    before = max(0, length - len(wave)) // 2
    start = max(0, len(wave) - length) // 2
    fitted = np.zeros(length)
    middle = wave[start : start + length]
    fitted[before : before + len(middle)] = middle
    return (fitted.clip(-1, 1) * _LOUDEST).round().astype(np.int16)


def _decode(path: Path, content: bytes, data: AudioData) -> NDArray[np.int16]:
    import soundfile  # noqa: PLC0415 - only sharding of files needs it

    try:
        wave, rate_hz = soundfile.read(io.BytesIO(content), always_2d=True)
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a recording that can be read ({error}); mend or remove the file") from None
    if not len(wave) or not np.isfinite(wave).all():
        raise UserError(f"{path}: a recording without a sound; remove the file")
    return fit_wave(wave.mean(axis=1), rate_hz, data)
