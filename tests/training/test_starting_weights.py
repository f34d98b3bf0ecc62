import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torchvision import models

from service.errors import BadDataError
from service.registry.read import read
from service.training.checkpoint import load_checkpoint
from service.training.options import TrainOptions
from service.training.publish import publish
from tests.training.runs import tiny_data, tiny_options, train

ENCODER = {"kind": "torchvision:mobilenet_v3_small", "channels": 1, "size": 16, "projection": 4}


def options_of(weights: Any, **changes: Any) -> TrainOptions:
    return tiny_options(encoder={**ENCODER, "weights": weights}, stages=[{"steps": 1, "way": [3, 3]}], **changes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes them, here of random weights."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.pth"
    torch.save(models.mobilenet_v3_small(weights=None).state_dict(), path)
    return path


def test_a_run_starts_from_the_weights_of_the_file(weights: Path, tmp_path: Path) -> None:
    options = options_of(str(weights))
    train(options, tmp_path, steps=0)
    theirs, ours = torch.load(weights, weights_only=True), load_checkpoint(tmp_path, options).params
    assert torch.equal(ours["encoder.features.0.0.conv.weight"], theirs["features.0.0.weight"])
    assert torch.equal(ours["encoder.features.1.block.1.fc1.conv.bias"], theirs["features.1.block.1.fc1.bias"])
    assert torch.equal(ours["encoder.features.12.0.norm.bias"], theirs["features.12.1.bias"])


def test_the_manifest_holds_the_digest_of_the_file_and_not_its_path(weights: Path, tmp_path: Path) -> None:
    options = options_of(str(weights))
    train(options, tmp_path / "run", steps=0)
    trained = train(options, tmp_path / "run", resume=True)
    assert trained is not None
    folder = publish(options, trained, tiny_data(), tmp_path / "store")
    training = read(folder).manifest.training
    assert training.starting_weights == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert training.config["encoder"] == ENCODER
    assert weights.name not in (folder / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the pretrained weights cannot be read .*; check `weights`"),
        (b"not weights", "expected a state dict saved by torch"),
        ([1, 2], "expected a state dict of tensors, got list"),
        ({"conv1.weight": torch.zeros(3)}, r"expected weights of torchvision's mobilenet_v3_small, found no 'features\.0\.0\.weight'"),
    ],
)
def test_a_missing_or_wrong_file_is_named(content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(BadDataError, match=rf"{path}: {said}"):
        train(options_of(str(path)), tmp_path / "run")


def test_only_encoders_of_torchvision_take_weights() -> None:
    with pytest.raises(ValidationError, match="a file for a torchvision:<network> encoder, got 'x'"):
        tiny_options(encoder={"kind": "conv4", "width": 4, "size": 16, "weights": "x"})
    with pytest.raises(ValidationError, match="a file for a torchvision:<network> encoder, got 5"):
        options_of(5)
