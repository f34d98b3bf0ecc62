"""Random changes to training images, a whole batch at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F

from service.training.options import Augmentation


def augment(images: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Change every image on its own: [N, C, H, W] uint8 → [N, C, H, W] float32 in 0..1."""
    values = images.to(torch.float32) / 255
    if max(options.turn, options.scale, options.stretch, options.slant, options.shift) > 0:
        grid = F.affine_grid(_hands(len(values), options, generator), list(values.shape), align_corners=False)
        values = F.grid_sample(values, grid, align_corners=False)
    return _restroked(values, options.stroke, generator) if options.stroke > 0 else values


def _hands(count: int, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw a turn, scale, stretch, slant and shift for each image: affine matrices [N, 2, 3]."""
    turn, scale, stretch, slant, right, down = (2 * torch.rand(6, count, generator=generator) - 1).unbind()
    cosine, sine = (turn * options.turn).cos(), (turn * options.turn).sin()
    scale, stretch = (scale * options.scale).exp(), (stretch * options.stretch).exp()
    first = torch.stack([cosine * scale * stretch, slant * options.slant - sine * scale, right * options.shift], dim=1)
    second = torch.stack([sine * scale, cosine * scale / stretch, down * options.shift], dim=1)
    return torch.stack([first, second], dim=1)


def _restroked(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Thicken or thin the ink (the bright part) by a random share of a pixel on each side, and make it full again."""
    share = strength * (1.6 * torch.rand(len(images), 1, 1, 1, generator=generator) - 0.6)
    thick = F.max_pool2d(images, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-images, 3, stride=1, padding=1)
    changed = torch.where(share > 0, images + share * (thick - images), images - share * (thin - images))
    return changed / changed.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1 / 255)
