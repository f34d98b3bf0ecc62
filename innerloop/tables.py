"""CSV files as tables: a header, then a row an input; a column `label` names its class, or a column `target` has its number.

The cells are parted by commas, semicolons or tabs, whichever the header has most of; by tabs in a `.tsv`.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innerloop.errors import UnusableInputError

LABEL_COLUMN, TARGET_COLUMN = "label", "target"

_SEPARATORS = ",;\t"


@dataclass(frozen=True, slots=True)
class Table:
    """What a file holds, row by row.

    Attributes:
        places: the file and line of each row, for errors.
        vectors: the numbers of each row, without its answer.
        answers: labels, or the numbers of a regression; None for a table without them.
    """

    places: tuple[str, ...]
    vectors: tuple[tuple[float, ...], ...]
    answers: tuple[str, ...] | tuple[float, ...] | None


def is_table(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") and not path.is_dir()


def read_table(path: Path) -> Table:
    """Read a file; empty lines are left out.

    Raises:
        UnusableInputError: it cannot be read, has no header, two columns of answers or no rows, or a cell is not what it should be.
    """
    lines = _lines(path)
    header, *rows = lines if lines else [(1, [])]
    columns = _columns(path, header[1])
    answering = [place for place, name in enumerate(columns) if name in (LABEL_COLUMN, TARGET_COLUMN)]
    if len(answering) > 1:
        raise UnusableInputError(
            f"{path}: expected one column {LABEL_COLUMN!r} or {TARGET_COLUMN!r}, got the columns {columns}; remove one"
        )
    if len(answering) == len(columns):
        raise UnusableInputError(f"{path}, line {header[0]}: expected columns of numbers beside {columns[0]!r}, got none; add them")
    if not rows:
        raise UnusableInputError(f"{path}: expected rows below the header, got none")
    places: list[str] = []
    vectors: list[tuple[float, ...]] = []
    answers: list[Any] = []
    for line, cells in rows:
        where = f"{path}, line {line}"
        if len(cells) != len(columns):
            raise UnusableInputError(f"{where}: expected {len(columns)} cells as the header has, got {len(cells)}")
        places.append(where)
        vectors.append(tuple(_number(cell, where, name) for cell, name in zip(cells, columns, strict=True) if name not in _ANSWERS))
        answers += [_ANSWERS[columns[place]](cells[place], where) for place in answering]
    return Table(tuple(places), tuple(vectors), tuple(answers) if answering else None)


def read_labelled(path: Path) -> tuple[Table, Sequence[str] | Sequence[float]]:
    """Read a file with labels or targets, and give these.

    Raises:
        UnusableInputError: as `read_table`, or it has neither.
    """
    table = read_table(path)
    if table.answers is None:
        raise UnusableInputError(
            f"{path}: expected a column {LABEL_COLUMN!r}, or {TARGET_COLUMN!r} of numbers, got neither; rename yours in the header"
        )
    return table, table.answers


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The cells of every line that has any, with its number."""
    try:
        # Excel writes a byte order mark; the csv module wants line ends as they are.
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = "\t" if path.suffix.lower() == ".tsv" else max(_SEPARATORS, key=first.count)
            reader = csv.reader(file, delimiter=separator, strict=True)
            return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableInputError(f"expected a CSV file at {path}: {getattr(error, 'strerror', None) or error}") from error


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    if not header or all(_is_number(cell) for cell in header):
        raise UnusableInputError(
            f"{path}: expected a header that names the columns in its first line, got {', '.join(header) or 'nothing'}"
        )
    return list(header)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _number(cell: str, where: str, column: str) -> float:
    if not _is_number(cell):
        raise UnusableInputError(f"{where}, column {column!r}: expected a number, got {cell!r}")
    return float(cell)


def _label(cell: str, where: str) -> str:
    if not cell:
        raise UnusableInputError(f"{where}, column {LABEL_COLUMN!r}: expected a label, got an empty cell")
    return cell


def _target(cell: str, where: str) -> float:
    if not _is_number(cell):
        raise UnusableInputError(
            f"{where}, column {TARGET_COLUMN!r}: expected a number, got {cell!r}; a column of classes is called {LABEL_COLUMN!r}"
        )
    return float(cell)


_ANSWERS = {LABEL_COLUMN: _label, TARGET_COLUMN: _target}
