"""What a meta-model computes, as an ONNX graph whose parameters are inputs; a program, that reads what is asked for and writes the graph.

It is one because tracing is no neighbour for a server: while it goes on, `torch.export` puts its own functions in the place of
`builtins.max` and `min` for every thread, and for seconds it holds the interpreter lock.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from service.learner import heads
from service.learner.encoders.architectures import build, describe
from service.learner.encoders.encoder import Encoder
from service.learner.meta_model import MetaModel, adapted_shapes
from service.learner.parameters import Params
from service.learner.statistics import KeptStatistics, already_normalised

INPUTS, PROBABILITIES, TARGETS = "inputs", "probabilities", "targets"

# What onnxruntime reads since 1.14, of February 2023.
OPSET = 18

# A size of one would be taken for a constant of the graph.
EXAMPLES, EXAMPLE_WAY = 2, 3


def ask(model: MetaModel) -> bytes:
    """Write what `graph` needs of a meta-model as it is served: its encoder, and the shapes of its parameters."""
    shapes = {**{name: value.shape for name, value in model.params.items()}, **adapted_shapes(model, model.recipe.way or EXAMPLE_WAY)}
    asked = {"encoder": describe(model.encoder), "regression": model.recipe.regression}
    return json.dumps({**asked, "shapes": {name: list(shape) for name, shape in shapes.items()}}).encode()


def graph(asked: bytes) -> bytes:
    """Give the graph: `inputs` [N, ...] and parameters by their names to `probabilities` [N, way], for any N and way, or to `targets`."""
    table = json.loads(asked)
    encoder = _encoder(table["encoder"])
    params = {name: torch.zeros(shape) for name, shape in table["shapes"].items()}
    program = torch.onnx.export(
        _Answering(encoder, regression=table["regression"]).eval(),
        (_examples(encoder),),
        kwargs={"params": params},
        input_names=[INPUTS, *params],
        output_names=[TARGETS if table["regression"] else PROBABILITIES],
        dynamic_shapes={"inputs": {0: torch.export.Dim("N")}, "params": _dynamic(params, regression=table["regression"])},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("expected a program of torch.onnx.export, got none")
    content: bytes = _plain(program.model_proto).SerializeToString()
    return content


class _Answering(nn.Module):
    def __init__(self, encoder: Encoder, *, regression: bool) -> None:
        super().__init__()
        self._encoder, self._regression = encoder, regression

    def forward(self, inputs: Tensor, params: Params) -> Tensor:
        normalise = KeptStatistics(params) if self._encoder.norm == "task" else already_normalised
        embeddings = self._encoder(params, inputs, normalise)
        answers = heads.logits(params, embeddings, heads.scale(params))
        return answers if self._regression else answers.softmax(dim=1)


def _encoder(description: Mapping[str, Any]) -> Encoder:
    options = dict(description)
    return build(options.pop("kind"), options)


def _examples(encoder: Encoder) -> Tensor:
    """Give inputs as they come decoded: pixels of a picture, numbers of a vector."""
    shape = encoder.input_shape
    return torch.zeros(EXAMPLES, *shape, dtype=torch.float32 if len(shape) == 1 else torch.uint8)


def _dynamic(params: Params, *, regression: bool) -> dict[str, Mapping[int, Any] | None]:
    by_class = () if regression else ("head.weight", "head.bias")
    return {name: {0: torch.export.Dim.DYNAMIC} if name in by_class else None for name in params}


def _plain(model: Any) -> Any:
    """Leave out what nothing reads: where the tracer was in which source file, and parameters that frozen statistics replaced."""
    read = {name for node in model.graph.node for name in node.input}
    _keep(model.graph.input, [each for each in model.graph.input if each.name in read])
    del model.graph.value_info[:]
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
    return model


def _keep(field: Any, kept: Sequence[Any]) -> None:
    del field[:]
    field.extend(kept)


def main() -> None:
    """Read what is asked for from standard input, write the graph to standard output; whatever else is said goes to standard error."""
    with redirect_stdout(sys.stderr):
        found = graph(sys.stdin.buffer.read())
    sys.stdout.buffer.write(found)


if __name__ == "__main__":
    main()
