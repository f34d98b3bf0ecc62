"""From a configuration to classes to train, validate and test on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from service.errors import BadConfigError, BadDataError
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs
from service.training.options import FolderData, GlyphData, OmniglotData, SinusoidData, TableData, TrainOptions
from service.training.sources.class_folders import class_folders
from service.training.sources.glyphs import glyphs
from service.training.sources.omniglot import omniglot
from service.training.sources.sinusoid import Sinusoids
from service.training.sources.split_file import read_split, spread
from service.training.sources.tables import Tables
from service.training.tasks import Tasks

SEEDS = {"train": 0, "validation": 1, "test": 2}
GLYPH_HELD_OUT_CLASSES = 150


def load_tasks(options: TrainOptions, *, data_root: Path | None, download: bool = False) -> Mapping[str, Tasks]:
    """Load what a configuration trains, validates and is judged on; the errors are those of `load_data`."""
    if isinstance(options.data, SinusoidData):
        return dict.fromkeys(SEEDS, Sinusoids())
    if isinstance(options.data, TableData):
        (width,) = options.build_encoder().input_shape
        return {part: Tables(width, options.data.columns, seed) for part, seed in SEEDS.items()}
    return load_classes(options, data_root=data_root, download=download)


def load_classes(options: TrainOptions, *, data_root: Path | None, download: bool = False) -> Mapping[str, ClassInputs]:
    """Load the classes of a configuration; the errors are those of `load_data`, and BadConfigError for tasks that have none."""
    if isinstance(options.data, SinusoidData | TableData):
        raise BadConfigError(f"expected data of classes, got a configuration of {options.data.source} tasks")
    return load_data(options.data, options.preprocessing, data_root=data_root, download=download)


def load_data(
    data: OmniglotData | GlyphData | FolderData, preprocessing: Preprocessing, *, data_root: Path | None, download: bool = False
) -> Mapping[str, ClassInputs]:
    """Load `train`, `validation` and `test` classes; training classes rotated, mirrored and larger when the configuration says so.

    Raises:
        BadDataError: missing, damaged or too few images.
        BadConfigError: Omniglot without a folder to read it from.
    """
    parts = dict(_parts(data, preprocessing, data_root=data_root, download=download))
    if data.oversample > 1:
        large = replace(preprocessing, size=data.oversample * preprocessing.size)
        parts["train"] = _parts(data, large, data_root=data_root, download=False)["train"]
    if data.rotations:
        parts["train"] = parts["train"].with_rotations()
    if data.reflections:
        parts["train"] = parts["train"].with_reflections()
    return parts


def _parts(
    data: OmniglotData | GlyphData | FolderData, preprocessing: Preprocessing, *, data_root: Path | None, download: bool
) -> Mapping[str, ClassInputs]:
    if isinstance(data, OmniglotData):
        if data_root is None:
            raise BadConfigError("Omniglot is read from a folder; name it with --data-root, and add --download to fetch it there")
        return omniglot(data_root, preprocessing, split=data.split, download=download)
    if isinstance(data, GlyphData):
        sizes = {"train": data.classes, "validation": GLYPH_HELD_OUT_CLASSES, "test": GLYPH_HELD_OUT_CLASSES}
        return {part: glyphs(sizes[part], data.drawings, preprocessing, seed=seed) for part, seed in SEEDS.items()}
    return _folder_parts(data, preprocessing, data_root or Path())


def _folder_parts(data: FolderData, preprocessing: Preprocessing, root: Path) -> dict[str, ClassInputs]:
    split = None if data.split is None else read_split(root / data.split)
    only = None if split is None else split.classes()
    classes = class_folders(root / data.path, preprocessing, at_least=2, only=only, leave_out=data.leave_out)
    split = split or spread(classes.names, validation_share=data.validation_share, test_share=data.test_share)
    places = {name: index for index, name in enumerate(classes.names)}
    absent = sorted(split.classes() - set(places))
    if absent:
        raise BadDataError(f"{root / data.path}: expected images of every class of {data.split}, found none of {', '.join(absent)}")
    return {part: classes.only([places[name] for name in names]) for part, names in split.parts().items()}
