"""What drawing differently costs: queries are changed at the file's 105 pixels, the support set stays clean.

Usage: python -m benchmarks.stress omniglot --data-root FOLDER [--episodes 2000] [--only NAME ...]
Adds to benchmarks/results/stress-<name>-<version>.json after every stress, and prints the rows of docs/results.md.
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

from benchmarks.subject import SEED, USUAL, find_subject, named
from service.errors import BlankImageError
from service.inputs.archives import by_class, read_zip
from service.inputs.images import decode_image
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs
from service.training.evaluate import embed_all, evaluate, pool
from service.training.sources.omniglot import VINYALS_TEST

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
    only: Annotated[list[str] | None, typer.Option(help="Measure these stresses; all of them when absent.")] = None,
) -> None:
    """Measure every stress in the four usual cells."""
    subject = find_subject(model_store, model)
    judged, path, last = subject.stored.model, subject.results("stress"), VINYALS_TEST if subject.split == "vinyals" else None
    how = {**subject.provenance, "episodes": episodes}
    clean = pool(judged, load(data_root, subject.preprocessing, STRESSES["none"], last=last))
    for name, stress in STRESSES.items():
        if only and name not in only:
            continue
        drawings = load(data_root, subject.preprocessing, stress, last=last)
        unseen = replace(clean, queries=embed_all(judged, drawings.inputs))
        row = {
            named(shape): evaluate(judged, unseen, shape, steps=judged.recipe.steps_default, episodes=episodes, seed=SEED).accuracy
            for shape in USUAL
        }
        table = {**known(path, how), name: row}
        path.write_text(json.dumps({**how, "accuracy": table}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        typer.echo(f"| {name} | " + " | ".join(f"{100 * value:.2f}" for value in row.values()) + " |")


def known(path: Path, how: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """Give the rows that were measured before in the same way."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return before["accuracy"] if all(before.get(key) == value for key, value in how.items()) else {}


if __name__ == "__main__":
    typer.run(main)
