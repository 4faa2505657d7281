"""Pictures with a class each, all made `size` pixels square."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.spec.data import ImageData
from workloads.spec.errors import UserError
from workloads.trainer.dealing import number_classes
from workloads.trainer.sources import fetch, is_address, read_files, site_address

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_MODES = {1: "L", 3: "RGB"}
_BRIGHTEST_DIGIT = 16  # scikit-learn's digits have 17 shades


def load_images(
    data: ImageData, site: str, scratch: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Pixels [pictures, channels, size, size], classes [pictures] and their names, as `site` sees `data.source`.

    Raises:
        UserError: the source is unknown, not there, or no picture.
    """
    if data.source == "digits":
        return _load_digits(data)
    if not is_address(data.source):
        raise UserError(f"data.source {data.source!r} is unknown; choose digits, or give an address")
    address = site_address(data.source, site)
    files = fetch(address, _SUFFIXES, scratch / "files")
    labels, classes = number_classes([class_of(address, name) for name, _ in files], data.classes, data.source)
    pictures = [_decode(path, content, data) for (_, path), content in zip(files, read_files(files), strict=True)]
    return np.stack(pictures), labels, classes


def class_of(address: str, name: str) -> str:
    """The folder that a file lies in. Raises `UserError` if it lies in none."""
    if "/" not in name:
        raise UserError(f"{address}: {name} is in no class's folder; put each file into a folder with its class's name")
    return name.split("/", maxsplit=1)[0]


def _load_digits(data: ImageData) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """1,797 written digits of 8 x 8 pixels, 10 classes (UCI, Alpaydin and Kaynak, 1998)."""
    from PIL import Image  # noqa: PLC0415 - only sharding needs it
    from sklearn.datasets import load_digits  # noqa: PLC0415

    digits = load_digits()
    shades = (digits.images * (255 / _BRIGHTEST_DIGIT)).round().astype(np.uint8)
    pictures = [_square(Image.fromarray(shade), data) for shade in shades]
    return np.stack(pictures), digits.target.astype(np.int64), tuple(str(name) for name in digits.target_names)


def _decode(path: Path, content: bytes, data: ImageData) -> NDArray[np.uint8]:
    from PIL import Image  # noqa: PLC0415

    try:
        return _square(Image.open(io.BytesIO(content)), data)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a picture that can be read ({error}); mend or remove the file") from None


def _square(picture: Any, data: ImageData) -> NDArray[np.uint8]:
    """`picture` as uint8 [channels, size, size]: its middle square, resized."""
    from PIL import Image, ImageOps  # noqa: PLC0415

    fitted = ImageOps.fit(picture.convert(_MODES[data.channels]), (data.size, data.size), Image.Resampling.BILINEAR)
    pixels = np.asarray(fitted, dtype=np.uint8).reshape(data.size, data.size, data.channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
