import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from innerloop.errors import UnusableInputError
from innerloop.png import encode_png, png_from_array


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(("shape", "mode"), [((7, 5), "L"), ((7, 5, 1), "L"), ((7, 5, 3), "RGB"), ((7, 5, 4), "RGBA")])
def test_pillow_reads_back_the_same_samples(shape: tuple[int, ...], mode: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = decoded(png_from_array(array))
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image), array.reshape(np.asarray(image).shape))


def test_an_array_that_is_not_contiguous_keeps_its_order() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4).T[::-1]
    np.testing.assert_array_equal(np.asarray(decoded(png_from_array(array))), array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_scaled_and_rounded(dtype: Any) -> None:
    array = np.array([[0.0, 0.5, 1.0]], dtype=dtype)
    np.testing.assert_array_equal(np.asarray(decoded(png_from_array(array))), [[0, 128, 255]])


def test_a_torch_tensor_is_an_array_too() -> None:
    tensor = torch.tensor([[0, 255], [7, 9]], dtype=torch.uint8)
    np.testing.assert_array_equal(np.asarray(decoded(png_from_array(tensor))), tensor.numpy())


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, float("nan"), float("inf")])
def test_a_float_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(UnusableInputError, match=r"expected floats in 0\.\.1, got"):
        png_from_array(np.array([[value]]))


@pytest.mark.parametrize("shape", [(), (2, 2, 2), (3, 28, 28), (2, 28, 28, 3), (0, 4), (4, 0, 3)])
def test_a_shape_that_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnusableInputError, match="channels last"):
        png_from_array(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint16", "complex64"])
def test_a_dtype_that_is_no_image_is_refused_by_name(dtype: str) -> None:
    with pytest.raises(UnusableInputError, match=f"got {dtype}"):
        png_from_array(np.zeros((2, 2), dtype=dtype))


def test_rows_become_a_png_without_any_array() -> None:
    assert np.asarray(decoded(encode_png([b"\x00\xff", b"\x01\x02"], channels=1))).tolist() == [[0, 255], [1, 2]]
