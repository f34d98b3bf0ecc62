"""Random changes to training images, a whole batch at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F

from service.training.options import Augmentation

# Along each side: four let a stroke swing once or twice, as hands do.
BEND_POINTS = 4


def augment(images: Tensor, options: Augmentation, generator: torch.Generator, *, size: int) -> Tensor:
    """Change every image on its own, then reduce it: [N, C, k·size, k·size] uint8 → [N, C, size, size] float32 in 0..1.

    Larger pictures stay sharp when they are turned: what comes out is reduced once, as served pictures are.
    """
    values = images.to(torch.float32) / 255
    if options.flip > 0:
        values = _flipped(values, options.flip, generator)
    if max(options.turn, options.scale, options.stretch, options.slant, options.shift, options.bend) > 0:
        grid = F.affine_grid(_hands(len(values), options, generator), list(values.shape), align_corners=False)
        beyond = "zeros" if options.edge == "paper" else "reflection"
        values = F.grid_sample(values, grid + _bends(values, options.bend, generator), padding_mode=beyond, align_corners=False)
    values = _reduced(values, size)
    if options.light > 0:
        values = _relit(values, options.light, generator)
    return _restroked(values, options.stroke, generator) if options.stroke > 0 else values


def unchanged(images: Tensor, *, size: int) -> Tensor:
    """Only reduce: [N, C, k·size, k·size] uint8 → [N, C, size, size] float32 in 0..1, as the server would see them."""
    return _reduced(images.to(torch.float32) / 255, size)


def _reduced(values: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(values, values.shape[-1] // size) if values.shape[-1] > size else values


def _hands(count: int, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw a turn, scale, stretch, slant and shift for each image: affine matrices [N, 2, 3]."""
    turn, scale, stretch, slant, right, down = (2 * torch.rand(6, count, generator=generator) - 1).unbind()
    cosine, sine = (turn * options.turn).cos(), (turn * options.turn).sin()
    scale, stretch = (scale * options.scale).exp(), (stretch * options.stretch).exp()
    first = torch.stack([cosine * scale * stretch, slant * options.slant - sine * scale, right * options.shift], dim=1)
    second = torch.stack([sine * scale, cosine * scale / stretch, down * options.shift], dim=1)
    return torch.stack([first, second], dim=1)


def _bends(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Draw a smooth displacement for each image: [N, H, W, 2], normal at the points of a coarse grid."""
    pulls = strength * torch.randn(len(images), 2, BEND_POINTS, BEND_POINTS, generator=generator)
    rows, columns = (_cubic(side) for side in images.shape[-2:])
    return torch.einsum("ncij,iy,jx->nyxc", pulls, rows, columns)


def _cubic(side: int) -> Tensor:
    """Give what each point of the coarse grid counts at each pixel of a side: [BEND_POINTS, side], bicubic."""
    points = torch.eye(BEND_POINTS).view(1, BEND_POINTS, BEND_POINTS, 1)
    return F.interpolate(points, (side, 1), mode="bicubic", align_corners=True).view(BEND_POINTS, side)


def _flipped(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Mirror about that share of the images, left to right."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < share
    return torch.where(chosen, images.flip(-1), images)


def _relit(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation by a factor each; the result stays in 0..1."""
    bright, contrast, colourful = (strength * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator) - 1)).exp().unbind()
    grey, mean = images.mean(dim=1, keepdim=True), images.mean(dim=(1, 2, 3), keepdim=True)
    saturated = grey + colourful * (images - grey)
    return (bright * (mean + contrast * (saturated - mean))).clamp(0, 1)


def _restroked(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Thicken or thin the ink (the bright part) by a random share of a pixel on each side, and make it full again."""
    share = strength * (1.6 * torch.rand(len(images), 1, 1, 1, generator=generator) - 0.6)
    thick = F.max_pool2d(images, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-images, 3, stride=1, padding=1)
    changed = torch.where(share > 0, images + share * (thick - images), images - share * (thin - images))
    return changed / changed.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1 / 255)
