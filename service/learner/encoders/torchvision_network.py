"""Any of torchvision's convolutional classifiers as an encoder: its layers and weights, our parameters and statistics.

The network is traced once to a graph of operations, which runs on the parameters it is given; no module is changed or
holds a value, so threads may share it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from service.learner.encoders.encoder import (
    Norm,
    Normalise,
    as_shares,
    he_normal,
    initial_norm,
    normalised,
    require_positive,
    with_channels_last,
)
from service.learner.encoders.projected import PROJECTION, ProjectedPictures
from service.learner.parameters import Params

# What ImageNet's pictures were normalised by, which published weights expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class TorchvisionNetwork(ProjectedPictures):
    """The features that a torchvision network gives its classifier, projected.

    Batch norm takes its moments as every encoder of ours does: from the batch while training, then frozen ones measured
    for the trained weights, and adds the same 1e-5 to the variance (MobileNets: 1e-3). Running averages in a file of
    pretrained weights are not used.

    Attributes:
        network: its name in torchvision.models: `resnet18`, `resnet50`, `mobilenet_v3_small` …
        channels: 1 grey, repeated to three; 3 colour.
        size: side of the square input, in pixels.
        norm: `batch` (frozen when serving, for scope `head` only), `group` or `task` in its place (any scope).
        projection: length of the embedding, by a learned linear map.
        unit: embeddings are scaled to the length √projection, so that their distances tell angles.
    """

    network: str
    channels: int = 3
    size: int = 84
    norm: Norm = "batch"
    groups: int = 8
    projection: int = 256
    unit: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built; raises ValueError."""
        require_positive(size=self.size, groups=self.groups, projection=self.projection)
        if self.channels not in (1, 3):
            raise ValueError(f"expected 1 channel or 3, got {self.channels}")
        if self.norm == "none":
            raise ValueError("expected norm `batch`, `group` or `task`, since these networks are not trained without one, got 'none'")
        widths = {layer.convolution.out_channels for layer in traced(self.network).layers if layer.norm}
        if self.norm == "group" and any(width % self.groups for width in widths):
            raise ValueError(f"expected a number of groups that divides {sorted(widths)}, got {self.groups}")
        _features(self.network, self.size)

    @property
    def blocks(self) -> tuple[str, ...]:
        return (*traced(self.network).blocks, PROJECTION)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        params: dict[str, Tensor] = {}
        for layer in traced(self.network).layers:
            params |= layer.initial(self.norm, generator)
        return params | self._initial_projection(_features(self.network, self.size), generator)

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:
        values = as_shares(inputs, params[f"{PROJECTION}weight"]).expand(-1, 3, -1, -1)
        mean, deviation = (values.new_tensor(each).view(1, 3, 1, 1) for each in (MEAN, DEVIATION))
        values = with_channels_last((values - mean) / deviation)

        def norm(layer: str, values: Tensor) -> Tensor:
            return normalised(self.norm, layer, params, values, normalise=normalise, groups=self.groups)

        features = _Run(traced(self.network), params, norm).run(values)
        return self._projected(params, features)

    def pretrained(self, params: Params, weights: Params) -> dict[str, Tensor]:
        """Give parameters with the weights of a torchvision state dict in place of the network's own; the projection stays.

        Raises:
            ValueError: a weight is missing, or has another shape.
        """
        changed = dict(params)
        for ours, theirs in traced(self.network).names().items():
            if theirs not in weights:
                raise ValueError(f"expected weights of torchvision's {self.network}, found no {theirs!r}")
            if weights[theirs].shape != params[ours].shape:
                shapes = tuple(params[ours].shape), tuple(weights[theirs].shape)
                raise ValueError(f"expected weights of torchvision's {self.network}, with {theirs} of shape {shapes[0]}, got {shapes[1]}")
            changed[ours] = weights[theirs].to(params[ours])
        return changed


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of the traced network, and what torchvision calls the batch norm behind it, if there is one."""

    name: str
    convolution: nn.Conv2d
    norm: str | None

    @property
    def prefix(self) -> str:
        return f"encoder.{self.name}."

    def initial(self, norm: Norm, generator: torch.Generator) -> dict[str, Tensor]:
        width = self.convolution.out_channels
        params = {f"{self.prefix}conv.weight": he_normal(self.convolution.weight.shape, generator)}
        if self.convolution.bias is not None:
            params[f"{self.prefix}conv.bias"] = torch.zeros(width)
        if self.norm:
            params |= initial_norm(norm, self.prefix, width)
        return params


@dataclass(frozen=True, slots=True)
class Traced:
    """A network as a graph from pictures to the features before its classifier.

    Attributes:
        module: the graph; its modules hold no values.
        layers: its convolutions, from input to output.
        of_norm: the layer that each batch norm belongs to, by the norm's name.
    """

    module: fx.GraphModule
    layers: tuple[Layer, ...]
    of_norm: Mapping[str, Layer]

    @property
    def blocks(self) -> tuple[str, ...]:
        """Prefixes of its parameter names: its outermost parts, or those of `features` where that is all there is."""
        depth = 1 if len({layer.name.split(".")[0] for layer in self.layers}) > 1 else 2
        return tuple(dict.fromkeys(f"encoder.{'.'.join(layer.name.split('.')[:depth])}." for layer in self.layers))

    def names(self) -> dict[str, str]:
        """Give torchvision's name of each of our parameters."""
        names: dict[str, str] = {}
        for layer in self.layers:
            parts = {"conv": layer.name} | ({"norm": layer.norm} if layer.norm else {})
            for ours, theirs in parts.items():
                held = ("weight", "bias") if ours == "norm" or layer.convolution.bias is not None else ("weight",)
                names |= {f"{layer.prefix}{ours}.{what}": f"{theirs}.{what}" for what in held}
        return names


