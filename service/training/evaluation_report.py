"""The report of an evaluation: Markdown for people, JSON for programs, and a figure."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.learner.episodes import ClassInputs, EpisodeShape
from service.registry.read import Stored
from service.training.evaluate import pool
from service.training.measure import Judging, Row, TimeRow, adaptation_time, judge, usual

MARKDOWN, JSON, FIGURE = "report.md", "report.json", "report.png"

# What a calibrated meta-model is held to, in points.
CALIBRATION_BAR = 2.0


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured.

    Attributes:
        data: what the classes are of.
        classes: how many there are.
        device: what the times were taken on.
        cells: rows at the default steps.
        curve: rows at every count of steps.
        times: of adapting.
    """

    model: str
    weights_sha256: str
    calibrated: bool
    data: str
    classes: int
    seed: int
    device: str
    threads: int
    torch: str
    cells: tuple[Row, ...]
    curve: tuple[Row, ...]
    times: tuple[TimeRow, ...]


def measure(stored: Stored, classes: ClassInputs, shapes: Sequence[EpisodeShape], how: Judging, *, steps: int, data: str) -> Report:
    """Judge every shape at so many steps, the usual ones at every count of steps, and time those.

    Raises:
        ValueError: too few classes or images for a shape.
    """
    manifest, model = stored.manifest, stored.model
    prepared, counts = pool(model, classes, manifest.calibration), range(manifest.recipe.steps_max + 1)
    return Report(
        model=f"{manifest.name}@{manifest.version}",
        weights_sha256=manifest.weights.sha256,
        calibrated=manifest.calibration is not None,
        data=data,
        classes=len(classes),
        seed=how.seed,
        device=f"CPU ({platform.machine()})",
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        cells=tuple(judge(model, prepared, shape, how, steps=steps) for shape in shapes),
        curve=tuple(judge(model, prepared, shape, how, steps=count) for shape in usual(shapes) for count in counts),
        times=tuple(adaptation_time(model, classes, shape, steps=steps) for shape in usual(shapes)),
    )


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write report.md, report.json and report.png into a folder; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in (MARKDOWN, JSON, FIGURE)]
    paths[0].write_text(markdown(report), encoding="utf-8")
    paths[1].write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    _figure(report).savefig(paths[2], dpi=120)
    return paths


def markdown(report: Report) -> str:
    """Write the report, as Markdown."""
    first = report.cells[0]
    return "\n".join(
        [
            f"# {report.model} on {report.data}",
            "",
            f"{report.classes:,} classes that were not trained on, weights sha256 `{report.weights_sha256}`. Every query is judged alone,"
            f" with frozen statistics; {first.episodes:,} episodes a row, {first.queries_per_class} queries a class, seed {report.seed}; ±"
            " is the half-width of the 95 % confidence interval. Calibration error: expected, of the top label, 15 bins of equal mass,"
            f" scores {'calibrated as the manifest says' if report.calibrated else 'not calibrated'}. All figures but times are percent.",
            "",
            f"![accuracy, calibration error and the curve over inner steps]({FIGURE})",
            "",
            f"## Ways and shots, {first.steps} inner steps",
            "",
            "| way | shot | accuracy | calibration error |",
            "| ---: | --- | ---: | ---: |",
            *(f"| {row.way} | {shot(row)} | {_accuracy(row)} | {100 * row.calibration_error:.2f} |" for row in report.cells),
            "",
            "## Inner steps",
            "",
            "| way | shot | steps | accuracy | query loss | calibration error |",
            "| ---: | --- | ---: | ---: | ---: | ---: |",
            *(
                f"| {row.way} | {shot(row)} | {row.steps} | {_accuracy(row)} | {row.loss:.4f} | {100 * row.calibration_error:.2f} |"
                for row in report.curve
            ),
            "",
            "## Time to adapt",
            "",
            f"Milliseconds from a decoded support set to adapted weights, one at a time, without a server: {report.device}, torch"
            f" {report.torch}, {report.threads} {'thread' if report.threads == 1 else 'threads'}.",
            "",
            "| way | shot | steps | median | quartiles |",
            "| ---: | ---: | ---: | ---: | ---: |",
            *(
                f"| {row.way} | {row.shot} | {row.steps} | {row.median:.1f} | {row.quartiles[0]:.1f} to {row.quartiles[1]:.1f} |"
                for row in report.times
            ),
            "",
        ]
    )


def shot(row: Row) -> str:
    """Give the shots of a row as a table shows them."""
    low, high = row.shot
    return str(low) if low == high else f"{low} to {high}, uneven"


def _accuracy(row: Row) -> str:
    return f"{100 * row.accuracy:.2f} ± {100 * row.ci95:.2f}"


def _figure(report: Report) -> Figure:
    figure = Figure(figsize=(14, 4), layout="constrained")
    accuracy, calibration, curve = figure.subplots(1, 3)
    for kind in dict.fromkeys(map(shot, report.cells)):
        rows = [row for row in report.cells if shot(row) == kind]
        ways = [row.way for row in rows]
        accuracy.errorbar(ways, [100 * row.accuracy for row in rows], [100 * row.ci95 for row in rows], marker="o", label=f"{kind} shot")
        calibration.plot(ways, [100 * row.calibration_error for row in rows], marker="o", label=f"{kind} shot")
    calibration.axhline(CALIBRATION_BAR, color="grey", linestyle="--")
    for panel, name in ((accuracy, "accuracy, %"), (calibration, "calibration error, points")):
        panel.set_xscale("log")
        panel.set_xticks(sorted({row.way for row in report.cells}), sorted({str(row.way) for row in report.cells}, key=int))
        panel.minorticks_off()
        panel.set(xlabel="way", ylabel=name)
        panel.legend()
    _draw_curve(curve, report.curve)
    return figure


def _draw_curve(panel: Axes, rows: Sequence[Row]) -> None:
    for way, kind in dict.fromkeys((row.way, shot(row)) for row in rows):
        own = [row for row in rows if (row.way, shot(row)) == (way, kind)]
        found, spread = [100 * row.accuracy for row in own], [100 * row.ci95 for row in own]
        panel.errorbar([row.steps for row in own], found, spread, marker="o", label=f"{way}-way {kind}-shot")
    panel.set(xlabel="inner steps", ylabel="accuracy, %")
    panel.legend()
