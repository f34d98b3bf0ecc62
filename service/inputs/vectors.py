"""Numbers → a vector tensor."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from service.errors import UnusableVectorError


def decode_vector(numbers: Sequence[float], lengths: range, *, name: str) -> Tensor:
    """Give the vector as a tensor: [length] float32.

    Raises:
        UnusableVectorError: a length that is not among `lengths`, NaN, infinity, or a number beyond float32.
    """
    if len(numbers) not in lengths:
        expected = f"{lengths[0]} numbers" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]} numbers"
        raise UnusableVectorError(f"{name}: expected {expected}, got {len(numbers)}", field=name)
    vector = torch.tensor(numbers, dtype=torch.float32)
    if not torch.isfinite(vector).all():
        place = next(index for index, number in enumerate(numbers) if not math.isfinite(number) or abs(number) > torch.finfo().max)
        raise UnusableVectorError(f"{name}: expected finite float32 numbers, got {numbers[place]} at place {place}", field=name)
    return vector
