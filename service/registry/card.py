"""CARD.md: what a person wants to know of a meta-model before using it, all of it from the manifest."""

from service.registry.manifest import ErrorRow, EvaluationRow, Manifest


def card(manifest: Manifest) -> str:
    """Write the model card, as Markdown."""
    training = manifest.training
    return "\n".join(
        [
            f"# {manifest.name}@{manifest.version}",
            "",
            f"{_pretrained(manifest)}Meta-trained with `{training.preset}` for {training.meta_steps:,} meta-steps"
            f" ({training.seconds / 60:.0f} minutes, torch {training.torch}, {training.threads} threads);"
            f" the weights are those of step {training.best_step:,}, chosen on validation {'classes' if training.classes else 'tasks'}.",
            "",
            f"- Algorithm: {training.paper}",
            f"- Encoder: {', '.join(f'{key} {value}' for key, value in manifest.encoder.items())}",
            f"- Adapts: scope `{manifest.recipe.scope}`, head `{manifest.recipe.head}`,"
            f" {manifest.recipe.steps_default} inner steps by default, at most {manifest.recipe.steps_max}",
            f"- Takes: {_takes(manifest)}",
            *([f"- Spread of a class, in squared distance of embeddings: {manifest.spread:.4g}"] if manifest.spread else []),
            *([f"- Classes: {', '.join(f'{count} {part}' for part, count in training.classes.items())}"] if training.classes else []),
            f"- Weights: {manifest.weights.bytes:,} bytes, sha256 `{manifest.weights.sha256}`",
            "",
            *_results(manifest),
            *_calibration(manifest),
            "## Limits",
            "",
            _limits(manifest),
            "",
        ]
    )


def _results(manifest: Manifest) -> list[str]:
    if manifest.recipe.regression:
        return [
            "## Error",
            "",
            "Mean squared error over tasks it has not seen, with the half-width of its 95 % confidence interval, and its median; every",
            "query is answered alone.",
            "",
            "| data | shot | scope | inner steps | squared error | median | tasks | queries a task |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
            *map(_error, manifest.errors),
            "",
        ]
    return [
        "## Accuracy",
        "",
        "Mean over episodes of unseen classes, drawn without replacement, with the half-width of its 95 % confidence interval, and the",
        "calibration error of the top label (15 bins of equal mass), in percent; every query is judged alone, with frozen statistics,",
        "through the preprocessing that the server uses. One set of weights and one count of steps gave all rows.",
        "",
        "| data | way | shot | scope | inner steps | accuracy | calibration error | episodes | queries a class |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        *map(_row, manifest.evaluation),
        "",
    ]


def _limits(manifest: Manifest) -> str:
    if manifest.recipe.regression:
        return "It predicts numbers for tasks of the kind it was trained on, and says nothing of how sure it is."
    chosen = "classes only, which are listed in manifest.json" if manifest.training.classes else "tasks only"
    return (
        f"Choosing and stopping used the validation {chosen}. It is a classifier of"
        " the kind of input it was trained on: it always answers with one of the session's labels, also for an input that is"
        f" none of them{'' if manifest.calibration else ', and no calibration step was applied to its scores'}."
    )


def _pretrained(manifest: Manifest) -> str:
    steps = manifest.training.pretraining_steps
    return f"Trained to tell all training classes apart for {steps:,} batches. " if steps else ""


def _calibration(manifest: Manifest) -> list[str]:
    """Show the temperatures at the default steps; the manifest has those of other counts."""
    if manifest.calibration is None:
        return []
    cells = [cell for cell in manifest.calibration.cells if cell.steps == manifest.recipe.steps_default]
    ways, shots = sorted({cell.way for cell in cells}), sorted({cell.shot for cell in cells})
    found = {(cell.way, cell.shot): f"{cell.temperature:.2f}" for cell in cells}
    return [
        "## Calibration",
        "",
        f"Logits are divided by a temperature before they become scores, fitted on {manifest.calibration.data}, at least"
        f" {manifest.calibration.queries:,} answers each; a session takes that of the nearest cell. The calibration errors above are"
        f" those of the calibrated scores. At {manifest.recipe.steps_default} inner steps:",
        "",
        f"| way | {' | '.join(f'{shot} shot' for shot in shots)} |",
        f"| ---: |{' ---: |' * len(shots)}",
        *(f"| {way} | {' | '.join(found.get((way, shot), '') for shot in shots)} |" for way in ways),
        "",
    ]


def _takes(manifest: Manifest) -> str:
    if manifest.input.kind == "vector":
        length = manifest.input.length
        return f"vectors of {length} numbers" if length else f"vectors of any length up to {manifest.input.longest}, all of a session alike"
    recipe = manifest.input.preprocessing
    colour = "grey" if recipe.channels == 1 else "colour"
    what = f"drawings, cropped to their ink with a margin of {recipe.margin:.0%}" if recipe.kind == "drawing" else "photographs, whole"
    return f"{what}, {recipe.size} x {recipe.size}, {colour}"


def _error(row: ErrorRow) -> str:
    cells = (
        row.data,
        row.shot,
        row.scope,
        row.steps,
        f"{row.squared_error:.4f} ± {row.ci95:.4f}",
        f"{row.median:.4f}",
        f"{row.episodes:,}",
        row.queries,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _row(row: EvaluationRow) -> str:
    accuracy = f"{100 * row.accuracy:.2f} ± {100 * row.ci95:.2f}"
    error = "" if row.calibration_error is None else f"{100 * row.calibration_error:.2f}"
    cells = (row.data, row.way, row.shot, row.scope, row.steps, accuracy, error, f"{row.episodes:,}", row.queries_per_class)
    return f"| {' | '.join(map(str, cells))} |"
