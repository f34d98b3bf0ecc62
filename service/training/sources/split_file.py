"""A split file: JSON that says which classes train, validate and test."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import BadDataError
from service.learner.episodes import ClassInputs

Names = Annotated[tuple[str, ...], Field(min_length=2)]


class SplitFile(BaseModel):
    """The names of the classes of each part; a class in none of them is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: str = ""
    train: Names
    val: Names
    test: Names

    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Give the names by part, as the trainer calls them."""
        return {"train": self.train, "validation": self.val, "test": self.test}


def read_split(path: Path) -> SplitFile:
    """Read and check a split file.

    Raises:
        BadDataError: not readable, not of the form above, or a class that is named twice.
    """
    try:
        split = SplitFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadDataError(f"{path}: the split file cannot be read ({error.strerror}); check the path") from error
    except (ValueError, ValidationError) as error:
        what = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, what["loc"])) or "the whole file"
        raise BadDataError(f"{path}: {place}: {what['msg']}; expected JSON with lists of class names, `train`, `val` and `test`") from error
    names = [name for part in split.parts().values() for name in part]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadDataError(f"{path}: expected every class in one part only, got {twice!r} twice; remove one")
    return split


def split_by(path: Path, classes: ClassInputs) -> dict[str, ClassInputs]:
    """Give the classes by part, as a split file says.

    Raises:
        BadDataError: as for `read_split`, or a class of it that is not there.
    """
    places = {name: index for index, name in enumerate(classes.names)}
    parts = read_split(path).parts()
    absent = sorted(name for part in parts.values() for name in part if name not in places)
    if absent:
        raise BadDataError(f"{path}: expected the images of every class it names, found none of {', '.join(map(repr, absent))}; correct the names")
    return {part: classes.only([places[name] for name in names]) for part, names in parts.items()}
