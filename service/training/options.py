"""The training configuration: a TOML file, checked in full before anything is loaded."""

import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, field_serializer, model_validator

from service.errors import BadConfigError
from service.inputs.preprocessing import Preprocessing
from service.learner.encoders.architectures import build
from service.learner.encoders.encoder import Encoder
from service.learner.encoders.torchvision_network import TorchvisionNetwork
from service.learner.heads import reads_support
from service.learner.meta_model import require_fitting
from service.learner.outer_rules import Displacement
from service.learner.presets import PRESETS, Preset
from service.learner.recipe import Recipe
from service.registry.manifest import NAME

RECIPE = TypeAdapter(Recipe)


class Options(BaseModel):
    """A frozen table of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, table: Any) -> Any:
        unknown = sorted(set(table) - set(cls.model_fields)) if isinstance(table, dict) else []
        if unknown:
            raise ValueError(f"no key {', '.join(map(repr, unknown))}; expected among {list(cls.model_fields)}")
        return table


class ImageData(Options):
    """What every source of pictures does to its training classes."""

    rotations: bool = Field(True, description="training classes turned by 90, 180 and 270 degrees are classes of their own")
    reflections: bool = Field(False, description="so are mirrored ones")
    oversample: int = Field(1, ge=1, le=8, description="keep training pictures at so many times the size until they are changed")

    @property
    def copies(self) -> int:
        """How many training classes are made of each one; the first of them is the class as it came."""
        return (4 if self.rotations else 1) * (2 if self.reflections else 1)


class OmniglotData(ImageData):
    """Omniglot from the folder given by --data-root."""

    source: Literal["omniglot"]
    split: Literal["background", "vinyals"] = "background"


class GlyphData(ImageData):
    """Invented characters, drawn on the spot; train, validation and test come from disjoint seeds."""

    source: Literal["glyphs"]
    classes: int = Field(400, ge=10)
    drawings: int = Field(20, ge=2)


class SinusoidData(Options):
    """Regression tasks: sine waves, drawn on the spot (Finn et al. 2017)."""

    source: Literal["sinusoid"]

    @property
    def copies(self) -> int:
        return 1


class TableData(Options):
    """Invented tables: rows of numbers in classes, drawn on the spot; train, validation and test come from disjoint seeds."""

    source: Literal["tables"]
    columns: tuple[int, int] = Field((2, 64), description="the closed range that a table's columns are drawn from")

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "TableData":
        if not 1 <= self.columns[0] <= self.columns[1]:
            raise ValueError(f"expected columns = [low, high] with 1 <= low <= high, got {list(self.columns)}")
        return self

    @property
    def copies(self) -> int:
        return 1


class FolderData(ImageData):
    """Your own images: a folder or zip of class folders, below --data-root where it is given; classes are split by their sorted order."""

    source: Literal["folder"]
    path: Path
    split: Path | None = Field(None, description="JSON file that names the classes of `train`, `val` and `test`, in place of the shares")
    leave_out: tuple[PurePosixPath, ...] = Field((), description="images that are not read, by their paths below `path`")
    validation_share: float = Field(0.15, gt=0, lt=0.5)
    test_share: float = Field(0.15, gt=0, lt=0.5)
    rotations: bool = False


class Pretraining(Options):
    """Plain classification of all training classes, before the first stage."""

    steps: int = Field(0, ge=0, description="batches; 0 leaves pretraining out")
    batch: int = Field(128, ge=2, description="images a step, each class as often")
    classifier: Literal["cosine", "linear"] = "cosine"
    smoothing: float = Field(0.0, ge=0, lt=1, description="share of each label that is spread over all classes")


class Stage(Options):
    """A stretch of meta-training with one kind of episode; ranges are closed and drawn from anew for every episode."""

    steps: int = Field(ge=1, description="meta-steps")
    way: tuple[int, int] = (20, 60)
    shot: tuple[int, int] = (1, 1)
    uneven: bool = False
    turns: bool = Field(False, description="every example of a class takes its turn as support")
    group: int = Field(0, ge=0, description="at most so many classes from one group, an alphabet say, then from the next; 0 mixes all")
    grouped: float = Field(1.0, ge=0, le=1, description="share of the episodes that `group` holds for; the others mix all")
    queries: int = Field(3, ge=1, description="queries per class")
    inner_steps: int = Field(0, ge=0)
    episodes: int = Field(1, ge=1, description="episodes per meta-step (the meta-batch)")
    pace: float = Field(1.0, gt=0, le=1, description="factor on the learning rate, which is the schedule's of the whole run")

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> "Stage":
        for name, (low, high), least in (("way", self.way, 2), ("shot", self.shot, 1)):
            if not least <= low <= high:
                raise ValueError(f"expected {name} = [low, high] with {least} <= low <= high, got {[low, high]}")
        if self.turns and (self.uneven or self.shot[0] != self.shot[1]):
            raise ValueError("turns need every class to have the same number of examples: one shot, and uneven = false")
        return self


class Augmentation(Options):
    """Random changes to every training image; all zero switches it off."""

    turn: float = Field(0.25, ge=0, description="radians, both ways")
    scale: float = Field(0.2, ge=0, description="logarithm of the factor, both ways")
    stretch: float = Field(0.15, ge=0, description="logarithm of the ratio of the axes, both ways")
    slant: float = Field(0.2, ge=0, description="shear, both ways")
    shift: float = Field(0.12, ge=0, description="share of half the picture, both ways")
    bend: float = Field(0.0, ge=0, description="how far a coarse grid laid over the picture is pulled about, share of half of it")
    stroke: float = Field(1.0, ge=0, le=1, description="how far strokes are thickened or thinned")
    flip: float = Field(0.0, ge=0, le=1, description="share of the pictures that are mirrored, and keep their class")
    light: float = Field(0.0, ge=0, description="logarithm of the factors on brightness, contrast and saturation, both ways")
    edge: Literal["paper", "mirror"] = Field("paper", description="what lies beyond the picture: paper (0), or the picture mirrored")


class Optimiser(Options):
    """How the meta-gradient is followed: with linear warm-up, then cosine to zero, and an average of the weights.

    `sgd` with `displacement` is Reptile's own outer step, θ + ε(φ − θ) with ε the learning rate (Nichol et al. 2018).
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(4e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all meta-steps")
    clip: float = Field(10.0, gt=0, description="largest norm of the meta-gradient")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights, reached as the run grows longer")


class Validation(Options):
    """How the run is judged while it goes on, on validation classes."""

    every: int = Field(500, ge=1, description="meta-steps")
    episodes: int = Field(400, ge=2)
    way: int = Field(20, ge=2)
    shot: int = Field(1, ge=1)
    queries: int = Field(5, ge=1)
    patience: int = Field(0, ge=0, description="stop after so many validations without a better one; 0 never stops early")


class Final(Options):
    """The evaluation table that goes into the manifest."""

    ways: tuple[Annotated[int, Field(ge=2)], ...] = Field((5, 20), min_length=1)
    shots: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 5), min_length=1)
    episodes: int = Field(10_000, ge=2)
    queries: int = Field(5, ge=1)
    rotations: bool = Field(False, description="judge a second time with test classes turned by 90, 180 and 270 degrees among them")


