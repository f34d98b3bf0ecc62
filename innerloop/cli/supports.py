"""Sets named on the command line: class folders, zips, images, CSV files; and which file or line a refusal means."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from innerloop.class_folders import archive, folder, images, packed_images
from innerloop.cli.progress import reading_support
from innerloop.cli.terminal import fail
from innerloop.errors import ApiError, WrongInputKindError
from innerloop.inputs import Input
from innerloop.sets import Answers, Support, is_archive
from innerloop.tables import is_table, read_labelled, read_table

Files: TypeAlias = Mapping[str, Sequence[Path | bytes]]


@dataclass(frozen=True, slots=True)
class Given:
    """A support set and a name for each of its examples, in the order they are sent.

    Attributes:
        regression: they have numbers to predict.
        table: the file that all are rows of, if there is one.
    """

    support: Files | tuple[Sequence[Sequence[float]], Answers]
    names: Sequence[str]
    regression: bool = False
    table: Path | None = None

    @contextmanager
    def sending(self) -> Iterator[Support]:
        """The support set, with a bar for its files, which are read as they are sent; rows of a table are read already."""
        if isinstance(self.support, tuple):
            yield self.support
        else:
            with reading_support(self.support) as watched:
                yield watched


@dataclass(frozen=True, slots=True)
class Asked:
    """Queries and a name for each."""

    inputs: Sequence[Input]
    names: Sequence[str]


def support_of(path: Path) -> Given:
    if is_table(path):
        table, answers = read_labelled(path)
        return Given((table.vectors, answers), table.places, regression=not isinstance(answers[0], str), table=path)
    files: Files = archive(path) if is_archive(path) else folder(path)
    return Given(files, _names(files))


def queries_of(paths: Sequence[Path]) -> Asked:
    """The files named, those in the folders and zips named, and the rows of the CSV files named."""
    inputs: list[Input] = []
    names: list[str] = []
    for path in paths:
        if is_table(path):
            table = read_table(path)
            inputs += table.vectors
            names += table.places
        elif is_archive(path):
            packed = packed_images(path)
            inputs += packed
            names += (f"{path}, image {n}" for n in range(1, len(packed) + 1))
        else:
            files = images(path) if path.is_dir() else [path]
            inputs += files
            names += map(str, files)
    return Asked(inputs, names)


def _names(support: Files) -> list[str]:
    return [
        str(one) if isinstance(one, Path) else f"{label}, image {n}" for label, images in support.items() for n, one in enumerate(images, 1)
    ]


_NOTHING = Given({}, ())


@contextmanager
def naming(given: Given = _NOTHING, *, queries: Sequence[str] = (), by_default: bool = False) -> Iterator[None]:
    """A refusal that points at an item by number, `support[7]`, names its file as well, and one of a whole table that table.

    With `by_default`, nobody named the meta-model: when a table is no kind of input for it, the refusal says how to name another.
    """
    try:
        yield
    except ApiError as error:
        item = re.match(r"(support|queries)\D(\d+)", error.problem.field or "")
        named = {"support": given.names, "queries": queries}[item[1]] if item else ()
        if by_default and given.table is not None and isinstance(error, WrongInputKindError) and item and item[1] == "support":
            fail(f"{given.table}: the server's default meta-model takes images, not rows; name one that takes them, as in --model vectors")
        if item is None and error.problem.field == "support" and given.table is not None:
            fail(f"{given.table}: {error}")
        if item is None or int(item[2]) >= len(named):
            raise
        fail(f"{named[int(item[2])]}: {error}")
