from typing import Any

import pytest

from service.learner.encoders.architectures import build, describe
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Encoder
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.encoders.residual import Residual
from service.learner.encoders.resnet12 import ResNet12
from service.learner.encoders.torchvision_network import TorchvisionNetwork

ENCODERS = [
    Conv4(width=32, norm="group", projection=64, channels=3),
    Conv4(),
    Identity(width=7),
    Mlp(inputs=5, layers=3, activation="softplus"),
    Residual(widths=(8, 16), size=32, projection=12),
    Residual(widths=(8, 16), unit=True),
    ResNet12(widths=(4, 8, 12, 16), norm="group", groups=4),
    TorchvisionNetwork("resnet18", size=32, unit=True),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_what_describes_an_encoder_builds_it_again(encoder: Encoder) -> None:
    options = describe(encoder)
    assert build(options.pop("kind"), options) == encoder


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("resnet99", {}, r"kind among \['conv4', 'identity', 'mlp', 'residual', 'resnet12', 'torchvision:<network>'\], got 'resnet99'"),
        ("torchvision", {}, "kind among .*'torchvision:<network>'.*, got 'torchvision'"),
        ("conv4:64", {}, "kind among .*, got 'conv4:64'"),
        ("torchvision:resnet19", {}, "among those of torchvision.models"),
        ("torchvision:resnet18", {"network": "resnet50"}, r"no option network; expected among \['channels'"),
        ("resnet12", {"widths": [64, 160]}, "four positive widths"),
        ("conv4", {"widht": 64}, "no option widht; expected among .*'width'"),
        ("conv4", {"norm": "layer"}, "norm to be one of 'batch', 'group', 'task', 'none', got 'layer'"),
        ("conv4", {"downsample": "max"}, "downsample to be one of 'stride', 'pool', got 'max'"),
        ("conv4", {"activation": "tanh"}, "activation to be one of 'relu', 'softplus', got 'tanh'"),
        ("conv4", {"width": "64"}, "width to be int, got '64'"),
        ("conv4", {"width": True}, "width to be int, got True"),
        ("conv4", {"projection": 1.5}, "projection to be int"),
        ("conv4", {"width": 12, "norm": "group"}, "8 groups divide"),
        ("residual", {"widths": [64, "128"]}, r"widths to be a list of int, got \[64, '128'\]"),
        ("residual", {"widths": 64}, "widths to be a list of int, got 64"),
        ("residual", {"widths": []}, "at least one block"),
        ("residual", {"norm": "none"}, "expected norm `batch`, `group` or `task`"),
        ("residual", {"norm": "group", "widths": [64, 100]}, "8 groups divide"),
        ("residual", {"projection": 0}, "positive projection"),
        ("residual", {"unit": 1}, "unit to be bool, got 1"),
        ("identity", {"width": 0}, "positive width"),
        ("mlp", {}, "cannot be built: .*'inputs'"),
    ],
)
def test_what_cannot_be_built_is_refused_and_says_what_is_accepted(kind: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(kind, options)