@lru_cache
def traced(network: str) -> Traced:
    """Trace a torchvision network, without values.

    Raises:
        ValueError: torchvision is missing or has no such network, or it is not one of convolutions and batch norms.
    """
    graph = fx.symbolic_trace(_skeleton(network))
    _cut_before_classifier(network, graph)
    modules = dict(graph.named_modules())
    used = [node for node in graph.graph.nodes if node.op == "call_module"]
    norms = {node.args[0].target: node.target for node in used if isinstance(modules[node.target], nn.BatchNorm2d)}
    layers = [Layer(node.target, modules[node.target], norms.get(node.target)) for node in used if _is(nn.Conv2d, modules, node.target)]
    of_norm = {layer.norm: layer for layer in layers if layer.norm}
    held = {name.rpartition(".")[0] for name, _ in graph.named_parameters()}
    strange = held - {layer.name for layer in layers} - set(of_norm) | {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    if strange:
        raise ValueError(
            f"expected a torchvision network of convolutions, each with a batch norm behind it or none, like resnet18 or"
            f" mobilenet_v3_small; {network} has {min(strange)!r} too"
        )
    return Traced(graph, tuple(layers), of_norm)


def _skeleton(network: str) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise ValueError(f"the encoder torchvision:{network} needs torchvision, which is not here ({error}); install it") from error
    known = models.list_models(module=models)
    if network not in known:
        raise ValueError(f"expected a network among those of torchvision.models ({', '.join(known)}), got {network!r}")
    try:
        with torch.device("meta"):
            module: nn.Module = models.get_model(network, weights=None)
    except NotImplementedError as error:
        raise ValueError(f"torchvision's {network} cannot be made without values ({error}); take another, like resnet18") from error
    return module.eval()


def _cut_before_classifier(network: str, graph: fx.GraphModule) -> None:
    """End the graph where its first linear layer begins."""
    modules = dict(graph.named_modules())
    classifier = next((node for node in graph.graph.nodes if node.op == "call_module" and _is(nn.Linear, modules, node.target)), None)
    if classifier is None:
        raise ValueError(f"expected a torchvision network with a linear classifier, like resnet18; {network} has none")
    (end,) = (node for node in graph.graph.nodes if node.op == "output")
    end.args = (classifier.args[0],)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()


def _is(kind: type[nn.Module], modules: Mapping[str, nn.Module], name: str) -> bool:
    return isinstance(modules[name], kind)


@lru_cache
def _features(network: str, size: int) -> int:
    """Give how many features the network makes of a picture of that side, without computing any; raises ValueError for none."""
    skeleton = dict(traced(network).module.named_parameters())
    params = {ours: skeleton[theirs] for ours, theirs in traced(network).names().items()}
    picture = torch.empty(1, 3, size, size, device="meta")
    try:
        features: Tensor = _Run(traced(network), params, lambda _layer, values: values).run(picture)
    except RuntimeError as error:
        raise ValueError(f"expected larger pictures for torchvision's {network}, got a size of {size} ({error})") from error
    return features.flatten(1).shape[1]


class _Run(fx.Interpreter):
    """One pass through the graph with given parameters; `normalise` is told the layer and its values."""

    def __init__(self, network: Traced, params: Params, normalise: Callable[[str, Tensor], Tensor]) -> None:
        super().__init__(network.module)
        self._network, self._params, self._normalise = network, params, normalise

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, nn.Conv2d):
            weight, bias = self._params[f"encoder.{target}.conv.weight"], self._params.get(f"encoder.{target}.conv.bias")
            convolve: Any = F.conv2d  # typed for a padding of numbers or of words, not for either
            return convolve(*args, weight, bias, module.stride, module.padding, module.dilation, module.groups)
        if isinstance(module, nn.BatchNorm2d):
            return self._normalise(self._network.of_norm[target].prefix, *args)
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return _averaged(args[0], module.output_size)
        return super().call_module(target, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return _averaged(*args, **kwargs) if target is F.adaptive_avg_pool2d else super().call_function(target, args, kwargs)


def _averaged(values: Tensor, output_size: Any) -> Tensor:
    """Average pictures to a size; to a single pixel by `mean`, which is what that does, and which vmap knows."""
    if output_size in (1, (1, 1), [1, 1]):
        return values.mean(dim=(2, 3), keepdim=True)
    return F.adaptive_avg_pool2d(values, output_size)
