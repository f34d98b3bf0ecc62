"""Bytes → a verified picture. Nothing is decoded before its format and its number of pixels are known."""

import io
import struct

from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import BrokenImageError, NotAnImageError, TooLargeError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

# A picture is decoded at up to four bytes a pixel: 16 million of them take 64 MB.
MAX_PIXELS = 16_000_000


def decode_image(content: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image, turned upright as its EXIF says; the first frame of an animation.

    Args:
        content: the file's bytes.
        name: what to call it in an error: a field or file name.
        max_pixels: refuse more before anything is decoded.

    Raises:
        BrokenImageError: no bytes, or bytes that end early.
        NotAnImageError: another format than FORMATS.
        TooLargeError: more pixels than allowed.
    """
    if not content:
        raise BrokenImageError(f"{name}: expected an image, got a zero-byte file; send the file again", field=name)
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise NotAnImageError(
            f"{name}: expected an image ({', '.join(FORMATS)}), got {len(content)} bytes of something else", field=name
        ) from None
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise BrokenImageError(f"{name}: the image header cannot be read ({error}); save the image again", field=name) from None
    if image.width * image.height > max_pixels:
        raise TooLargeError(
            f"{name}: expected at most {max_pixels:,} pixels, got {image.width} x {image.height}; scale the image down", field=name
        )
    return _loaded(image, name)


def _loaded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error) as error:
        raise BrokenImageError(f"{name}: the image is damaged ({error}); save or upload it again", field=name) from None
