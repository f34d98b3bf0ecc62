import io
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.errors import BrokenImageError, NotAnImageError, ServiceError, TooLargeError
from service.inputs.images import FORMATS, decode_image
from service.inputs.preprocessing import Preprocessing
from tests.tiny import drawing, png


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def marked() -> Image.Image:
    """A picture that is different however it is turned or mirrored."""
    return Image.fromarray(np.arange(6 * 4, dtype=np.uint8).reshape(6, 4) * 10)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that say they are a PNG of this size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_lossless_file_gives_its_pixels_back(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(saved(drawing("ring"), kind, **options), name="a")
    assert np.array_equal(np.asarray(decoded.convert("L")), np.asarray(drawing("ring")))


def test_a_jpeg_gives_nearly_its_pixels_back() -> None:
    decoded = decode_image(saved(drawing("ring"), "JPEG", quality=95), name="a")
    assert np.abs(np.asarray(decoded).astype(int) - np.asarray(drawing("ring"))).mean() < 3


def test_the_name_does_not_decide_the_format() -> None:
    assert decode_image(png(marked()), name="photo.jpg").size == marked().size


def test_a_zero_byte_file_is_refused_by_name() -> None:
    with pytest.raises(BrokenImageError, match="zero-byte") as caught:
        decode_image(b"", name="support/hook/1.png")
    assert caught.value.field == "support/hook/1.png"


NO_IMAGES = {
    "text": b"this is not an image",
    "JSON": b'{"image": 1}',
    "one byte": b"\x89",
    "NULs": bytes(4096),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "a format not taken": saved(marked(), "PPM"),
    "32-bit numbers": saved(Image.new("I", (4, 4)), "TIFF"),
    "fractions": saved(Image.new("F", (4, 4)), "TIFF"),
}


@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES.keys())
def test_what_is_no_image_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(NotAnImageError, match=r"^a\.png: expected") as caught:
        decode_image(content, name="a.png")
    assert caught.value.field == "a.png"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_refused(kind: str) -> None:
    whole = saved(drawing("cross", size=200).convert("RGB"), kind)
    # The last bytes of some formats are an end mark, which pixels do not need.
    for end in range(0, len(whole) - 32, len(whole) // 200):
        with pytest.raises((BrokenImageError, NotAnImageError)):
            decode_image(whole[:end], name="a")


@pytest.mark.parametrize(("width", "height"), [(4001, 4000), (30_000, 30_000), (10_000, 10_000), (2**31 - 1, 2**31 - 1), (1, 16_000_001)])
def test_huge_dimensions_are_refused_before_decoding(width: int, height: int) -> None:
    with pytest.raises(TooLargeError, match="at most 16,000,000 pixels"):
        decode_image(png_claiming(width, height), name="a")


def test_as_many_pixels_as_allowed_are_decoded() -> None:
    assert decode_image(png(marked()), name="a", max_pixels=24).size == (4, 6)
    with pytest.raises(TooLargeError, match="got 4 x 6"):
        decode_image(png(marked()), name="a", max_pixels=23)


STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(("orientation", "turn"), STORED_AS.items())
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_turned_picture_comes_out_upright(kind: str, orientation: int, turn: Image.Transpose | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = marked() if turn is None else marked().transpose(turn)
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(saved(stored, kind, exif=exif, **options), name="a")
    assert np.array_equal(np.asarray(decoded.convert("L")), np.asarray(marked()))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [drawing("ring").convert("RGB"), drawing("cross").convert("RGB")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(np.asarray(decode_image(content, name="a").convert("L")), np.asarray(drawing("ring")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("version", ["dark", "light"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str, version: str) -> None:
    grey = drawing("ring").resize((31, 31)) if version == "dark" else ImageOps.invert(drawing("ring").resize((31, 31)))
    wide = Image.frombytes("I;16", grey.size, (np.asarray(grey).astype("<u2") * 257).tobytes())
    decoded = decode_image(saved(wide, kind), name="a")
    assert np.array_equal(np.asarray(decoded), np.asarray(grey))


def files() -> Mapping[str, bytes]:
    """A small file of every format and of every way it may store pixels."""
    found: dict[str, bytes] = {}
    modes = {
        "PNG": ("L", "RGBA", "P", "1"), "JPEG": ("RGB", "L", "CMYK"), "GIF": ("P",), "WEBP": ("RGB", "RGBA"),
        "BMP": ("RGB", "P", "1"), "TIFF": ("RGB", "1", "CMYK"),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, each in modes.items():
        options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
        found |= {f"{kind} {mode}": saved(drawing("cross").convert(mode), kind, **options) for mode in each}
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found[f"TIFF {compression}"] = saved(drawing("cross").convert("RGB"), "TIFF", compression=compression)
    frames: dict[str, Any] = {"save_all": True, "append_images": [drawing("ring").convert("RGB")]}
    return found | {f"frames of {kind}": saved(drawing("bar").convert("RGB"), kind, **frames) for kind in ("GIF", "WEBP", "PNG", "MPO")}


FILES = files()
KINDS = (Preprocessing(), Preprocessing("photo", channels=3))


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    # Half of the places are in the header, where the formats are decided.
    st.lists(st.tuples(st.one_of(st.integers(0, 200), st.integers(0, 10_000)), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 20_000),
)
def test_a_damaged_file_gives_a_picture_or_a_typed_error(which: str, changes: list[tuple[int, int]], end: int) -> None:
    content = bytearray(FILES[which])
    for place, value in changes:
        content[place % len(content)] = value
    with suppress(ServiceError):
        image = decode_image(bytes(content[:end] if end < len(content) else content), name="a")
        for kind in KINDS:
            assert kind(image).shape == (kind.channels, 28, 28)


def test_a_tiff_whose_entries_are_of_any_type_gives_a_picture_or_a_typed_error() -> None:
    whole = saved(drawing("cross").convert("RGB"), "TIFF")
    (first,) = struct.unpack_from("<I", whole, 4)
    (entries,) = struct.unpack_from("<H", whole, first)
    for entry in range(entries):
        for kind in range(20):
            content = bytearray(whole)
            struct.pack_into("<H", content, first + 2 + 12 * entry + 2, kind)
            with suppress(ServiceError):
                decode_image(bytes(content), name="a")
