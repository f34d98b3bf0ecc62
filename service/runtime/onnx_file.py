"""An exported session that answers alone: one ONNX file with the graph, the parameters and the description."""

import importlib.util

from service.errors import ExportUnavailableError
from service.learner.parameters import Params
from service.runtime.description import Description
from service.runtime.onnx_trace import INPUTS

# What writing one needs: the format, and what torch.onnx translates its programs with.
PACKAGES = ("onnx", "onnxscript")


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
    """Put parameters into a graph that names them: `inputs` [N, ...] as the encoder reads them → `probabilities` [N, way], or `targets`."""
    # Optional, and slow to import.
    import onnx

    model = onnx.load_model_from_string(graph)
    names = [each.name for each in model.graph.input if each.name != INPUTS]
    model.graph.initializer.extend(onnx.numpy_helper.from_array(params[name].cpu().contiguous().numpy(), name) for name in names)
    inputs = [each for each in model.graph.input if each.name == INPUTS]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if description.labels:
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(description.labels)
    onnx.helper.set_model_props(model, description.metadata())
    content: bytes = model.SerializeToString()
    return content
