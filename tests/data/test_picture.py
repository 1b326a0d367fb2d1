"""Pictures of every kind load as a viewer shows them, in 8 bits a channel."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from modulewise.data import picture
from modulewise.data.picture import read
from modulewise.errors import InvalidInput

DEEP = np.array([[0, 128, 129, 255, 256], [385, 386, 32768, 65406, 65535]], np.uint16)
"""Values of 16 bits on both sides of where rounding turns."""
ROUNDED = np.array([[0, 0, 1, 1, 1], [1, 2, 128, 254, 255]], np.uint8)
"""round(v / 257) of each, by hand."""


def png(path: Path, values: np.ndarray, depth: int, colour: int) -> None:
    """A PNG by its specification: rows of big-endian samples, without a filter."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(
    path: Path, body: bytes, size: tuple[int, int], bits: tuple[int, ...], order: str = "<",
    packed: bool = False, planes: bool = False, orientation: int = 1,
) -> None:  # fmt: skip
    """A TIFF by its specification, of one strip; `order` is that of its bytes."""
    body = zlib.compress(body) if packed else body
    body += b"\0" * (len(body) % 2)
    n, colour = len(bits), len(bits) > 2
    tags = {
        256: (3, size[1]), 257: (3, size[0]), 258: (3, 8 + len(body)), 259: (3, 8 if packed else 1),
        262: (3, 2 if colour else 1), 273: (4, 8), 274: (3, orientation), 277: (3, n),
        278: (3, size[0]), 279: (4, len(body)), 284: (3, 2 if planes else 1),
    }  # fmt: skip
    if n == 4:
        tags[338] = (3, 2)
    if n == 1:
        tags[258] = (3, bits[0])
    directory = struct.pack(f"{order}H", len(tags))
    for tag, (kind, value) in tags.items():
        count = n if tag == 258 else 1
        packing = "HH" if kind == 3 and count == 1 else "I"
        values = (value, 0) if packing == "HH" else (value,)
        directory += struct.pack(f"{order}HHI{packing}", tag, kind, count, *values)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(
        f"{order}I", 8 + len(body) + 2 * n
    )
    path.write_bytes(head + body + struct.pack(f"{order}{n}H", *bits) + directory + bytes(4))


def deep(path: Path, kind: str) -> None:
    """Write `DEEP` in a kind of file."""
    channels = np.repeat(DEEP[..., None], 4, axis=2)
    channels[..., 3] = 65535 // 2
    height, width = DEEP.shape
    big = DEEP.astype(">u2").tobytes()
    if kind == "grey png":
        png(path, DEEP, 16, 0)
    elif kind == "colour png":
        png(path, channels[..., :3], 16, 2)
    elif kind == "grey png with alpha":
        png(path, channels[..., 2:], 16, 4)
    elif kind == "colour png with alpha":
        png(path, channels, 16, 6)
    elif kind.startswith("colour tiff"):
        order, n = (">" if "big-endian" in kind else "<"), (4 if "alpha" in kind else 3)
        body = channels[..., :n].astype(f"{order}u2").tobytes()
        tiff(path, body, DEEP.shape, (16,) * n, order, packed="packed" in kind)
    elif kind == "tiff":
        Image.fromarray(DEEP).save(path, "TIFF")
    elif kind == "packed tiff":
        Image.fromarray(DEEP).save(path, "TIFF", compression="tiff_deflate")
    elif kind == "big-endian tiff":
        Image.frombytes("I;16B", (width, height), big).save(path, "TIFF")
    elif kind == "tiff with a white zero":
        Image.fromarray(65535 - DEEP).save(path, "TIFF", tiffinfo={262: 0})
    elif kind == "pgm":
        path.write_bytes(b"P5 %d %d 65535\n" % (width, height) + big)
    elif kind == "ppm":
        path.write_bytes(
            b"P6 %d %d 65535\n" % (width, height) + channels[..., :3].astype(">u2").tobytes()
        )


@pytest.mark.parametrize(
    "kind",
    [
        "grey png", "colour png", "grey png with alpha", "colour png with alpha", "tiff",
        "packed tiff", "big-endian tiff", "tiff with a white zero", "pgm", "ppm",
        "colour tiff", "colour tiff, big-endian", "colour tiff, packed",
        "colour tiff, packed, big-endian", "colour tiff with alpha",
        "colour tiff with alpha, big-endian, packed",
    ],
)  # fmt: skip
def test_sixteen_bits_are_rounded_to_eight(kind: str, tmp_path: Path) -> None:
    if "packed" in kind and not features.check("libtiff"):
        pytest.skip("Pillow without libtiff")
    path = tmp_path / "deep"
    deep(path, kind)
    made = read(path)
    assert made.mode == "RGB"
    for channel in range(3):
        assert np.array_equal(np.asarray(made)[..., channel], ROUNDED)


def test_all_values_of_sixteen_bits(tmp_path: Path) -> None:
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    png(tmp_path / "all.png", values, 16, 0)
    expected = [round(v / 257) for v in range(2**16)]
    assert np.asarray(read(tmp_path / "all.png"))[..., 0].ravel().tolist() == expected


