"""The encoder's arithmetic against the rate at which the same machine multiplies large matrices."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stopwatch import Clock, Entrant, medians
from service.learner.meta_model import MetaModel

CHUNKS = (8, 16, 32, 64, 128, 256)
# Large enough that a product is bound by arithmetic, small enough for a second on one core.
SIDE = {"cpu": 2048, "cuda": 8192}


def operations(model: MetaModel, inputs: Tensor) -> int:
    """Count the floating-point operations of embedding inputs: two for every multiply-add of convolutions and linear maps."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.embed(inputs)
    return int(counter.get_total_flops())


def encoder_rate(model: MetaModel, inputs: Tensor, clock: Clock) -> dict[str, Any]:
    """Measure how fast a meta-model on the device embeds chunks of inputs [N, ...], in turns with a float32 matrix product."""
    side = SIDE[clock.device.type]
    left, right = (torch.randn(side, side, device=clock.device) for _ in range(2))
    chunks = [inputs[:size] for size in CHUNKS]
    entrants = [Entrant(str(len(chunk)), [partial(_embed, model, chunk)]) for chunk in chunks]
    with torch.no_grad():
        spent = medians(clock.race([Entrant("product", [partial(torch.mm, left, right)]), *entrants]))
    product = 2 * side**3 / spent["product"] / 1e6
    rows = [_row(model, chunk, spent[str(len(chunk))], product) for chunk in chunks]
    return {"matrix_product": {"side": side, "gflops": round(product, 2)}, "chunks": rows}


def _embed(model: MetaModel, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model.embed(inputs)


def _row(model: MetaModel, inputs: Tensor, milliseconds: float, product: float) -> dict[str, Any]:
    rate = operations(model, inputs) / milliseconds / 1e6
    return {
        "images": len(inputs),
        "ms_per_image": round(milliseconds / len(inputs), 4),
        "gflops": round(rate, 2),
        "share_of_matrix_product": round(rate / product, 3),
    }


def lines(found: dict[str, Any]) -> Sequence[str]:
    """Lay the figures out as a Markdown table."""
    product = found["matrix_product"]
    head = f"float32 matrix product of side {product['side']}: {product['gflops']:.0f} GFLOP/s"
    rows = [
        f"| {row['images']} | {row['ms_per_image']:.3f} | {row['gflops']:.0f} | {100 * row['share_of_matrix_product']:.0f} % |"
        for row in found["chunks"]
    ]
    return [head, "", "| images in a chunk | ms an image | GFLOP/s | of the matrix product |", "| ---: | ---: | ---: | ---: |", *rows]
