import json
import struct
from typing import Any

import pytest

from service.api.tensors import Tensor, read_inference, write_inference
from service.errors import InvalidRequestError


def header(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def tensor(name: str, datatype: str, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def binary(size: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": size}}


def lengths(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def test_binary_tensors_are_read_in_the_order_of_their_headers() -> None:
    words, pixels, numbers = lengths(b"\xff\0", b"", b"abc"), bytes(range(6)), struct.pack("<4f", 1.5, -2, 0, 3e38)
    head = header(
        tensor("words", "BYTES", [3], **binary(len(words))),
        tensor("pixels", "UINT8", [1, 2, 3], **binary(6)),
        tensor("plain", "FP32", [2], data=[1, 2.5]),
        tensor("numbers", "FP32", [2, 2], **binary(16)),
        id="seven",
    )
    found = read_inference(head + words + pixels + numbers, len(head))
    assert found.id == "seven"
    assert found.inputs["words"].contents() == [b"\xff\0", b"", b"abc"]
    assert list(found.inputs["pixels"].elements) == list(range(6))
    assert list(found.inputs["plain"].elements) == [1, 2.5]
    assert found.inputs["numbers"].elements == struct.unpack("<4f", numbers)
    assert found.inputs["numbers"].shape == (2, 2)


@pytest.mark.parametrize("data", [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [1, 2, 3, 4, 5, 6, 7, 8], [[1, 2, 3, 4], [5, 6, 7, 8]]])
def test_json_data_may_be_nested_or_flat(data: list[Any]) -> None:
    found = read_inference(header(tensor("x", "UINT8", [2, 2, 2], data=data)), None)
    assert list(found.inputs["x"].elements) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_bytes_are_base64_in_json_and_text_stays_text() -> None:
    found = read_inference(header(tensor("x", "BYTES", [2], data=["/wA=", "é"])), None).inputs["x"]
    assert found.texts() == ["/wA=", "é"]
    assert Tensor("x", "BYTES", (1,), ["/wA="]).contents() == [b"\xff\0"]
    with pytest.raises(InvalidRequestError, match=r"x\[1\]: expected base64"):
        found.contents()


BAD: dict[str, tuple[bytes, int | None, str]] = {
    "no JSON": (b"\x89PNG", None, "cannot be read as JSON"),
    "deep JSON": (b"[" * 100_000, None, "cannot be read as JSON"),
    "a list": (b"[]", None, "body"),
    "no inputs": (b'{"inputs": []}', None, "inputs"),
    "a header longer than the body": (header(tensor("x", "FP32", [1], data=[1])), 10_000, "at most the body's"),
    "another type": (header(tensor("x", "INT64", [1], data=[1])), None, "datatype"),
    "an empty shape": (header(tensor("x", "FP32", [], data=[])), None, "shape"),
    "no elements": (header(tensor("x", "FP32", [0, 3], data=[])), None, "shape"),
    "many elements of no size": (header(tensor("x", "FP32", [10**9, 0], data=[])), None, "shape"),
    "a shape that lies": (header(tensor("x", "FP32", [2, 2], data=[1, 2, 3])), None, "expected 4 elements"),
    "a binary shape that lies": (header(tensor("x", "UINT8", [2, 2], **binary(0))), None, "expected 4 elements"),
    "neither data": (header(tensor("x", "FP32", [1])), None, "either `data`"),
    "both": (header(tensor("x", "FP32", [1], data=[1], **binary(0))), None, "either `data`"),
    "a size that is none": (header(tensor("x", "FP32", [1], **binary(-4))), None, "count of bytes"),
    "text for numbers": (header(tensor("x", "FP32", [1], data=["1"])), None, "expected numbers"),
    "truth for numbers": (header(tensor("x", "FP32", [1], data=[True])), None, "expected numbers"),
    "a number that no float holds": (header(tensor("x", "FP32", [1], data=[10**400])), None, "float32"),
    "a byte of 256": (header(tensor("x", "UINT8", [1], data=[256])), None, "0 to 255"),
    "numbers for text": (header(tensor("x", "BYTES", [1], data=[1])), None, "expected strings"),
    "a name twice": (header(tensor("x", "FP32", [1], data=[1]), tensor("x", "FP32", [1], data=[1])), None, "twice"),
}


@pytest.mark.parametrize(("content", "length", "says"), BAD.values(), ids=BAD.keys())
def test_what_is_no_request_is_refused(content: bytes, length: int | None, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        read_inference(content, length)


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "rest", "says"),
    [
        ("FP32", [2], 8, b"\0" * 7, "expected 8 bytes behind the header, got 7"),
        ("FP32", [2], 7, b"\0" * 7, "whole FP32 elements"),
        ("UINT8", [2], 2, b"\0" * 3, "no bytes behind"),
        ("BYTES", [1], 3, b"\0" * 3, "ends early"),
        ("BYTES", [1], 6, struct.pack("<I", 3) + b"ab", "ends early"),
        ("BYTES", [1], 4, struct.pack("<I", 2**32 - 1), "ends early"),
    ],
)
def test_bytes_that_are_not_as_the_header_says_are_refused(datatype: str, shape: list[int], size: int, rest: bytes, says: str) -> None:
    head = header(tensor("x", datatype, shape, **binary(size)))
    with pytest.raises(InvalidRequestError, match=says):
        read_inference(head + rest, len(head))


OUTPUTS = (Tensor("label", "BYTES", (2,), ["é", "b"]), Tensor("score", "FP32", (2,), [0.5, 0.25]))


def written(**more: Any) -> tuple[dict[str, Any], bytes, int | None]:
    content, length = write_inference(
        {"model_name": "m"}, OUTPUTS, read_inference(header(tensor("x", "FP32", [1], data=[1]), **more), None)
    )
    return json.loads(content[:length]), b"" if length is None else content[length:], length


def test_every_output_comes_as_json_when_nothing_is_said() -> None:
    answer, rest, length = written()
    assert (rest, length) == (b"", None)
    assert answer == {
        "model_name": "m",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["é", "b"]},
            {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.5, 0.25]},
        ],
    }


def test_binary_outputs_stand_behind_the_header_in_their_order() -> None:
    answer, rest, _ = written(parameters={"binary_data_output": True})
    assert [each["parameters"]["binary_data_size"] for each in answer["outputs"]] == [11, 8]
    assert rest == lengths("é".encode(), b"b") + struct.pack("<2f", 0.5, 0.25)


def test_only_the_outputs_that_are_wanted_come_each_as_it_is_wanted() -> None:
    wanted = [{"name": "score", "parameters": {"binary_data": True}}]
    answer, rest, _ = written(outputs=wanted)
    assert [each["name"] for each in answer["outputs"]] == ["score"]
    assert rest == struct.pack("<2f", 0.5, 0.25)
    answer, rest, _ = written(outputs=[{"name": "label"}, *wanted])
    assert answer["outputs"][0]["data"] == ["é", "b"]
    assert len(rest) == 8


def test_an_output_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="label, score, got 'logits'"):
        written(outputs=[{"name": "logits"}])
