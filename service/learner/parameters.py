"""Parameters are a mapping from name to tensor; nothing here changes one in place."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Params = Mapping[str, Tensor]


def under(params: Params, prefixes: Iterable[str]) -> dict[str, Tensor]:
    """Keep the parameters whose name starts with one of the prefixes; names stay whole."""
    chosen = tuple(prefixes)
    return {name: value for name, value in params.items() if name.startswith(chosen)}


def trainable(params: Params) -> dict[str, Tensor]:
    """Give fresh leaves that gradients are taken of; the given tensors keep their own graph."""
    return {name: value.detach().requires_grad_() for name, value in params.items()}


def separate(params: Params) -> dict[str, Tensor]:
    """Give the same values as new nodes of the same graph.

    Differentiating by one of them then stops there, even where it was made from another: a prototype head from the body.
    """
    return {name: value.view_as(value) if value.requires_grad else value.detach().requires_grad_() for name, value in params.items()}


def detached(params: Params) -> dict[str, Tensor]:
    """Give the same values without a graph."""
    return {name: value.detach() for name, value in params.items()}


def gradients(loss: Tensor, params: Params, *, create_graph: bool = False) -> dict[str, Tensor]:
    """Differentiate a scalar by every parameter; one that the loss does not depend on gets zeros."""
    found = torch.autograd.grad(loss, list(params.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True)
    return dict(zip(params, found, strict=True))


def channels_last(params: Params) -> dict[str, Tensor]:
    """Copy the values, kernels with their channels last: pictures come so, and a pass need not turn the kernels each time."""
    return {
        name: value.clone(memory_format=torch.channels_last if value.dim() == 4 else torch.contiguous_format)
        for name, value in params.items()
    }


def moved_to(params: Params, device: torch.device) -> dict[str, Tensor]:
    """Give the same values on a device."""
    return {name: value.to(device) for name, value in params.items()}


def squared_distance(params: Params, others: Params) -> Tensor:
    """Give the squared Euclidean distance between parameters of the same names, as a scalar."""
    return torch.stack([(value - others[name]).square().sum() for name, value in params.items()]).sum()
