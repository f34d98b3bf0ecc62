import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from service.errors import ExportUnavailableError
from service.inputs.specification import RawInput
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.residual import Residual
from service.learner.episodes import Support
from service.learner.meta_model import MetaModel, adapt, predict
from service.learner.recipe import Recipe
from service.runtime import onnx_file
from service.runtime.catalog import Served, load_catalog
from service.runtime.description import read_metadata
from service.runtime.onnx_file import check_packages, write_onnx_file
from service.runtime.onnx_trace import OPSET, ask, graph
from service.sessions.contents import pack_weights
from tests.runtime.exports import CPU, answered, catalog_of, description_of, properties, served_of, weights_of
from tests.runtime.tasks import MODELS, adapt_task, inputs
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]

# Those of the engine, and the layers that none of them has.
EVERY = {
    **MODELS,
    "pooled": tiny_model(Conv4(width=8, downsample="pool", activation="softplus", norm="none", projection=12)),
    "residual, in groups": tiny_model(
        Residual(widths=(8, 16), norm="group", projection=24),
        Recipe(scope="all", step_size=0.01, steps_default=2, steps_max=10),
    ),
}


@pytest.fixture(scope="module")
def traced() -> Callable[[MetaModel], bytes]:
    """The graph of a meta-model; those that ask for the same are traced once."""
    made: dict[bytes, bytes] = {}

    def trace(model: MetaModel) -> bytes:
        asked = ask(model)
        if asked not in made:
            made[asked] = graph(asked)
        return made[asked]

    return trace


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return catalog_of(tmp_path_factory.mktemp("store"), vectors=MODELS["head, of vectors"]).find("vectors")


def close(found: Tensor, expected: Tensor) -> bool:
    """Within the 1e-4 that is promised, and the same likeliest class."""
    return torch.allclose(found, expected, rtol=0, atol=1e-4) and torch.equal(found.argmax(dim=1), expected.argmax(dim=1))


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_of_meta_model_answers_alone_as_it_is_served(tmp_path: Path, traced: Callable[[MetaModel], bytes], name: str) -> None:
    served = catalog_of(tmp_path, some=EVERY[name]).find("some")
    model, generator = served.model, torch.Generator().manual_seed(1)
    task = adapt_task(model, [2, 1, 3, 1], 2, generator)
    adapted = adapt(model, task.support, task.steps).params
    description = description_of(served, pack_weights(adapted), ("a", "b", "c", "d"))
    content = write_onnx_file(traced(model), {**model.params, **adapted}, description)
    for count in (1, 2, 9):
        queries = inputs(model.encoder, count, generator)
        assert close(answered(content, queries), predict(model, adapted, queries))


def test_the_shipped_meta_model_answers_real_drawings_alone(traced: Callable[[MetaModel], bytes]) -> None:
    served = load_catalog(ROOT / "model_store", device=CPU, default="omniglot").find("omniglot")
    drawings = ROOT / "examples/characters"
    files = sorted((drawings / "support").glob("*/*.png"))
    labels = sorted({file.parent.name for file in files})
    support = Support(decoded(served, files), torch.tensor([labels.index(file.parent.name) for file in files]), len(labels))
    adapted = adapt(served.model, support, 5).params
    queries = sorted((drawings / "queries").glob("*.png"))
    content = write_onnx_file(
        traced(served.model), {**served.model.params, **adapted}, description_of(served, pack_weights(adapted), labels)
    )
    found = answered(content, decoded(served, queries))
    assert close(found, predict(served.model, adapted, decoded(served, queries)))
    named = [json.loads(properties(content)["labels"])[row] for row in found.argmax(dim=1).tolist()]
    assert named == [file.stem.rpartition("-")[0] for file in queries]


def decoded(served: Served, files: list[Path]) -> Tensor:
    return torch.stack([served.manifest.input.decode(RawInput(file.name, file.read_bytes())) for file in files])


@pytest.fixture(scope="module")
def content(vectors: Served, traced: Callable[[MetaModel], bytes]) -> bytes:
    weights = weights_of(vectors.model, 3)
    return write_onnx_file(traced(vectors.model), {**vectors.model.params, **weights}, description_of(vectors, pack_weights(weights)))


def test_a_file_is_sound_and_says_what_it_takes_and_gives(content: bytes) -> None:
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    [taken], [given] = model.graph.input, model.graph.output
    sizes = [[axis.dim_param or axis.dim_value for axis in each.type.tensor_type.shape.dim] for each in (taken, given)]
    assert (taken.name, given.name, sizes) == ("inputs", "probabilities", [["N", 6], ["N", 3]])


def test_its_metadata_is_that_of_the_other_format(vectors: Served, content: bytes) -> None:
    description = description_of(vectors, pack_weights(weights_of(vectors.model, 3)))
    assert properties(content) == description.metadata()
    assert read_metadata(properties(content)) == description


def test_it_holds_every_parameter_once_and_none_that_is_not_read(content: bytes, traced: Callable[[MetaModel], bytes]) -> None:
    model = onnx.load_model_from_string(content)
    read = {name for node in model.graph.node for name in node.input}
    names = [each.name for each in model.graph.initializer]
    assert len(names) == len(set(names))
    assert set(names) <= read
    folded = onnx.load_model_from_string(traced(served_of(MODELS["head"])))
    assert not [each.name for each in folded.graph.input if "norm" in each.name or each.name.startswith("rate.")]


def test_it_tells_nothing_of_the_machine_that_wrote_it(content: bytes, traced: Callable[[MetaModel], bytes]) -> None:
    for written in (content, traced(served_of(MODELS["all, prototypes"]))):
        for part in (b".py", b"stack_trace", b"/home", str(ROOT).encode()):
            assert part not in written


@pytest.mark.parametrize("name", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    check_packages()
    monkeypatch.setattr(onnx_file, "PACKAGES", ("json", f"{name}_that_is_not_there"))
    with pytest.raises(ExportUnavailableError, match=rf"needs {name}_that_is_not_there on the server: pip install 'innerloop\[export\]'"):
        check_packages()
