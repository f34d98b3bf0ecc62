"""Heads map embeddings to logits; here is how each kind starts, before any inner step."""

import torch
from torch import Tensor

from service.learner.parameters import Params
from service.learner.recipe import Recipe


def prototypes(embeddings: Tensor, labels: Tensor, way: int) -> Tensor:
    """Average the embeddings [N, D] of each class: [way, D] (Snell et al. 2017, arXiv:1703.05175)."""
    sums = embeddings.new_zeros(way, embeddings.shape[1]).index_add(0, labels, embeddings)
    return sums / torch.bincount(labels, minlength=way).unsqueeze(1)


def prototype_head(centres: Tensor) -> dict[str, Tensor]:
    """Write squared distances to prototypes [..., way, D] as a linear head: w = 2c, b = −‖c‖².

    Source: Triantafillou et al. (2020), arXiv:1903.03096, section 3.
    """
    return {"head.weight": 2 * centres, "head.bias": -centres.square().sum(dim=-1)}


def learned_head(recipe: Recipe, embedding: int) -> dict[str, Tensor]:
    """Give what meta-training learns of the head: the logarithm of the prototype scale, or the rows of a `per_class` head."""
    if recipe.head == "prototype":
        # Squared distances grow with the length of the embedding; this keeps the first logits of order ten.
        return {"head.log_scale": torch.tensor(10 / embedding).log()}
    if recipe.head == "per_class" and recipe.way is not None:
        return {"head.weight": torch.zeros(recipe.way, embedding), "head.bias": torch.zeros(recipe.way)}
    return {}


def initial_head(params: Params, recipe: Recipe, centres: Tensor) -> dict[str, Tensor]:
    """Give the head that the inner loop starts from, for prototypes [..., way, D]: weight [..., way, D] and bias [..., way]."""
    if recipe.head == "prototype":
        return prototype_head(centres)
    if recipe.head == "per_class":
        return {"head.weight": params["head.weight"].expand_as(centres), "head.bias": params["head.bias"].expand_as(centres[..., 0])}
    return {"head.weight": torch.zeros_like(centres), "head.bias": torch.zeros_like(centres[..., 0])}


def rows(head: Params) -> Tensor:
    """Write a head as one tensor, a class a row and its bias the last number: [..., way, D + 1]."""
    return torch.cat([head["head.weight"], head["head.bias"].unsqueeze(-1)], dim=-1)


def scale(params: Params) -> Tensor:
    """Give the factor on the logits: learned for a prototype head, constant in the inner loop; one for the others."""
    return params["head.log_scale"].exp() if "head.log_scale" in params else torch.ones(())


def logits(head: Params, embeddings: Tensor, factor: Tensor) -> Tensor:
    """Score embeddings [..., N, D] against every class: [..., N, way]."""
    return factor.to(embeddings) * (embeddings @ head["head.weight"].mT + head["head.bias"].unsqueeze(-2))


def distances(best: Tensor, embeddings: Tensor, factor: Tensor) -> Tensor:
    """Give the squared distance of embeddings [..., N, D] from their nearest class, by its logit [..., N].

    A prototype head's logits are ‖x‖² − ‖x − c‖² but for the factor, and inner steps move its rows little.
    """
    return embeddings.square().sum(dim=-1) - best / factor.to(best)
