import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from innerloop.errors import UnusableInputError
from innerloop.inputs import to_wire
from innerloop.wire import Query

PICTURE = Image.new("L", (3, 2), 200)


def image_bytes(value: Any) -> bytes:
    encoded = to_wire(value)["image"]
    assert isinstance(encoded, str)
    return base64.b64decode(encoded, validate=True)


def test_a_path_or_its_text_sends_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"anything")
    assert image_bytes(file) == image_bytes(str(file)) == b"anything"


@pytest.mark.parametrize("value", [b"raw", bytearray(b"raw"), memoryview(b"raw"), io.BytesIO(b"raw")])
def test_bytes_and_binary_files_go_as_they_are(value: object) -> None:
    assert image_bytes(value) == b"raw"


@pytest.mark.parametrize("value", [PICTURE, np.asarray(PICTURE), torch.full((2, 3), 200, dtype=torch.uint8)])
def test_a_picture_and_its_arrays_arrive_as_the_same_pixels(value: object) -> None:
    arrived = Image.open(io.BytesIO(image_bytes(value)))
    assert (arrived.mode, arrived.size, np.unique(np.asarray(arrived)).tolist()) == ("L", (3, 2), [200])


@pytest.mark.parametrize("value", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5]), [np.float32(1), np.float64(2.5)]])
def test_numbers_are_a_vector(value: Any) -> None:
    assert to_wire(value) == {"vector": [1.0, 2.5]}


@pytest.mark.parametrize("value", [b"raw", [0.5]])
def test_what_is_sent_is_a_valid_wire_query(value: Any) -> None:
    query = Query.model_validate(to_wire(value))
    assert (query.image, query.vector) in [(b"raw", None), (None, (0.5,))]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInputError, match=r"no\.png: No such file"):
        to_wire(tmp_path / "no.png")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInputError, match=f"{tmp_path}: Is a directory"):
        to_wire(str(tmp_path))


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(UnusableInputError, match=r"a\.png, got an empty file"):
        to_wire(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "got none"),
        (io.BytesIO(), "got none"),
        (io.StringIO("text"), "open it in binary mode"),
        ("a\0b", "null byte"),
        (Image.new("F", (2, 2)), "convert it to L, RGB or RGBA"),
        ([], "got an empty one"),
        (np.array([]), "got an empty one"),
        ([1.0, float("nan")], r"got nan at \[1\]"),
        (np.array([np.inf]), r"got inf at \[0\]"),
        (["a"], r"got 'a' at \[0\]"),
        ([[1.0]], r"got \[1.0\] at \[0\]"),
        (np.float32(1.0), r"got \[\]"),
        (7, "got int"),
        (None, "got NoneType"),
        ({"image": b""}, "got dict"),
    ],
)
def test_what_cannot_be_sent_says_what_was_expected(value: Any, message: str) -> None:
    with pytest.raises(UnusableInputError, match=message):
        to_wire(value)
