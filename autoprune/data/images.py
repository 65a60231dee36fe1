"""Image files and bytes, decoded to one size. Torch-free."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from autoprune.core.errors import DataError
from autoprune.data.raw import Images

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 224
"""Side in pixels that larger images are brought down to."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".tif", ".tiff"})


def _open(source: Path | bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    file: Path | IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        image = Image.open(file)
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        place = str(source) if isinstance(source, Path) else "an image"
        raise DataError(
            place, f"cannot be decoded: {error}", remedy="repair it, or leave it out"
        ) from error
    return image


def layout(source: Path | bytes) -> tuple[int, int]:
    """Return the side and the channels that a data set is decoded to, judged by its first image.

    Returns
    -------
    size : int
        The image's shorter side, at most 224 pixels.
    channels : int
        1 for grey images, else 3.
    """
    image = _open(source)
    return min(*image.size, LARGEST), 1 if image.mode in {"1", "L"} else 3


def decode(source: Path | bytes, size: int, channels: int) -> Images:
    """Decode an image: shorter side resized to `size` (bilinear), centre cropped to a square.

    Parameters
    ----------
    source : Path or bytes
        An image file, or its content.
    size, channels : int
        Side in pixels; 1 (grey) or 3 (RGB).

    Returns
    -------
    ndarray ``(channels, size, size)`` of uint8

    Raises
    ------
    DataError
        If it is no image.
    """
    from PIL import Image

    image = _open(source).convert("L" if channels == 1 else "RGB")
    short = min(image.size)
    if short != size:
        sides = [max(size, round(side * size / short)) for side in image.size]
        image = image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def decode_all(sources: Iterable[Path | bytes], size: int, channels: int) -> Images:
    """Decode images into one array ``(N, channels, size, size)`` of uint8."""
    found = [decode(source, size, channels) for source in sources]
    return np.stack(found) if found else np.empty((0, channels, size, size), np.uint8)
