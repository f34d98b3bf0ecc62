"""Solving A·x = b where only products with A can be had."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(product: Callable[[Tensor], Tensor], wanted: Tensor, *, steps: int) -> Tensor:
    """Solve A·x = `wanted` [D] for a symmetric positive definite A given by its products [D] → [D]; exact after D steps.

    Source: Hestenes and Stiefel (1952), Methods of conjugate gradients for solving linear systems.
    """
    solution, residual = torch.zeros_like(wanted), wanted
    direction, size = residual, residual @ residual
    for _ in range(steps):
        if size <= torch.finfo(wanted.dtype).tiny:
            return solution
        moved = product(direction)
        length = size / (direction @ moved)
        solution, residual = solution + length * direction, residual - length * moved
        shrunk = residual @ residual
        direction, size = residual + shrunk / size * direction, shrunk
    return solution
