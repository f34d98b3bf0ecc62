"""Heads map embeddings to logits, or to the numbers a regression predicts; here is how each kind starts, before any inner step."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.parameters import Params
from service.learner.recipe import Recipe


def prototypes(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Average the embeddings [..., N, D] of each class of one-hot targets [..., N, way]: [..., way, D], zeros for a class without any.

    Source: Snell, Swersky and Zemel (2017), arXiv:1703.05175.
    """
    return targets.mT @ embeddings / targets.sum(dim=-2).clamp(min=1).unsqueeze(-1)


def prototype_head(centres: Tensor) -> dict[str, Tensor]:
    """Write squared distances to prototypes [..., way, D] as a linear head: w = 2c, b = −‖c‖².

    Source: Triantafillou et al. (2020), arXiv:1903.03096, section 3.
    """
    return {"head.weight": 2 * centres, "head.bias": -centres.square().sum(dim=-1)}


def ridge_head(embeddings: Tensor, targets: Tensor, weights: Tensor, penalty: Tensor) -> dict[str, Tensor]:
    """Solve the ridge regression from embeddings [..., N, D], a one beside them, onto targets [..., N, way].

    The solution is taken in the N examples rather than the D numbers: Xᵀ(XXᵀ + λI)⁻¹Y. `weights` [..., N] sum to one; an example of
    none, which pads a batch, has no part in it. With as many of every class it is the paper's.

    Source: Bertinetto, Henriques, Torr and Vedaldi (2019), Meta-learning with differentiable closed-form solvers, arXiv:1805.08136.
    """
    counted = (weights > 0).sum(dim=-1, keepdim=True)
    share = (weights * counted).sqrt().unsqueeze(-1)
    seen = share * F.pad(embeddings, (0, 1), value=1)
    gram = seen @ seen.mT + penalty * torch.eye(seen.shape[-2], dtype=seen.dtype, device=seen.device)
    rows = torch.linalg.solve(gram, share * targets).mT @ seen
    return {"head.weight": rows[..., :-1], "head.bias": rows[..., -1]}


def learned_head(recipe: Recipe, embedding: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Give what meta-training learns of the head: its rows, or the logarithm of the scale of its logits and of the ridge penalty."""
    if recipe.head == "prototype":
        # Squared distances grow with the length of the embedding; this keeps the first logits of order ten.
        return {"head.log_scale": torch.tensor(10 / embedding).log()}
    if recipe.head == "ridge":
        return {"head.log_scale": torch.tensor(10.0).log(), "head.log_penalty": torch.zeros(())}
    if recipe.head == "zero":
        return {}
    rows = recipe.way or 1
    return {"head.weight": torch.randn(rows, embedding, generator=generator) / math.sqrt(embedding), "head.bias": torch.zeros(rows)}


def initial_head(params: Params, recipe: Recipe, embeddings: Tensor, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Give the head that the inner loop starts from: weight [..., way, D] and bias [..., way].

    Args:
        params: what meta-training learned.
        recipe: the kind of head.
        embeddings: [..., N, D] of the support set.
        targets: [..., N, way], one-hot; or the numbers of a regression.
        weights: [..., N], what each example counts; zero for one that only pads.
    """
    if recipe.head == "prototype":
        return prototype_head(prototypes(embeddings, targets))
    if recipe.head == "ridge":
        return ridge_head(embeddings, targets, weights, params["head.log_penalty"].exp().to(embeddings))
    shape = (*embeddings.shape[:-2], targets.shape[-1], embeddings.shape[-1])
    if recipe.head == "zero":
        return {"head.weight": embeddings.new_zeros(shape), "head.bias": embeddings.new_zeros(shape[:-1])}
    return {"head.weight": params["head.weight"].expand(shape), "head.bias": params["head.bias"].expand(shape[:-1])}


def reads_support(recipe: Recipe) -> bool:
    """Whether the head starts from the embeddings of the support set, rather than from what was learned alone."""
    return recipe.head in ("prototype", "ridge")


def rows(head: Params) -> Tensor:
    """Write a head as one tensor, a class a row and its bias the last number: [..., way, D + 1]."""
    return torch.cat([head["head.weight"], head["head.bias"].unsqueeze(-1)], dim=-1)


def scale(params: Params) -> Tensor:
    """Give the factor on the logits: learned for prototype and ridge heads, constant in the inner loop; one for the others."""
    return params["head.log_scale"].exp() if "head.log_scale" in params else torch.ones(())


def logits(head: Params, embeddings: Tensor, factor: Tensor) -> Tensor:
    """Score embeddings [..., N, D] against every class: [..., N, way]."""
    return factor.to(embeddings) * (embeddings @ head["head.weight"].mT + head["head.bias"].unsqueeze(-2))


def distances(best: Tensor, embeddings: Tensor, factor: Tensor) -> Tensor:
    """Give the squared distance of embeddings [..., N, D] from their nearest class, by its logit [..., N].

    A prototype head's logits are ‖x‖² − ‖x − c‖² but for the factor, and inner steps move its rows little.
    """
    return embeddings.square().sum(dim=-1) - best / factor.to(best)
