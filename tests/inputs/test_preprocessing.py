import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageOps
from torch import Tensor

from service.errors import BlankImageError, ServiceError
from service.inputs.images import MODES
from service.inputs.preprocessing import FAINTEST_INK, Preprocessing
from tests.tiny import SHAPES, drawing

DRAWING = Preprocessing()

Version = Callable[[Image.Image], Image.Image]


def smooth(shape: str) -> Image.Image:
    """A drawing whose strokes have grey edges, as a scan or a canvas gives them."""
    return drawing(shape, size=192, width=12).resize((48, 48), Image.Resampling.LANCZOS)


def inked(paper: tuple[int, int, int], ink: tuple[int, int, int]) -> Version:
    return lambda grey: ImageOps.colorize(grey, black=ink, white=paper)


def transparent(colour: tuple[int, int, int], hidden: tuple[int, int, int] | None = None) -> Version:
    """Ink of one colour drawn by alpha alone; fully transparent pixels may hide another colour."""

    def version(grey: Image.Image) -> Image.Image:
        alpha = ImageOps.invert(grey)
        image = Image.new("RGB", grey.size, colour)
        if hidden is not None:
            image.paste(hidden, mask=alpha.point(lambda value: 255 if value == 0 else 0))
        image.putalpha(alpha)
        return image

    return version


def as_mode(mode: str) -> Version:
    return lambda grey: grey.convert(mode)


