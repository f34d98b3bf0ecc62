"""Between tensors of the Open Inference Protocol and the values of the runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from innerloop.png import encode_png
from innerloop.wire import Label
from service.api.tensors import Tensor
from service.errors import InvalidRequestError, UnusableSupportError
from service.inputs.specification import RawInput
from service.runtime.catalog import Served
from service.runtime.ranking import Estimated
from service.runtime.runtime import Answers
from service.sessions.contents import Answer

KINDS = {"image": "images", "vector": "vectors"}
LABELS, TARGETS = "support_labels", "support_targets"
CHANNELS = (1, 3, 4)

_LABELS: TypeAdapter[list[str]] = TypeAdapter(list[Label])


def described(name: str, versions: Sequence[int], served: Served, inputs: Sequence[str], *, way: int, length: int | None) -> dict[str, Any]:
    """Describe a model to a client: its inputs, named after what the meta-model takes, and its outputs; a `way` of -1 is open.

    `length` is that of a session's vectors, None where it is not known.
    """
    takes = served.manifest.input.of_length(length)
    typed = {"datatype": "BYTES", "shape": [-1]} if takes.kind == "image" else {"datatype": "FP32", "shape": [-1, takes.length or -1]}
    known: dict[str, dict[str, Any]] = {
        LABELS: {"datatype": "BYTES", "shape": [-1]},
        TARGETS: {"datatype": "FP32", "shape": [-1, served.manifest.recipe.way]},
    }
    names = [each.format(KINDS[takes.kind]) for each in inputs]
    return {
        "name": name,
        "versions": [str(each) for each in versions],
        "platform": "innerloop",
        "inputs": [{"name": each, **known.get(each, typed)} for each in names],
        "outputs": _outputs(served, way),
    }


def _outputs(served: Served, way: int) -> list[dict[str, Any]]:
    if served.manifest.recipe.regression:
        return [{"name": "target", "datatype": "FP32", "shape": [-1, served.manifest.recipe.way]}]
    return [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "score", "datatype": "FP32", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, way]},
        {"name": "labels", "datatype": "BYTES", "shape": [way]},
    ]


def the_inputs(inputs: Mapping[str, Tensor], prefix: str) -> Tensor:
    """Give the one tensor of images or vectors."""
    found = [inputs[prefix + kind] for kind in KINDS.values() if prefix + kind in inputs]
    if len(found) != 1:
        names = " or ".join(prefix + kind for kind in KINDS.values())
        more = "" if not prefix else "; a meta-model is adapted first: to infer with what was adapted before, name the session"
        raise InvalidRequestError(f"expected one input {names}, got {', '.join(inputs)}{more}", field=f"{prefix}images")
    return found[0]


def refuse_others(inputs: Mapping[str, Tensor], whose: str, taken: Sequence[str]) -> None:
    for name in inputs:
        if name not in taken:
            raise InvalidRequestError(f"expected inputs of {whose} among {', '.join(taken)}, got {name!r}", field=name)


def answers_input(served: Served) -> str:
    """Name the tensor that tells what the examples of a support set are: labels, or the numbers of a regression."""
    return TARGETS if served.manifest.recipe.regression else LABELS


def the_answers(inputs: Mapping[str, Tensor], served: Served) -> list[Answer]:
    """Give what the examples of a support set are, one for each."""
    name = answers_input(served)
    datatype, rank, form = ("FP32", 2, "FP32 [N, outputs]") if name == TARGETS else ("BYTES", 1, "BYTES [N]")
    tensor = inputs.get(name)
    if tensor is None or tensor.datatype != datatype or len(tensor.shape) != rank:
        raise InvalidRequestError(f"expected {name}, {form}, beside the support set", field=name)
    return [tuple(numbers) for numbers in _slices(tensor)] if name == TARGETS else list(_labels(tensor))


def _labels(tensor: Tensor) -> list[str]:
    try:
        return _LABELS.validate_python(tensor.texts())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = f"{LABELS}[{first['loc'][0]}]"
        raise UnusableSupportError(f"{place}: expected a label: {first['msg']}", field=place) from None


def single_inputs(tensor: Tensor) -> list[RawInput]:
    """Take a tensor apart into single inputs: BYTES [N] image files, UINT8 [N, H, W] or [N, H, W, C] pixels, FP32 [N, D] vectors."""
    contents: Sequence[bytes | Sequence[float]]
    image, rank = tensor.name.endswith("images"), len(tensor.shape)
    if image and tensor.datatype == "BYTES" and rank == 1:
        contents = tensor.contents()
    elif image and tensor.datatype == "UINT8" and (rank == 3 or (rank == 4 and tensor.shape[3] in CHANNELS)):
        contents = _pictures(tensor)
    elif not image and tensor.datatype == "FP32" and rank == 2:
        contents = _slices(tensor)
    else:
        taken = "BYTES [N] or UINT8 [N, H, W] or [N, H, W, 1, 3 or 4]" if image else "FP32 [N, D]"
        raise InvalidRequestError(f"{tensor.name}: expected {taken}, got {tensor.datatype} {list(tensor.shape)}", field=tensor.name)
    return [RawInput(f"{tensor.name}[{place}]", content) for place, content in enumerate(contents)]


def _slices(tensor: Tensor) -> list[Any]:
    size = len(tensor.elements) // tensor.shape[0]
    return [tensor.elements[start : start + size] for start in range(0, len(tensor.elements), size)]


def _pictures(tensor: Tensor) -> list[bytes]:
    """Write pixels as PNG files, so that they pass every check that a file passes."""
    channels = tensor.shape[3] if len(tensor.shape) == 4 else 1
    width = tensor.shape[2] * channels
    return [
        encode_png([pixels[start : start + width] for start in range(0, len(pixels), width)], channels=channels)
        for pixels in map(bytes, _slices(tensor))
    ]


def outputs(found: Answers) -> list[Tensor]:
    """Give labels and scores, and every class's probability in the order of `labels`; or the numbers of a regression."""
    if isinstance(found.found, Estimated):
        numbers = found.found.numbers
        return [Tensor("target", "FP32", (len(numbers), len(numbers[0])), [number for each in numbers for number in each])]
    labels, ranked = found.revision.labels, found.ranked
    count, way = len(ranked.rows), len(labels)
    shares = [dict(zip(rows, scores, strict=True)) for rows, scores in zip(ranked.rows, ranked.scores, strict=True)]
    return [
        Tensor("label", "BYTES", (count,), [labels[rows[0]] for rows in ranked.rows]),
        Tensor("score", "FP32", (count,), [scores[0] for scores in ranked.scores]),
        Tensor("probabilities", "FP32", (count, way), [share[row] for share in shares for row in range(way)]),
        Tensor("labels", "BYTES", (way,), labels),
    ]
