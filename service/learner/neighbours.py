"""Which examples a query is nearest to, in the space of their embeddings."""

import torch
from torch import Tensor

# Queries that are compared at once: with ten thousand examples, forty megabytes of distances.
CHUNK = 1024


def nearest(queries: Tensor, examples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Give the places of the examples [N, D] nearest to each query [M, D], nearest first, and their Euclidean distances: [M, count] both.

    There are N of them where N is less than `count`. Distances are summed number by number, never by a product of matrices, whose
    rounding would put a query at some distance from itself and let its batch mates decide at which.
    """
    found = [_nearest(chunk, examples, min(count, len(examples))) for chunk in torch.split(queries, CHUNK)]
    places, distances = zip(*found, strict=True)
    return torch.cat(places), torch.cat(distances)


def _nearest(queries: Tensor, examples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    distances = torch.cdist(queries, examples, compute_mode="donot_use_mm_for_euclid_dist")
    found = distances.topk(count, dim=1, largest=False)
    return found.indices, found.values
