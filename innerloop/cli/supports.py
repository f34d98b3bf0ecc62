"""Support sets named on the command line: class folders or a zip of them, and which file a refusal means."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from innerloop.class_folders import archive, folder
from innerloop.cli.terminal import fail
from innerloop.errors import ApiError
from innerloop.sets import is_archive

Files: TypeAlias = Mapping[str, Sequence[Path | bytes]]


def support_of(path: Path) -> Files:
    return archive(path) if is_archive(path) else folder(path)


def names(support: Files) -> list[str]:
    """One name for each example, in the order they are sent."""
    return [
        str(one) if isinstance(one, Path) else f"{label}, image {n}" for label, images in support.items() for n, one in enumerate(images, 1)
    ]


@contextmanager
def naming(support: Sequence[str] = (), *, queries: Sequence[str] = ()) -> Iterator[None]:
    """A refusal that points at an item by number, `support[7]`, names its file as well."""
    try:
        yield
    except ApiError as error:
        item = re.match(r"(support|queries)\D(\d+)", error.problem.field or "")
        named = {"support": support, "queries": queries}[item[1]] if item else ()
        if item is None or int(item[2]) >= len(named):
            raise
        fail(f"{named[int(item[2])]}: {error}")
