"""Support and query sets, whatever they come as, input by input: mappings, pairs, tables, folders, zips, CSV files.

A pandas DataFrame is known by its methods; pandas is not imported.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

from innerloop.class_folders import archive, folder, images, packed_images
from innerloop.errors import UnusableInputError
from innerloop.inputs import Fields, Input, to_wire
from innerloop.tables import LABEL_COLUMN, TARGET_COLUMN, is_table, read_labelled, read_table

_MEND_ROW = "fill it in, or leave the row out"


@runtime_checkable
class Frame(Protocol):
    """A pandas DataFrame: each row is a vector."""

    @property
    def columns(self) -> Any: ...

    def itertuples(self, index: bool, name: None) -> Iterable[tuple[Any, ...]]: ...


PathLike: TypeAlias = str | os.PathLike[str]
Inputs: TypeAlias = Iterable[Input] | Frame
Queries: TypeAlias = Inputs | PathLike
Answers: TypeAlias = Iterable[str] | Iterable[float] | Iterable[Sequence[float]]
Support: TypeAlias = Mapping[str, Inputs] | tuple[Inputs, Answers] | Frame | PathLike


@dataclass(frozen=True, slots=True)
class Item:
    """One input of a set, not yet read.

    Attributes:
        where: its place, for errors.
        answer: of an example: its label, or the numbers that a regression should predict.
    """

    where: str
    value: Input
    answer: str | tuple[float, ...] | None = None

    def fields(self) -> Fields:
        """The input as a wire query or example.

        Raises:
            UnusableInputError: it cannot be sent.
        """
        try:
            sent = to_wire(self.value)
        except UnusableInputError as error:
            raise UnusableInputError(f"{self.where}: {error}") from error
        if self.answer is None:
            return sent
        return {**sent, "label": self.answer} if isinstance(self.answer, str) else {**sent, "target": self.answer}


def examples(support: Support) -> list[Item]:
    """The examples of a support set, in the order given; class by class where it is ordered by classes.

    A mapping is label → inputs, a pair is inputs and their labels, or the numbers of a regression, a DataFrame has a column `label`,
    whatever its values are, or `target`, as a CSV file has, a path leads to class folders, to a zip of them, or to a CSV file.

    Raises:
        UnusableInputError: nothing of this kind, a class without examples, labels that are neither text nor numbers, or not as many.
    """
    if isinstance(support, (str, os.PathLike)) and is_table(Path(support)):
        return _from_table(Path(support))
    if isinstance(support, (str, os.PathLike)):
        return _by_class(_class_folders(Path(support)))
    if isinstance(support, Mapping):
        return _by_class(support)
    if isinstance(support, Frame):
        return _from_frame(support)
    if _is_pair(support):
        return _paired(list(several(support[0], "support[0]")), list(several(support[1], "support[1]")))
    raise UnusableInputError(
        "expected a support set as a mapping of labels to inputs, a pair of inputs and labels, a DataFrame with a column "
        f"{LABEL_COLUMN!r}, or the path of class folders or of a CSV file, got {type(support).__name__}"
    )


def queries(given: Queries) -> Iterable[Item]:
    """The queries one by one, in the order given; a path leads to a folder of images, a zip of them, or a CSV file.

    Raises:
        UnusableInputError: not a list.
    """
    if isinstance(given, (str, os.PathLike)) and is_table(Path(given)):
        table = read_table(Path(given))
        return map(Item, table.places, table.vectors)
    values = _images(Path(given)) if isinstance(given, (str, os.PathLike)) else several(given, "queries")
    return (Item(f"queries[{n}]", value) for n, value in enumerate(values))


def several(values: Any, where: str) -> Iterable[Any]:
    """The values of a list, or the rows of a DataFrame.

    Raises:
        UnusableInputError: it is one value.
    """
    if isinstance(values, Frame):
        return values.itertuples(index=False, name=None)
    if isinstance(values, (str, os.PathLike, bytes, bytearray, memoryview)) or not isinstance(values, Iterable):
        raise UnusableInputError(f"{where}: expected a list of inputs, got one {type(values).__name__}; put it in a list")
    return values


def _is_pair(support: object) -> TypeGuard[tuple[Inputs, Answers]]:
    return isinstance(support, tuple) and len(support) == 2


def _by_class(support: Mapping[str, Inputs]) -> list[Item]:
    return [item for label, inputs in support.items() for item in _of_class(label, inputs)]


def _of_class(label: str, inputs: Inputs) -> list[Item]:
    where = f"support[{label!r}]"
    found = [Item(f"{where}[{n}]", value, _text(label, where)) for n, value in enumerate(several(inputs, where))]
    if not found:
        raise UnusableInputError(f"{where} has no examples; give at least one, or leave the class out")
    return found


def _paired(inputs: Sequence[Input], answers: Sequence[Any]) -> list[Item]:
    if len(inputs) != len(answers):
        raise UnusableInputError(f"expected a label for each of {len(inputs):,} inputs, got {len(answers):,} labels")
    return [
        Item(f"support[{n}]", value, _answer(known, f"support[{n}]")) for n, (value, known) in enumerate(zip(inputs, answers, strict=True))
    ]


def _answer(known: Any, where: str) -> str | tuple[float, ...]:
    """A label as it is, a number or a list of numbers as a tuple of them."""
    if isinstance(known, str):
        return str(known)
    numbers = _several_numbers(known)
    if not all(isinstance(number, Real) and not isinstance(number, bool) for number in numbers):
        raise UnusableInputError(f"{where}: expected a label of text, or numbers to predict, got {known!r}; str() makes it a label")
    return _finite(numbers, known, where)


def _several_numbers(known: Any) -> Sequence[Any]:
    return list(known) if isinstance(known, Iterable) and not isinstance(known, (str, bytes)) else [known]


def _finite(numbers: Sequence[Any], known: Any, where: str) -> tuple[float, ...]:
    if not all(math.isfinite(number) for number in numbers):
        raise UnusableInputError(f"{where}: expected finite numbers to predict, got {known!r}; {_MEND_ROW}")
    return tuple(float(number) for number in numbers)


def _label_in(cell: Any, where: str) -> str:
    """A cell of a column `label` as text; pandas makes whole numbers floats where one is missing."""
    if _is_missing(cell):
        raise UnusableInputError(f"{where}, column {LABEL_COLUMN!r}: expected a label, got {cell!r}; {_MEND_ROW}")
    whole = isinstance(cell, Real) and not isinstance(cell, Integral) and float(cell).is_integer()
    return str(int(cell)) if whole else str(cell)


def _target_in(cell: Any, where: str) -> tuple[float, ...]:
    numbers = _several_numbers(cell)
    if not all(isinstance(number, Real) and not isinstance(number, bool) for number in numbers):
        wanted = _MEND_ROW if _is_missing(cell) else f"a column of classes is called {LABEL_COLUMN!r}"
        raise UnusableInputError(f"{where}, column {TARGET_COLUMN!r}: expected numbers to predict, got {cell!r}; {wanted}")
    return _finite(numbers, cell, f"{where}, column {TARGET_COLUMN!r}")


def _is_missing(cell: Any) -> bool:
    """None, NaN, NaT or pandas.NA, which is no value even when it is compared with itself."""
    try:
        return cell is None or bool(cell != cell)
    except (TypeError, ValueError):
        return True


def _from_frame(frame: Frame) -> list[Item]:
    columns = list(frame.columns)
    known = [place for place, name in enumerate(columns) if name in (LABEL_COLUMN, TARGET_COLUMN)]
    if len(known) != 1:
        raise UnusableInputError(
            f"expected one column {LABEL_COLUMN!r} in the support set, or {TARGET_COLUMN!r} of numbers, got the columns {columns}; "
            "rename yours, or give the pair (table without it, labels)"
        )
    (place,) = known
    read: Callable[[Any, str], str | tuple[float, ...]] = _label_in if columns[place] == LABEL_COLUMN else _target_in
    rows = enumerate(frame.itertuples(index=False, name=None))
    return [
        Item(f"support[{n}]", row[:place] + row[place + 1 :], read(row[place], f"support[{n}], row {n} counted from 0")) for n, row in rows
    ]


def _from_table(path: Path) -> list[Item]:
    table, answers = read_labelled(path)
    return [Item(where, vector, _answer(known, where)) for where, vector, known in zip(table.places, table.vectors, answers, strict=True)]


def _text(label: object, where: str) -> str:
    if not isinstance(label, str):
        raise UnusableInputError(f"{where}: expected a label of text, got {label!r}; str() makes it one")
    return str(label)


def _class_folders(path: Path) -> Mapping[str, Sequence[Path | bytes]]:
    return archive(path) if is_archive(path) else folder(path)


def _images(path: Path) -> Sequence[Path | bytes]:
    return packed_images(path) if is_archive(path) else images(path)


def is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()
