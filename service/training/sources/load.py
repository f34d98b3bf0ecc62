"""From a configuration to classes to train, validate and test on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from service.errors import BadConfigError
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs
from service.training.options import FolderData, GlyphData, OmniglotData
from service.training.sources.class_folders import class_folders
from service.training.sources.glyphs import glyphs
from service.training.sources.omniglot import omniglot
from service.training.sources.split_file import split_by

GLYPH_SEEDS = {"train": 0, "validation": 1, "test": 2}
GLYPH_HELD_OUT_CLASSES = 150


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
        return {part: glyphs(sizes[part], data.drawings, preprocessing, seed=seed) for part, seed in GLYPH_SEEDS.items()}
    return _folder_parts(data, preprocessing, data_root or Path())


def _folder_parts(data: FolderData, preprocessing: Preprocessing, root: Path) -> dict[str, ClassInputs]:
    classes = class_folders(root / data.path, preprocessing, at_least=2)
    return split_by(root / data.split, classes) if data.split else _spread(data, classes)


def _spread(data: FolderData, classes: ClassInputs) -> dict[str, ClassInputs]:
    test, validation = (max(2, round(len(classes) * share)) for share in (data.test_share, data.validation_share))
    train = len(classes) - test - validation
    if train < 2:
        raise BadConfigError(f"{data.path}: expected at least 6 classes to split into train, validation and test, got {len(classes)}")
    # Spread over the sorted names, because neighbours in an alphabet look alike.
    order = sorted(range(len(classes)), key=lambda index: (index * 0.618034) % 1)
    chosen = {"train": order[:train], "validation": order[train : train + validation], "test": order[train + validation :]}
    return {part: classes.only(sorted(indices)) for part, indices in chosen.items()}
