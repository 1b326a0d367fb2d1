"""A picture's file becomes 8-bit RGB, as a viewer shows it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffTags import TAGS_V2

from modulewise.errors import InvalidInput

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Ends of the names of picture files, in lower case: those of torchvision's `ImageFolder`."""
MOST = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Pixels from which on Pillow takes a file for an attack on the machine's memory."""
_BITS, _WHITE_IS_ZERO = (
    next(number for number, tag in TAGS_V2.items() if tag.name == name)
    for name in ("BitsPerSample", "PhotometricInterpretation")
)


def read(path: Path) -> Image.Image:
    """The first picture of a file: 8 bits a channel, red, green and blue, turned as its EXIF
    orientation says.

    A value v of 16 bits becomes round(v / 257). Grey and 1-bit pictures have three equal channels,
    palettes are looked up, CMYK is converted; transparency is left out, as by torchvision.

    Raises:
        InvalidInput: the file is damaged or too large, or no value of its mode is white.
    """
    with readable(path):
        return _read(path)


@contextmanager
def readable(path: Path, what: str = "picture") -> Iterator[None]:
    """Inside a file is opened and decoded; whatever is wrong with it becomes one line.

    Args:
        path: the file.
        what: it should be.

    Raises:
        InvalidInput: the file is damaged or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd EXIF; they name no file
            yield
    except InvalidInput:
        raise
    except Image.DecompressionBombError:
        raise InvalidInput(f"{path}: too large; pictures have at most {MOST:,} pixels") from None
    # Decoders meet damaged files with errors of every kind
    except Exception as error:
        raise InvalidInput(f"{path}: not a readable {what}{_reason(error)}") from None


def _read(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        if raw := _deep_colour(picture, path):
            return Image.fromarray(_eight_bits(_values(path, raw), 65535))
        ImageOps.exif_transpose(picture, in_place=True)
        if (white := _white(picture, path)) is None:
            return picture.convert("RGB")
        grey = _eight_bits(np.asarray(picture), white)
        inverted = _tag(picture, _WHITE_IS_ZERO) == 0
        return Image.fromarray(255 - grey if inverted else grey).convert("RGB")


def _white(picture: Image.Image, path: Path) -> int | None:
    """The value of white where it is not that of 8 bits.

    Raises:
        InvalidInput: nothing says what it is.
    """
    if picture.mode.startswith("I;16"):
        bits = _tag(picture, _BITS)
        return 2 ** (bits[0] if bits else 16) - 1
    if picture.mode == "I" and picture.format in ("PNG", "PPM"):
        return 65535
    if picture.mode in ("I", "F"):
        raise InvalidInput(
            f"{path}: mode {picture.mode} has no value that is white; save it with 8 or 16 bits a "
            f"channel"
        )
    return None


def _tag(picture: Image.Image, number: int) -> Any:
    """A TIFF's tag; `None` of other files."""
    return picture.tag_v2.get(number) if hasattr(picture, "tag_v2") else None


def _eight_bits(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Values of 0 to `white`, as 0 to 255, rounded."""
    return ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def _deep_colour(picture: Image.Image, path: Path) -> str:
    """Pillow's name of how the samples lie in a PNG or TIFF of colours (or grey and alpha) of 16
    bits; empty for others, and where colours are multiplied by alpha.

    Raises:
        InvalidInput: a TIFF whose channels Pillow would take for 8 bits.
    """
    raw, bits = _raw(picture), _tag(picture, _BITS) or ()
    if len(bits) > 1 and max(bits) > 8 and ";16" not in raw:
        raise InvalidInput(
            f"{path}: {max(bits)} bits a channel in separate planes; save it with the channels of "
            f"a pixel together"
        )
    deep = picture.format in ("PNG", "TIFF") and picture.mode in ("RGB", "RGBA")
    return raw if deep and raw[-4:-1] == ";16" and not raw.startswith("RGBa") else ""


def _values(path: Path, raw: str) -> NDArray[np.uint16]:
    """Colours of 16 bits (H W 3). Pillow keeps the upper byte of each: the lower one is what it
    keeps when told that the bytes lie the other way round."""
    if raw.startswith("LA"):
        both = _unpacked(path, "RGBA")
        return np.stack([both[..., 0] * 256 + both[..., 1]] * 3, axis=-1)
    swapped = raw[:-1] + {"B": "L", "L": "B", "N": _FOREIGN}[raw[-1]]
    upper, lower = (_unpacked(path, how)[..., :3] for how in (raw, swapped))
    return upper * 256 + lower


_FOREIGN = "B" if sys.byteorder == "little" else "L"


def _unpacked(path: Path, raw: str) -> NDArray[np.uint16]:
    """What Pillow makes of a picture (H W C) whose samples are said to lie in this way."""
    with Image.open(path) as picture:
        picture.tile = [
            tile._replace(args=raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:]))
            for tile in picture.tile
        ]
        ImageOps.exif_transpose(picture, in_place=True)
        return np.asarray(picture, dtype=np.uint16)


def _raw(picture: Image.Image) -> str:
    """Pillow's name of how the samples lie; empty where it has none."""
    args = picture.tile[0].args if isinstance(picture, ImageFile) and picture.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _reason(error: Exception) -> str:
    """What is known of it beyond the file's name."""
    if isinstance(error, UnidentifiedImageError):
        return ""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f": {said or type(error).__name__}"
