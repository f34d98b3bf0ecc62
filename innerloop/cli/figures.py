"""What a meta-model was measured at, a line a row."""

from collections.abc import Sequence

from innerloop.wire import ErrorRow, EvaluationRow


def figures(accuracies: Sequence[EvaluationRow], errors: Sequence[ErrorRow] = ()) -> str:
    """Accuracies or squared errors, each with the data that it was measured on where these are several."""
    told = [*((row.data, _accuracy(row)) for row in accuracies), *((row.data, _error(row)) for row in errors)]
    several = len({data for data, _ in told}) > 1
    return "\n".join(f"{figure} on {data}" if several else figure for data, figure in told)


def _accuracy(row: EvaluationRow) -> str:
    return f"{row.way}-way {row.shot}-shot {row.accuracy:.2%} ± {row.ci95:.2%}"


def _error(row: ErrorRow) -> str:
    return f"{row.shot} shots, {row.steps} steps: squared error {row.squared_error:.3f} ± {row.ci95:.3f}"