def test_the_same_picture_in_eight_and_in_sixteen_bits(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    png(tmp_path / "8.png", values, 8, 0)
    png(tmp_path / "16.png", values.astype(np.uint16) * 257, 16, 0)
    assert np.array_equal(read(tmp_path / "8.png"), read(tmp_path / "16.png"))


def test_twelve_bits_are_white_at_4095(tmp_path: Path) -> None:
    """TIFF packs two values in three bytes; Pillow reads such files and writes none."""
    values = [0, 2048, 4095, 16]
    packed = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
        for a, b in zip(values[::2], values[1::2], strict=True)
    )
    tiff(tmp_path / "12.tif", packed, (1, 4), (12,))
    assert np.asarray(read(tmp_path / "12.tif"))[0, :, 0].tolist() == [0, 128, 255, 1]


@pytest.mark.parametrize(
    ("values", "suffix", "mode"),
    [
        (np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), "tif", "F"),
        (np.arange(6, dtype=np.int32).reshape(2, 3), "tif", "I"),
        (np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), "pfm", "F"),
    ],
)
def test_values_without_a_white_are_refused_in_one_line(
    values: np.ndarray, suffix: str, mode: str, tmp_path: Path
) -> None:
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(path)
    with pytest.raises(InvalidInput, match=rf"^{path}: mode {mode} has no value that is white; "):
        read(path)


def test_signed_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "signed.tif"
    Image.fromarray(DEEP).save(path, tiffinfo={339: 2})
    with pytest.raises(InvalidInput, match="mode I has no value that is white"):
        read(path)


def test_sixteen_bits_in_planes_are_refused(tmp_path: Path) -> None:
    """Pillow would take every byte for a value."""
    path = tmp_path / "planes.tif"
    tiff(path, bytes(2 * 3 * 4), (2, 2), (16, 16, 16), planes=True)
    with pytest.raises(InvalidInput, match="16 bits a channel in separate planes; save it with"):
        read(path)


def test_other_kinds_of_eight_bits(tmp_path: Path) -> None:
    """Colours as Pillow has them; what is transparent keeps the colour below it."""
    path, red = tmp_path / "a.png", (255, 0, 0)
    Image.new("1", (2, 2), 1).save(path)
    assert read(path).getpixel((0, 0)) == (255, 255, 255)
    Image.new("LA", (2, 2), (7, 0)).save(path)
    assert read(path).getpixel((0, 0)) == (7, 7, 7)
    Image.new("RGBA", (2, 2), (*red, 0)).save(path)
    assert read(path).getpixel((0, 0)) == red
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, *red])
    palette.save(path)
    assert read(path).getpixel((0, 0)) == red
    palette.save(path, transparency=1)
    assert read(path).getpixel((0, 0)) == red
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").getpixel((0, 0)) == red


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "deep", "deep colour"])
def test_a_picture_is_turned_as_its_orientation_says(
    kind: str, orientation: int, tmp_path: Path
) -> None:
    """The EXIF specification says where row 0 and column 0 are to be seen."""
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    seen = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T,
        6: stored[::-1].T, 7: stored[::-1, ::-1].T, 8: stored.T[::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    if kind == "deep colour":
        body = np.stack([stored.astype("<u2") * 257] * 3, axis=2).tobytes()
        tiff(path, body, stored.shape, (16, 16, 16), orientation=orientation)
        assert np.array_equal(np.asarray(read(path))[..., 0], seen)
        return
    values = stored.astype(np.uint16) * 257 if kind == "deep" else np.stack([stored] * 3, axis=2)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(values).save(path, "PNG" if kind == "deep" else kind, exif=exif, **lossless)
    assert np.array_equal(np.asarray(read(path))[..., 0], seen)


def test_damaged_exif_turns_nothing_and_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for exif in (b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif"):
            Image.new("RGB", (3, 2)).save(path, exif=exif)
            assert read(path).size == (3, 2)


def test_more_pixels_than_are_read(tmp_path: Path) -> None:
    """The header alone says 400 million."""
    path = tmp_path / "vast.png"
    png(path, np.zeros((1, 1), np.uint8), 8, 0)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 20_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"^{path}: too large; pictures have at most 178,956,9"):
        read(path)


def test_large_pictures_below_it_are_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (40, 40)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path).size == (40, 40)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "ppm"])
@pytest.mark.parametrize("damage", ["text", "empty", "cut"])
def test_a_damaged_picture_is_one_line(suffix: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes({"text": b"hello", "empty": b"", "cut": content[: len(content) // 2]}[damage])
    with pytest.raises(InvalidInput) as error:
        read(path)
    said = str(error.value)
    assert said.startswith(f"{path}: not a readable picture") and said.count(str(path)) == 1


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["colour png", "grey png", "tiff", "colour tiff, packed", "ppm"]),
    at=st.floats(0, 1),
    piece=st.binary(min_size=1, max_size=4),
    cut=st.booleans(),
)
def test_any_damage_is_read_or_refused(
    kind: str, at: float, piece: bytes, cut: bool, tmp_path: Path
) -> None:
    path = tmp_path / "deep"
    deep(path, kind)
    sound = path.read_bytes()
    n = int(at * len(sound))
    path.write_bytes(sound[:n] if cut else sound[:n] + piece + sound[n + len(piece) :])
    try:
        assert read(path).mode == "RGB"
    except InvalidInput as error:
        assert str(error).startswith(f"{path}: ")


def test_suffixes_are_torchvisions() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert picture.SUFFIXES == IMG_EXTENSIONS
