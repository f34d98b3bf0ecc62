"""An exported session that answers alone: one ONNX file with the graph, the parameters and the description."""

import importlib.util
from typing import Any

import numpy as np

from service.errors import ExportUnavailableError
from service.learner.parameters import Params
from service.runtime.description import Description
from service.runtime.onnx_trace import INPUTS

# What writing one needs: the format, and what torch.onnx translates its programs with.
PACKAGES = ("onnx", "onnxscript")

# Names in the graph of what makes short vectors as long as the encoder reads them; no parameter has such a name.
PADDED, ZEROS = "padded inputs", "zeros behind"


def check_packages() -> None:
    """Do nothing, as long as ONNX files can be written.

    Raises:
        ExportUnavailableError: a package is missing; says how to install it.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportUnavailableError(
            f"format=onnx needs {' and '.join(missing)} on the server: pip install 'innerloop[export]'; format=safetensors needs nothing",
            field="format",
        )


def write_onnx_file(graph: bytes, params: Params, description: Description) -> bytes:
    """Put parameters into a graph that names them: `inputs` [N, ...] as the session takes them → `probabilities` [N, way], or `targets`."""
    # Optional, and slow to import.
    import onnx

    model = onnx.load_model_from_string(graph)
    names = [each.name for each in model.graph.input if each.name != INPUTS]
    model.graph.initializer.extend(onnx.numpy_helper.from_array(params[name].cpu().contiguous().numpy(), name) for name in names)
    inputs = [each for each in model.graph.input if each.name == INPUTS]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if description.input.length is not None:
        _pad(model, description.input.length)
    if description.labels:
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(description.labels)
    onnx.helper.set_model_props(model, description.metadata())
    content: bytes = model.SerializeToString()
    return content


def _pad(model: Any, length: int) -> None:
    """Let a graph take vectors of a session's length [N, length], with zeros behind them where its encoder reads longer ones."""
    import onnx

    (taken,) = model.graph.input
    size = taken.type.tensor_type.shape.dim[1]
    behind = size.dim_value - length
    if not behind:
        return
    size.dim_value = length
    for node in model.graph.node:
        node.input[:] = [PADDED if name == INPUTS else name for name in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 0, 0, behind]), ZEROS))
    model.graph.node.insert(0, onnx.helper.make_node("Pad", [INPUTS, ZEROS], [PADDED]))
