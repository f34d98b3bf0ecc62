"""What a search may change: the table `[search]` of a configuration."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, ValidationError, model_validator

from service.errors import BadConfigError
from service.training.options import Options, TrainOptions, mistakes, options_of, read_table

# The data are loaded once, and trials must be judged alike: the other parts of a configuration are the same for all of them.
SEARCHED = ("preset", "precision", "seed", "encoder", "recipe", "stages", "augmentation", "optimiser")

# So many combinations of extremes are tried before the first trial.
MOST_COMBINATIONS = 4096


class Range(Options):
    """Numbers from `low` to `high`, both among them; whole ones where both are whole. With `log` every factor is as likely."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"expected low < high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"expected a positive low, because log = true, got {self.low}")
        return self

    @property
    def distribution(self) -> BaseDistribution:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(float(self.low), float(self.high), log=self.log)

    @property
    def extremes(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def value(self, drawn: Any) -> Any:
        """Give what stands in the configuration for what was drawn."""
        return drawn


class Choices(Options):
    """Any of some values, lists and strings too."""

    choices: tuple[Any, ...] = Field(min_length=1)

    @property
    def distribution(self) -> BaseDistribution:
        # As JSON, because a study knows no lists.
        return CategoricalDistribution([json.dumps(each) for each in self.choices])

    @property
    def extremes(self) -> tuple[Any, ...]:
        return self.choices

    def value(self, drawn: Any) -> Any:
        """Give what stands in the configuration for what was drawn."""
        return json.loads(drawn)


Dimension = Range | Choices


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A configuration, and what may differ from it: dimensions by the dotted key that each changes.

    Attributes:
        place: what errors call it.
        base: the configuration without its table `[search]`.
        dimensions: what may be drawn for each key.
    """

    place: str
    base: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Give what a study draws from, by key."""
        return {key: dimension.distribution for key, dimension in self.dimensions.items()}

    @property
    def options(self) -> TrainOptions:
        """The configuration itself, which has the data and the way of judging of every trial."""
        return options_of(self.base, place=self.place)

    def values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Give what stands in the configuration for what a study drew."""
        return {key: dimension.value(drawn[key]) for key, dimension in self.dimensions.items()}

    def table(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give the configuration with other values, by key."""
        table = deepcopy(dict(self.base))
        for key, value in values.items():
            _put(table, key.split("."), value, key=f"{self.place}: search.{key}")
        return table

    def options_with(self, values: Mapping[str, Any]) -> TrainOptions:
        """Check the configuration with other values; raises BadConfigError, which names them."""
        named = ", ".join(f"{key} = {value!r}" for key, value in values.items())
        return options_of(self.table(values), place=f"{self.place}: with {named} from [search]")

    def extremes(self) -> Iterator[TrainOptions]:
        """Check each key by itself, then the combinations of choices and ends of ranges; raises as `options_with` does."""
        keys = list(self.dimensions)
        for key in keys:
            _check_unknown(self, key)
        for values in islice(product(*(self.dimensions[key].extremes for key in keys)), MOST_COMBINATIONS):
            yield self.options_with(dict(zip(keys, values, strict=True)))


def read_search_space(path: Path) -> SearchSpace:
    """Read a configuration with its table `[search]`, and check all that it may come to.

    Raises:
        BadConfigError: there is none, a key that cannot be searched, or values that do not go together.
    """
    table = read_table(path)
    searched = table.pop("search", None)
    if not isinstance(searched, dict) or not searched:
        raise BadConfigError(
            f'{path}: expected a table [search], such as "optimiser.learning_rate" = {{ low = 1e-4, high = 1e-2, log = true }}; got none'
        )
    space = SearchSpace(str(path), table, dict(_dimensions(searched, (), path)))
    for _ in space.extremes():
        pass
    return space


def _dimensions(table: Mapping[str, Any], place: Sequence[str], path: Path) -> Iterator[tuple[str, Dimension]]:
    """Give every dimension by its dotted key, whether that was written with quotes or as tables in tables."""
    for name, value in table.items():
        key = ".".join((*place, name))
        if not isinstance(value, dict):
            raise BadConfigError(f"{path}: search.{key}: expected {{ low, high, log }} or {{ choices }}, got {value!r}")
        if value.keys() & {"low", "high", "log", "choices"}:
            yield key, _dimension(key, value, path)
        else:
            yield from _dimensions(value, (*place, name), path)


def _dimension(key: str, value: Mapping[str, Any], path: Path) -> Dimension:
    first = key.partition(".")[0]
    if first not in SEARCHED:
        raise BadConfigError(f"{path}: search.{key}: expected a key of {', '.join(SEARCHED)}; the rest is the same for every trial")
    try:
        return (Choices if "choices" in value else Range).model_validate(value)
    except ValidationError as error:
        raise BadConfigError(f"{path}: search.{key}: {mistakes(error)}") from error


def _check_unknown(space: SearchSpace, key: str) -> None:
    """Refuse a key that the configuration does not have, whatever its value; what goes together is checked afterwards."""
    for value in space.dimensions[key].extremes:
        space.table({key: value})


def _put(table: dict[str, Any], places: Sequence[str], value: Any, *, key: str) -> None:
    """Set a value in tables and lists of tables; the table is the caller's own copy."""
    here: Any = table
    for place in places[:-1]:
        here = here[_index(here, place, key)] if isinstance(here, list) else here.setdefault(place, {})
        if not isinstance(here, dict | list):
            raise BadConfigError(f"{key}: expected a table at {place!r}, got {here!r}")
    here[_index(here, places[-1], key) if isinstance(here, list) else places[-1]] = value


def _index(here: Sequence[Any], place: str, key: str) -> int:
    if not place.isdigit() or int(place) >= len(here):
        raise BadConfigError(f"{key}: expected a number from 0 to {len(here) - 1} of a table in the list, got {place!r}")
    return int(place)
