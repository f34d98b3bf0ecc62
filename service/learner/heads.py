"""Heads map embeddings to logits, or to the numbers a regression predicts; here is how each kind starts, before any inner step."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.parameters import Params
from service.learner.recipe import Recipe

# What the names of a head's parameters begin with.
HEAD = "head."


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


def discriminant_head(embeddings: Tensor, targets: Tensor, weights: Tensor, *, penalty: Tensor, evidence: Tensor) -> dict[str, Tensor]:
    """Tell classes apart by a linear discriminant on standardised embeddings, written as a linear head on the embeddings as they are.

    In numbers standardised by the support set it is w = Σ⁻¹c, b = −½·cᵀΣ⁻¹c, with c the class means and Σ the scatter R of examples
    about the mean of their own class, pooled over classes, and drawn towards that of the whole: Σ = (RᵀR + λdI) / (N − way + ν), where
    d numbers vary. The `penalty` λ says how far; the `evidence` ν, the examples that count for it, how sure to be on few of them. With
    one example of each class there is no scatter to see, and the nearest class mean is left. `weights` [..., N] sum to one; an example
    of none, which pads a batch, has no part in it.

    Source: Friedman (1989), Regularized discriminant analysis, Journal of the American Statistical Association 84(405).
    """
    seen, centre, inverse = standardised(embeddings, weights)
    centres = prototypes(seen, targets)
    apart = (weights > 0).unsqueeze(-1) * (seen - targets @ centres)
    prior = penalty * (inverse > 0).sum(dim=-1, keepdim=True).clamp(min=1)
    classes = (targets.sum(dim=-2, keepdim=True) > 0).sum(dim=-1, keepdim=True)
    freedom = (weights > 0).sum(dim=-1)[..., None, None] - classes
    scatter = apart.mT @ apart + prior * torch.eye(seen.shape[-1], dtype=seen.dtype, device=seen.device)
    rows = (freedom + evidence) * torch.linalg.solve(scatter, centres.mT).mT
    weight = rows * inverse
    return {"head.weight": weight, "head.bias": -(rows * centres).sum(dim=-1) / 2 - (weight * centre).sum(dim=-1)}


# A number that varies by less than this share of its largest value is constant: float32 has seven digits.
CONSTANT = 1e-6


def standardised(embeddings: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give (x − μ)/σ of embeddings [..., N, D], with μ and 1/σ [..., 1, D]; of a number that does not vary, zeros.

    `weights` [..., N] sum to one, zero for an example that only pads.
    """
    # In units of the largest value, so that no square is too large for float32.
    unit = embeddings.detach().abs().amax(dim=-2, keepdim=True).clamp(min=1e-30)
    values, share = embeddings / unit, weights.unsqueeze(-1)
    mean = (share * values).sum(dim=-2, keepdim=True)
    # Clamped before the root, whose slope at zero is infinite.
    deviation = (share * (values - mean).square()).sum(dim=-2, keepdim=True).clamp(min=CONSTANT**2).sqrt()
    inverse = (deviation > CONSTANT) / deviation
    return (values - mean) * inverse, mean * unit, inverse / unit


def learned_head(recipe: Recipe, embedding: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Give what meta-training learns of the head: its rows, or the logarithms of the few numbers that solving for it takes."""
    if recipe.head == "prototype":
        # Squared distances grow with the length of the embedding; this keeps the first logits of order ten.
        return {"head.log_scale": torch.tensor(10 / embedding).log()}
    if recipe.head == "ridge":
        return {"head.log_scale": torch.tensor(10.0).log(), "head.log_penalty": torch.zeros(())}
    if recipe.head == "discriminant":
        return {f"head.log_{name}": torch.zeros(()) for name in ("scale", "penalty", "evidence")}
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
    if recipe.head == "discriminant":
        penalty, evidence = (params[f"head.log_{name}"].exp().to(embeddings) for name in ("penalty", "evidence"))
        return discriminant_head(embeddings, targets, weights, penalty=penalty, evidence=evidence)
    shape = (*embeddings.shape[:-2], targets.shape[-1], embeddings.shape[-1])
    if recipe.head == "zero":
        return {"head.weight": embeddings.new_zeros(shape), "head.bias": embeddings.new_zeros(shape[:-1])}
    return {"head.weight": params["head.weight"].expand(shape), "head.bias": params["head.bias"].expand(shape[:-1])}


def reads_support(recipe: Recipe) -> bool:
    """Whether the head starts from the embeddings of the support set, rather than from what was learned alone."""
    return recipe.head in ("prototype", "ridge", "discriminant")


def rows(head: Params) -> Tensor:
    """Write a head as one tensor, a class a row and its bias the last number: [..., way, D + 1]."""
    return torch.cat([head["head.weight"], head["head.bias"].unsqueeze(-1)], dim=-1)


def scale(params: Params) -> Tensor:
    """Give the factor on the logits: learned for heads that the support set decides, constant in the inner loop; one for the others."""
    return params["head.log_scale"].exp() if "head.log_scale" in params else torch.ones(())


def logits(head: Params, embeddings: Tensor, factor: Tensor) -> Tensor:
    """Score embeddings [..., N, D] against every class: [..., N, way]."""
    return factor.to(embeddings) * (embeddings @ head["head.weight"].mT + head["head.bias"].unsqueeze(-2))


def distances(best: Tensor, embeddings: Tensor, factor: Tensor) -> Tensor:
    """Give the squared distance of embeddings [..., N, D] from their nearest class, by its logit [..., N].

    A prototype head's logits are ‖x‖² − ‖x − c‖² but for the factor, and inner steps move its rows little.
    """
    return embeddings.square().sum(dim=-1) - best / factor.to(best)
