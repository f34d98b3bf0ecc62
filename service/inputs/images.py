"""Bytes → a verified picture. Nothing is decoded before its format and its number of pixels are known."""

import io
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import BrokenImageError, NotAnImageError, TooLargeError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

# What is wider than 16 bits, or not made of grey or red, green and blue, has no agreed way to be shown.
MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L")

# A picture is decoded at up to four bytes a pixel: 16 million of them take 64 MB.
MAX_PIXELS = 16_000_000


def decode_image(content: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image to 8 bits a channel, turned upright as its EXIF says; the first frame of an animation.

    Args:
        content: the file's bytes.
        name: what to call it in an error: a field or file name.
        max_pixels: refuse more before anything is decoded.

    Raises:
        BrokenImageError: no bytes, or bytes that end early.
        NotAnImageError: another format than FORMATS, or more than 16 bits a channel.
        TooLargeError: more pixels than allowed.
    """
    if not content:
        raise BrokenImageError(f"{name}: expected an image, got a zero-byte file; send the file again", field=name)
    # Damage that Pillow works around is not news for the server's log; a context would not hold across threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{name}: expected at most {max_pixels:,} pixels; scale the image down ({error})", field=name) from None
    except UnidentifiedImageError:
        raise NotAnImageError(
            f"{name}: expected an image ({', '.join(FORMATS)}), got {len(content)} bytes of something else", field=name
        ) from None
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise BrokenImageError(f"{name}: the image header cannot be read ({error}); save the image again", field=name) from None
    if image.width * image.height > max_pixels:
        raise TooLargeError(
            f"{name}: expected at most {max_pixels:,} pixels, got {image.width} x {image.height}; scale the image down", field=name
        )
    if image.mode not in MODES:
        raise NotAnImageError(f"{name}: expected grey or colour of 8 or 16 bits a channel, got {image.mode}; save it as PNG", field=name)
    return _eight_bits(_loaded(image, name))


def _loaded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise BrokenImageError(f"{name}: the image is damaged ({error}); save or upload it again", field=name) from None
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keep the upper half of 16-bit grey, as Pillow does of 16-bit colour; its own conversion would clip at 255 of 65,535."""
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode.startswith("I;16") else image
