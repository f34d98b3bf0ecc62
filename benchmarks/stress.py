"""What drawing differently costs: queries are changed at the file's 105 pixels, the support set stays clean.

Usage: python benchmarks/stress.py omniglot --data-root FOLDER [--episodes 2000]
Writes benchmarks/results/stress-<name>-<version>.json and prints the table of docs/results.md.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from service.errors import BlankImageError
from service.inputs.archives import by_class, read_zip
from service.inputs.images import decode_image
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs, EpisodeShape
from service.registry.read import find
from service.training.evaluate import Pool, embed_all, evaluate, pool
from service.training.sources.omniglot import VINYALS_TEST

RESULTS = Path(__file__).parent / "results"
CELLS = ((5, 1), (5, 5), (20, 1), (20, 5))
ENLARGED = 4


def restroked(drawing: Image.Image, factor: float) -> Image.Image:
    """Scale the stroke width by dilating or eroding the ink at four times the size."""
    ink = (
        1
        - torch.tensor(list(drawing.convert("L").get_flattened_data()), dtype=torch.float32).view(1, 1, drawing.height, drawing.width) / 255
    )
    ink = F.interpolate(ink, scale_factor=ENLARGED, mode="bilinear")
    filled = (ink > 0.5).float()
    width = 2 * filled.sum() / (filled - _eroded(filled, 1)).sum().clamp(min=1)  # a stroke has two edges
    radius = round(float(abs(factor - 1) * width / 2))
    changed = _dilated(filled, radius) if factor > 1 else _eroded(filled, radius)
    kept = changed if changed.any() else filled
    return Image.fromarray((255 * (1 - kept[0, 0])).to(torch.uint8).numpy())


def _dilated(ink: Tensor, radius: int) -> Tensor:
    """Grow by a square, one axis after the other."""
    side = 2 * radius + 1
    rows = F.max_pool2d(ink, (side, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, radius))


def _eroded(ink: Tensor, radius: int) -> Tensor:
    return -_dilated(-ink, radius)


def with_margin(drawing: Image.Image, share: float) -> Image.Image:
    """Crop to the ink, then put paper around it: a share of the longer side on each side."""
    grey = drawing.convert("L")
    ink = grey.crop(ImageOps.invert(grey).getbbox())
    return ImageOps.expand(ink, border=round(share * max(ink.size)), fill=255)


def transparent(drawing: Image.Image) -> Image.Image:
    """Draw blue ink on nothing: the alpha channel carries the strokes."""
    picture = Image.new("RGBA", drawing.size, (20, 20, 160, 0))
    picture.putalpha(ImageOps.invert(drawing.convert("L")))
    return picture


STRESSES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda drawing: drawing,
    "inverted": lambda drawing: ImageOps.invert(drawing.convert("L")),
    "blue on transparent": transparent,
    "stroke width × 0.5": lambda drawing: restroked(drawing, 0.5),
    "stroke width × 0.75": lambda drawing: restroked(drawing, 0.75),
    "stroke width × 1.5": lambda drawing: restroked(drawing, 1.5),
    "stroke width × 2": lambda drawing: restroked(drawing, 2.0),
    "margin 0 %": lambda drawing: with_margin(drawing, 0.0),
    "margin 30 %": lambda drawing: with_margin(drawing, 0.3),
    "margin 60 %": lambda drawing: with_margin(drawing, 0.6),
}


def load(data_root: Path, preprocessing: Preprocessing, stress: Callable[[Image.Image], Image.Image], *, last: int | None) -> ClassInputs:
    """Load the evaluation characters, or the last so many of them, each drawing changed first."""
    groups: dict[str, list[bytes]] = {}
    for member in by_class(read_zip((data_root / "omniglot" / "images_evaluation.zip").read_bytes(), max_bytes=2**30)):
        groups.setdefault(member.label, []).append(member.content)
    tested = sorted(groups)[-last if last else 0 :]
    return ClassInputs.of(
        [(label, torch.stack([_seen(stress(decode_image(each, name=label)), preprocessing) for each in groups[label]])) for label in tested]
    )


def _seen(drawing: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Preprocess a drawing; one that the server would refuse as blank becomes empty paper, and is judged as that."""
    try:
        return preprocessing(drawing)
    except BlankImageError:
        return torch.zeros(preprocessing.channels, preprocessing.size, preprocessing.size, dtype=torch.uint8)


def main(
    model: str,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    episodes: int = 2000,
    only: Annotated[list[str] | None, typer.Option(help="Measure these stresses beside `none`; all of them when absent.")] = None,
) -> None:
    """Measure every stress in the four usual cells."""
    stored = find(model_store, model)
    takes = stored.manifest.input
    if takes.kind != "image":
        raise typer.BadParameter("this benchmark draws; the meta-model takes vectors")
    table: dict[str, dict[str, float]] = {}
    clean: Pool | None = None
    steps, split = stored.manifest.recipe.steps_default, stored.manifest.training.config["data"]["split"]
    for name, stress in STRESSES.items():
        if only and name not in ("none", *only):
            continue
        drawings = load(data_root, takes.preprocessing, stress, last=VINYALS_TEST if split == "vinyals" else None)
        clean = clean or pool(stored.model, drawings)
        unseen = replace(clean, queries=embed_all(stored.model, drawings.inputs))
        table[name] = {
            f"{way}w{shot}s": evaluate(
                stored.model, unseen, EpisodeShape(way, (shot, shot), 5), steps=steps, episodes=episodes, seed=1
            ).accuracy
            for way, shot in CELLS
        }
        typer.echo(f"| {name} | " + " | ".join(f"{100 * value:.2f}" for value in table[name].values()) + " |")
    result = {
        "model": f"{stored.manifest.name}@{stored.manifest.version}",
        "weights_sha256": stored.manifest.weights.sha256,
        "episodes": episodes,
    }
    path = RESULTS / f"stress-{stored.manifest.name}-{stored.manifest.version}.json"
    path.write_text(json.dumps({**result, "accuracy": table}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
