"""Which classes train, validate and test: as a JSON file says, or spread over their sorted names."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import BadDataError

Names = Annotated[tuple[str, ...], Field(min_length=2)]


class SplitFile(BaseModel):
    """The names of the classes of each part; a class in none of them is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: str = ""
    train: Names
    val: Names
    test: Names

    def classes(self) -> frozenset[str]:
        """Give the names of all parts."""
        return frozenset((*self.train, *self.val, *self.test))

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


def spread(names: Sequence[str], *, validation_share: float, test_share: float) -> SplitFile:
    """Split classes, of which there are six at least, two or more to each part; the same every time.

    Raises:
        BadDataError: fewer classes.
    """
    test, validation = (max(2, round(len(names) * share)) for share in (test_share, validation_share))
    train = len(names) - test - validation
    if train < 2:
        raise BadDataError(f"expected at least 6 classes to split into train, validation and test, got {len(names)}; add classes")
    # Spread over the sorted names, because neighbours in an alphabet look alike.
    order = sorted(range(len(names)), key=lambda index: (index * 0.618034) % 1)
    first, second, third = (
        tuple(names[index] for index in sorted(part))
        for part in (order[:train], order[train : train + validation], order[train + validation :])
    )
    return SplitFile(train=first, val=second, test=third)