class CalibrationOptions(Options):
    """The kinds of task that the scores are calibrated for, on validation classes, as far as those go."""

    ways: tuple[Annotated[int, Field(ge=2)], ...] = Field((2, 5, 20, 50, 100), min_length=1)
    shots: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 5, 10), min_length=1)
    queries: int = Field(20_000, ge=1, description="answers that each temperature is fitted on, at least")


class TrainOptions(Options):
    """The whole file."""

    name: Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
    preset: str = "proto-anil"
    seed: int = Field(0, ge=0)
    threads: int = Field(2, ge=1, description="torch threads; part of what makes a run repeatable")
    data: Annotated[OmniglotData | GlyphData | FolderData | SinusoidData | TableData, Field(discriminator="source")]
    encoder: dict[str, Any]
    recipe: dict[str, Any] = Field(default_factory=dict, description="what differs from the preset's recipe")
    preprocessing: Preprocessing = Preprocessing()
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the encoder's products while training")
    pretraining: Pretraining = Pretraining()
    stages: tuple[Stage, ...] = ()
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser = Optimiser()
    validation: Validation = Validation()
    calibration: CalibrationOptions = CalibrationOptions()
    final: Final = Final()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "TrainOptions":
        if self.preset not in PRESETS:
            raise ValueError(f"expected a preset among {sorted(PRESETS)}, got {self.preset!r}")
        encoder, recipe = self.build_encoder(), self.build_recipe()
        if not self.stages and not (self.pretraining.steps and recipe.head == "prototype" and recipe.steps_max == 0):
            raise ValueError("expected one [[stages]] table at least; only preset = 'protonet' does without, given steps in [pretraining]")
        require_fitting(encoder, recipe)
        self.algorithm.outer_rule.require_fitting(recipe)
        if recipe.head == "per_class" and not self._only_way(recipe.way):
            raise ValueError(
                f"a per_class head serves {recipe.way} classes only; set way = [{recipe.way}, {recipe.way}] in every stage,"
                f" way = {recipe.way} in [validation], and have {recipe.way} among ways in [final]"
            )
        if "weights" in self.encoder and not (isinstance(self.encoder["weights"], str) and isinstance(encoder, TorchvisionNetwork)):
            raise ValueError(f"[encoder] weights names a file for a torchvision:<network> encoder, got {self.encoder['weights']!r}")
        self._require_fitting_data(encoder, recipe)
        if recipe.moves_body and self.precision != "float32":
            raise ValueError(
                f"precision = 'bfloat16' leaves the gradients that move a body too far off; expected float32 with scope {recipe.scope!r}"
            )
        for number, stage in enumerate(self.stages, start=1):
            self._require_fitting_steps(stage, recipe, place=f"[[stages]] {number}")
        return self

    def _require_fitting_steps(self, stage: Stage, recipe: Recipe, *, place: str) -> None:
        if stage.inner_steps > recipe.steps_max:
            raise ValueError(f"{place} has inner_steps = {stage.inner_steps}, of which the recipe allows {recipe.steps_max} at most")
        idle = not reads_support(recipe) or isinstance(self.algorithm.outer_rule, Displacement)
        if idle and not stage.inner_steps:
            raise ValueError(
                f"{place} has no inner step, without which a {recipe.head} head learns nothing of its task under preset {self.preset!r};"
                f" set inner_steps, {recipe.steps_default} as when serving, say"
            )

    def _require_fitting_data(self, encoder: Encoder, recipe: Recipe) -> None:
        regression = isinstance(self.data, SinusoidData)
        if recipe.regression != regression:
            raise ValueError(
                f"[data] {self.data.source} is {'a regression' if regression else 'of classes'}, which takes"
                f" {'' if regression else 'any but '}[recipe] head = 'output', got {recipe.head!r}"
            )
        if not isinstance(self.data, ImageData) and (self.pretraining.steps or self.precision != "float32"):
            raise ValueError(f"[pretraining] and precision = 'bfloat16' are for pictures in classes; leave them out for {self.data.source}")
        if isinstance(self.data, TableData):
            _require_room(self.data, encoder)
            return
        pictures = (self.preprocessing.channels, self.preprocessing.size, self.preprocessing.size)
        wanted: tuple[int, ...] = (1,) if regression else pictures
        if encoder.input_shape != wanted:
            said = "[data] sinusoid" if regression else "[preprocessing]"
            raise ValueError(f"{said} gives inputs of shape {wanted}, but [encoder] takes {encoder.input_shape}")

    def _only_way(self, way: int | None) -> bool:
        return all(set(stage.way) == {way} for stage in self.stages) and self.validation.way == way and way in self.final.ways

    @field_serializer("encoder")
    def _without_path(self, encoder: dict[str, Any]) -> dict[str, Any]:
        """Where a file lay is no part of what was trained: manifest and checkpoint hold its digest."""
        return {name: value for name, value in encoder.items() if name != "weights"}

    @property
    def algorithm(self) -> Preset:
        return PRESETS[self.preset]

    @property
    def meta_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @property
    def steps(self) -> int:
        """Steps of the whole run: pretraining, then meta-steps."""
        return self.pretraining.steps + self.meta_steps

    def build_encoder(self) -> Encoder:
        """Make the encoder; raises ValueError."""
        options = {name: value for name, value in self.encoder.items() if name != "weights"}
        return build(str(options.pop("kind", "conv4")), options)

    @property
    def weights(self) -> Path | None:
        """The file of pretrained weights that the encoder starts from."""
        return Path(self.encoder["weights"]) if "weights" in self.encoder else None

    def build_recipe(self) -> Recipe:
        """Give the preset's recipe with this file's changes; raises ValueError."""
        return _changed(self.algorithm.recipe, self.recipe)

    def stage_at(self, step: int) -> Stage:
        """Give the stage that a step of the run belongs to, counted from 0, once pretraining is over."""
        step -= self.pretraining.steps
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise ValueError("the step lies beyond the last stage")