EXACT: Mapping[str, Version] = {
    "inverted": ImageOps.invert,
    "RGB": as_mode("RGB"),
    "inverted RGB": lambda grey: ImageOps.invert(grey).convert("RGB"),
    "opaque RGBA": as_mode("RGBA"),
    "opaque LA": as_mode("LA"),
    "palette": as_mode("P"),
    "CMYK": as_mode("CMYK"),
    "black by alpha": transparent((0, 0, 0)),
    "black by alpha over hidden white": transparent((0, 0, 0), (255, 255, 255)),
    "white by alpha": transparent((255, 255, 255)),
    "red by alpha": transparent((200, 30, 40), (1, 2, 3)),
}
COLOURS: Mapping[str, Version] = {
    "red on yellow": inked((250, 240, 90), (190, 20, 30)),
    "yellow on blue": inked((20, 30, 160), (250, 240, 90)),
    "grey on grey": inked((120, 120, 120), (90, 90, 90)),
    "blue on slightly less blue": inked((10, 10, 200), (10, 10, 240)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("version", EXACT.values(), ids=EXACT.keys())
def test_a_smooth_drawing_is_the_same_however_it_is_stored(shape: str, version: Version) -> None:
    assert torch.equal(DRAWING(version(smooth(shape))), DRAWING(smooth(shape)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("version", COLOURS.values(), ids=COLOURS.keys())
def test_coloured_ink_on_coloured_paper_is_the_same_drawing(shape: str, version: Version) -> None:
    assert torch.equal(DRAWING(version(drawing(shape))), DRAWING(drawing(shape)))


def test_different_drawings_stay_different() -> None:
    tensors = [DRAWING(drawing(shape)) for shape in SHAPES]
    assert len({bytes(tensor.numpy()) for tensor in tensors}) == len(SHAPES)


def tensor_or_blank(image: Image.Image) -> Tensor | None:
    try:
        return DRAWING(image)
    except BlankImageError:
        return None


def same(first: Tensor | None, second: Tensor | None) -> bool:
    return (first is None and second is None) or (first is not None and second is not None and torch.equal(first, second))


@st.composite
def pictures(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Any small colour picture [H, W, 3], noise as well as two-coloured."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    levels = draw(st.sampled_from([[0, 255], [100, 101, 140], list(range(256))]))
    values = draw(st.lists(st.sampled_from(levels), min_size=3 * height * width, max_size=3 * height * width))
    return np.array(values, np.uint8).reshape(height, width, 3)


@settings(max_examples=200, deadline=None)
@given(pictures())
def test_any_picture_and_its_inverse_give_the_same_tensor(picture: NDArray[np.uint8]) -> None:
    assert same(tensor_or_blank(Image.fromarray(picture)), tensor_or_blank(Image.fromarray(255 - picture)))
    grey = Image.fromarray(picture[:, :, 0])
    assert same(tensor_or_blank(grey), tensor_or_blank(ImageOps.invert(grey)))
    assert same(tensor_or_blank(grey), tensor_or_blank(grey.convert("RGBA")))


@settings(max_examples=100, deadline=None)
@given(pictures(), st.permutations(range(3)))
def test_the_order_of_colours_does_not_matter(picture: NDArray[np.uint8], order: list[int]) -> None:
    assert same(tensor_or_blank(Image.fromarray(picture)), tensor_or_blank(Image.fromarray(picture[:, :, order].copy())))


def on_paper(shape: str, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """The ink of a drawing with so many pixels of paper on each side."""
    box = ImageChops.invert(drawing(shape)).getbbox()
    assert box is not None
    return ImageOps.expand(drawing(shape).crop(box), (left, top, right, bottom), fill=255)


# The ink of `corner` fills most of the border of a crop without margin, and would pass for the paper.
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "corner"])
@pytest.mark.parametrize("percent", [0, 2, 10, 30, 60])
def test_margins_do_not_matter(shape: str, percent: int) -> None:
    margin = 32 * percent // 100
    assert torch.equal(DRAWING(on_paper(shape, margin, margin, margin, margin)), DRAWING(drawing(shape)))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(SHAPES), st.tuples(*[st.integers(1, 90)] * 4))
def test_position_on_the_paper_does_not_matter(shape: str, margins: tuple[int, int, int, int]) -> None:
    assert torch.equal(DRAWING(on_paper(shape, *margins)), DRAWING(drawing(shape)))


def likeness(first: Tensor, second: Tensor) -> float:
    """Correlation of two pictures: 1 when they are the same."""
    return float(torch.corrcoef(torch.stack([first.flatten().float(), second.flatten().float()]))[0, 1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("times", [2, 3, 10])
def test_resolution_hardly_matters(shape: str, times: int) -> None:
    large = drawing(shape).resize((48 * times, 48 * times), Image.Resampling.NEAREST)
    others = [likeness(DRAWING(drawing(shape)), DRAWING(drawing(other))) for other in SHAPES if other != shape]
    assert likeness(DRAWING(drawing(shape)), DRAWING(large)) > max(0.8, *others)


@pytest.mark.parametrize("kind", [DRAWING, Preprocessing(channels=3), Preprocessing(size=84, margin=0), Preprocessing(margin=0.5)])
def test_a_drawing_is_white_ink_on_black_with_its_margin(kind: Preprocessing) -> None:
    tensor = kind(drawing("cross"))
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.uint8, (kind.channels, kind.size, kind.size))
    assert (int(tensor.min()), int(tensor.max())) == (0, 255)
    rows = tensor[0].amax(dim=1).nonzero().flatten()
    expected = kind.size * kind.margin / (1 + 2 * kind.margin)
    assert abs(int(rows[0]) - expected) <= 1
    assert abs(kind.size - 1 - int(rows[-1]) - expected) <= 1


BLANKS = {
    "white": Image.new("L", (20, 20), 255),
    "black": Image.new("1", (20, 20), 0),
    "one colour": Image.new("RGB", (20, 20), (200, 10, 90)),
    "one see-through colour": Image.new("RGBA", (20, 20), (200, 10, 90, 90)),
    "fully transparent": Image.new("RGBA", (20, 20), (0, 0, 0, 0)),
    "hidden drawing": Image.merge("RGBA", [*drawing("cross").convert("RGB").split(), Image.new("L", (48, 48), 0)]),
    "one pixel": Image.new("RGB", (1, 1), (3, 4, 5)),
    "too faint": ImageOps.colorize(drawing("cross"), black=(100 - FAINTEST_INK + 1,) * 3, white=(100, 100, 100)),
}


@pytest.mark.parametrize("blank", BLANKS.values(), ids=BLANKS.keys())
def test_a_drawing_without_ink_is_refused(blank: Image.Image) -> None:
    with pytest.raises(BlankImageError, match="got a blank image"):
        DRAWING(blank)


def test_the_faintest_ink_still_counts() -> None:
    faint = ImageOps.colorize(drawing("cross"), black=(100 - FAINTEST_INK,) * 3, white=(100, 100, 100))
    assert torch.equal(DRAWING(faint), DRAWING(drawing("cross")))


def test_a_smudge_on_the_paper_does_not_move_the_drawing() -> None:
    smudged = on_paper("cross", 40, 40, 40, 40)
    ImageDraw.Draw(smudged).rectangle([2, 2, 9, 9], fill=155)
    assert torch.equal(DRAWING(smudged), DRAWING(drawing("cross")))


def test_one_pixel_of_ink_is_a_drawing() -> None:
    image = Image.new("L", (30, 30), 255)
    image.putpixel((4, 20), 0)
    assert bool((DRAWING(image) == 255).all())


def test_hair_thin_strokes_are_not_blank() -> None:
    thin, bold = (drawing("vee", size=2000, width=width) for width in (1, 80))
    assert likeness(DRAWING(thin), DRAWING(bold)) > 0.5


@pytest.mark.parametrize("upright", [True, False])
def test_a_line_of_one_pixel_is_seen_at_any_length(upright: bool) -> None:
    for length in range(20, 600, 13):
        line = ImageOps.expand(Image.new("L", (1, length), 0), 30, fill=255)
        tensor = DRAWING(line if upright else line.transpose(Image.Transpose.ROTATE_90))[0]
        across = (tensor >= 128).nonzero()[:, int(upright)]
        assert int(across.max() - across.min()) <= 3, length


def test_a_very_long_drawing_needs_little_memory() -> None:
    image = Image.new("L", (1_000_000, 3), 255)
    ImageDraw.Draw(image).line([(1000, 1), (999_000, 1)], fill=0)
    tensor = DRAWING(image)
    rows = tensor[0].amax(dim=1).nonzero().flatten().tolist()
    assert int(tensor.max()) == 255
    assert len(rows) <= 2


def test_a_photo_is_kept_whole() -> None:
    pixels = torch.arange(28 * 28 * 3).remainder(251).to(torch.uint8).reshape(28, 28, 3)
    picture = Image.fromarray(pixels.numpy())
    assert torch.equal(Preprocessing("photo", channels=3)(picture), pixels.permute(2, 0, 1))
    assert torch.equal(Preprocessing("photo")(picture)[0], torch.tensor(np.asarray(picture.convert("L"))))


def test_a_photo_of_one_colour_is_a_photo() -> None:
    tensor = Preprocessing("photo", channels=3)(Image.new("RGB", (50, 9), (200, 10, 90)))
    assert bool((tensor == torch.tensor([200, 10, 90])[:, None, None]).all())


SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (3, 400), (401, 2)]
KINDS = [DRAWING, Preprocessing("photo"), Preprocessing("photo", channels=3, size=17)]
# `decode_image` gives 16-bit grey as 8-bit.
EIGHT_BITS = [mode for mode in MODES if not mode.startswith("I;16")]


@example("1", (3, 400), DRAWING, b"\xe0\xe0\xa0")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EIGHT_BITS), st.sampled_from(SIZES), st.sampled_from(KINDS), st.binary(min_size=1, max_size=64))
def test_every_mode_and_size_gives_a_tensor_or_a_typed_error(mode: str, size: tuple[int, int], kind: Preprocessing, noise: bytes) -> None:
    needed = len(Image.new(mode, size).tobytes())
    image = Image.frombytes(mode, size, (noise * (needed // len(noise) + 1))[:needed])
    try:
        tensor = kind(image)
    except ServiceError:
        assert kind.kind == "drawing"
    else:
        assert (tensor.dtype, tuple(tensor.shape)) == (torch.uint8, (kind.channels, kind.size, kind.size))


@pytest.mark.parametrize(("size", "margin"), [(0, 0.1), (-3, 0.1), (28, -0.1), (28, float("nan")), (28, float("inf"))])
def test_a_recipe_that_leaves_no_picture_is_refused(size: int, margin: float) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        Preprocessing(size=size, margin=margin)


def strokes(height: int, width: int) -> NDArray[np.uint8]:
    """A grey picture of two strokes and a spot, with edges between ink and paper."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    far = np.minimum(np.abs(x / width - y / height) * width, np.abs(x + y - 0.75 * width))
    far = np.minimum(far, np.maximum(np.abs(x - 0.75 * width), np.abs(y - 0.25 * height)))
    grey: NDArray[np.uint8] = (255 * (far / 3).clip(0, 1)).astype(np.uint8)
    return grey


def with_alpha(colour: tuple[int, int, int]) -> Image.Image:
    grey = strokes(40, 60)
    return Image.fromarray(np.dstack([*(np.full_like(grey, value) for value in colour), 255 - grey]))


# The pixels that shipped encoders were trained on: they must come out the same for ever, or every accuracy that we tell is another's.
PREPARED = {
    "grey": (Image.fromarray(strokes(105, 105)), "3d98a39870e6bc89"),
    "black and white": (Image.fromarray(strokes(50, 30)).point(lambda value: 255 if value > 99 else 0).convert("1"), "c2d296bebb8edfd1"),
    "coloured": (ImageOps.colorize(Image.fromarray(strokes(64, 48)), black=(180, 20, 60), white=(210, 230, 190)), "60504831622da9ff"),
    "drawn by alpha": (with_alpha((90, 90, 90)), "ffaadd705bd6fdd8"),
    "half transparent": (Image.fromarray(np.dstack([strokes(40, 40)] * 3 + [strokes(40, 40).T // 2 + 60])), "1f992ee7b457686b"),
    "grey with alpha": (Image.fromarray(np.dstack([strokes(33, 70), strokes(33, 70) // 3 + 170]), "LA"), "1c1107a2e3de2b1d"),
    "of a palette": (
        ImageOps.colorize(Image.fromarray(strokes(48, 48)), black=(0, 0, 90), white=(250, 250, 240)).quantize(7),
        "b22136a47e7c39a8",
    ),
    "a row": (Image.fromarray(np.array([[250, 250, 30, 120, 250, 250, 250, 0, 250]], np.uint8)), "5730ef887a352bc8"),
    "longer than is cropped": (Image.fromarray(strokes(3, 9000)), "c5ba8f55c8e4fb8e"),
    "a hair": (Image.fromarray(np.where(np.eye(600, dtype=bool), 0, 255).astype(np.uint8)), "f94b7b953b9f972a"),
}


@pytest.mark.parametrize(("picture", "expected"), PREPARED.values(), ids=PREPARED.keys())
def test_pixels_come_out_as_they_always_did(picture: Image.Image, expected: str) -> None:
    assert hashlib.sha256(DRAWING(picture).numpy().tobytes()).hexdigest()[:16] == expected
