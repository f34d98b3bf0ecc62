"""CARD.md: what a person wants to know of a meta-model before using it, all of it from the manifest."""

from service.registry.manifest import EvaluationRow, Manifest


def card(manifest: Manifest) -> str:
    """Write the model card, as Markdown."""
    training = manifest.training
    return "\n".join(
        [
            f"# {manifest.name}@{manifest.version}",
            "",
            f"Meta-trained with `{training.preset}` for {training.meta_steps:,} meta-steps"
            f" ({training.seconds / 60:.0f} minutes, torch {training.torch}, {training.threads} threads);"
            f" the weights are those of step {training.best_step:,}, chosen on validation classes.",
            "",
            f"- Algorithm: {training.paper}",
            f"- Encoder: {', '.join(f'{key} {value}' for key, value in manifest.encoder.items())}",
            f"- Adapts: scope `{manifest.recipe.scope}`, head `{manifest.recipe.head}`,"
            f" {manifest.recipe.steps_default} inner steps by default, at most {manifest.recipe.steps_max}",
            f"- Takes: {_takes(manifest)}",
            *([f"- Spread of a class, in squared distance of embeddings: {manifest.spread:.4g}"] if manifest.spread else []),
            f"- Classes: {', '.join(f'{count} {part}' for part, count in training.classes.items())}",
            f"- Weights: {manifest.weights.bytes:,} bytes, sha256 `{manifest.weights.sha256}`",
            "",
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
            "## Limits",
            "",
            "Choosing and stopping used the validation classes only, which are listed in manifest.json. It is a classifier of"
            " the kind of input it was trained on: it always answers with one of the session's labels, also for an input that is"
            " none of them, and no calibration step was applied to its scores.",
            "",
        ]
    )


def _takes(manifest: Manifest) -> str:
    if manifest.input.kind == "vector":
        return f"vectors of {manifest.input.length} numbers"
    recipe = manifest.input.preprocessing
    colour = "grey" if recipe.channels == 1 else "colour"
    what = f"drawings, cropped to their ink with a margin of {recipe.margin:.0%}" if recipe.kind == "drawing" else "photographs, whole"
    return f"{what}, {recipe.size} x {recipe.size}, {colour}"


def _row(row: EvaluationRow) -> str:
    accuracy = f"{100 * row.accuracy:.2f} ± {100 * row.ci95:.2f}"
    error = "" if row.calibration_error is None else f"{100 * row.calibration_error:.2f}"
    cells = (row.data, row.way, row.shot, row.scope, row.steps, accuracy, error, f"{row.episodes:,}", row.queries_per_class)
    return f"| {' | '.join(map(str, cells))} |"