def _require_room(data: TableData, encoder: Encoder) -> None:
    if len(encoder.input_shape) != 1 or encoder.input_shape[0] < data.columns[1]:
        raise ValueError(
            f"[data] tables gives vectors of up to {data.columns[1]} numbers, but [encoder] takes {encoder.input_shape};"
            " use kind = 'identity', as wide or wider"
        )


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    accepted = Recipe.__slots__
    unknown = sorted(set(changes) - set(accepted))
    if unknown:
        raise ValueError(f"[recipe] has no key {', '.join(unknown)}; expected among {list(accepted)}")
    try:
        return RECIPE.validate_python({**{name: getattr(recipe, name) for name in accepted}, **changes})
    except ValidationError as error:
        raise ValueError(f"[recipe] {mistakes(error)}") from None


def read_options(path: Path) -> TrainOptions:
    """Read and check a configuration.

    Raises:
        BadConfigError: not readable, not TOML, an unknown key, or values that do not go together.
    """
    return options_of(read_table(path), place=str(path))


def read_table(path: Path) -> dict[str, Any]:
    """Read a configuration as it stands, unchecked.

    Raises:
        BadConfigError: not readable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfigError(f"{path}: the configuration cannot be read ({error.strerror}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfigError(f"{path}: not TOML: {error}") from error


def options_of(table: Mapping[str, Any], *, place: str) -> TrainOptions:
    """Check a configuration, which errors call by its place.

    Raises:
        BadConfigError: an unknown key, or values that do not go together.
    """
    try:
        return TrainOptions.model_validate(table)
    except ValidationError as error:
        raise BadConfigError(f"{place}: {mistakes(error)}") from error


def mistakes(error: ValidationError) -> str:
    """Say where each mistake is, and what is wrong with it; one about the whole table has no place of its own."""
    mistakes = []
    for each in error.errors(include_url=False):
        place, what = ".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")
        mistakes.append(f"{place}: {what}" if place else what)
    return "; ".join(mistakes)
