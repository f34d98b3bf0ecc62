"""An episode as one picture."""

import torch
from torch import Tensor

from service.learner.episodes import Episode

# A picture of more is too small to see.
MOST_CLASSES, MOST_EXAMPLES = 20, 5


def episode_picture(episode: Episode) -> Tensor:
    """Lay out an episode of pictures: a class a row, support examples left, a white line, queries right; [C, H, W] in 0..1."""
    classes = range(min(episode.support.way, MOST_CLASSES))
    support = [episode.support.inputs[episode.support.labels == label] for label in classes]
    queries = [episode.queries[episode.query_labels == label] for label in classes]
    line = torch.ones_like(episode.queries[0][..., :1]).expand(-1, -1, 2)
    rows = [torch.cat([_row(left, support), line, _row(right, queries)], dim=2) for left, right in zip(support, queries, strict=True)]
    return torch.cat(rows, dim=1).clamp(0, 1)


def _row(examples: Tensor, all_classes: list[Tensor]) -> Tensor:
    """Put the examples [N, C, H, W] of a class side by side, black after them, as wide as the widest class."""
    width = min(max(map(len, all_classes)), MOST_EXAMPLES)
    shown = examples[:width]
    blank = torch.zeros_like(shown[:1]).expand(width - len(shown), *shown.shape[1:])
    return torch.cat([*shown, *blank], dim=2)
