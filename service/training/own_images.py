"""A configuration for someone's own images, chosen from the images: written out, so that it can be read, changed and used again."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from service.errors import BadConfigError, BadDataError
from service.registry.manifest import NAME
from service.training.sources.split_file import SplitFile, spread
from service.training.sources.survey import Survey

CONFIG, SPLIT = "config.toml", "splits.json"

SHARE = 0.15

FEWEST_CLASSES = 6

# So many images of a class are wanted, or as many as four fifths of the classes have.
WANTED_IMAGES = (8, 6, 4, 3, 2)
CLASSES_KEPT = 0.8

# Training on fewer classes, turned ones are counted as classes of their own.
FEW_TRAIN_CLASSES = 20

SMALLEST, LARGEST, LARGEST_UNASKED = 28, 224, 84
DRAWING = 32

EPOCHS, BATCH = 30, 64
FEWEST_STEPS, MOST_STEPS = 300, 3000
MOST_THREADS = 8

# What the preset starts from overshoots while embeddings of one length are not yet apart, as after a short run.
STEP_SIZE = 5


DRAWING_CHANGES = """\
[augmentation]
bend = 0.05
"""

PHOTO_CHANGES = """\
[augmentation]
turn = 0.15
slant = 0.1
stroke = 0
flip = 0.5
light = 0.3
edge = "mirror"
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says instead of leaving it to the images; None leaves it to them."""

    name: str | None = None
    size: int | None = None
    colour: bool | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is chosen.

    Attributes:
        odd: images that are not read: damaged ones, and those in no class folder.
        left_out: classes with too few images, and how many they have.
        at_least: images that every other class has.
    """

    name: str
    path: Path
    split: SplitFile
    odd: tuple[PurePosixPath, ...]
    left_out: tuple[tuple[str, int], ...]
    at_least: int
    drawings: bool
    colour: bool
    size: int
    steps: int
    threads: int

    @property
    def rotations(self) -> bool:
        return len(self.split.train) < FEW_TRAIN_CLASSES

    @property
    def train_classes(self) -> int:
        return len(self.split.train) * (4 if self.rotations else 1)


def plan(path: Path, seen: Survey, wishes: Wishes, *, cores: int) -> Plan:
    """Choose how to train on the images that were surveyed, on a machine of so many cores.

    Raises:
        BadDataError: fewer than six classes of two images.
        BadConfigError: a size that no encoder takes, or no name can be made of the path.
    """
    at_least = _images_wanted(path, seen)
    kept = [name for name, count in seen.classes.items() if count >= at_least]
    colour = seen.colour if wishes.colour is None else wishes.colour
    drawings = seen.drawings and not colour
    images = sum(seen.classes[name] for name in kept)
    return Plan(
        name=wishes.name or _named(path),
        path=path.resolve(),
        split=spread(kept, validation_share=SHARE, test_share=SHARE),
        odd=tuple(sorted((*seen.stray, *seen.damaged))),
        left_out=tuple((name, count) for name, count in seen.classes.items() if count < at_least),
        at_least=at_least,
        drawings=drawings,
        colour=colour,
        size=_size(seen, drawings=drawings, asked=wishes.size),
        steps=wishes.steps or min(MOST_STEPS, max(FEWEST_STEPS, EPOCHS * images // BATCH)),
        # One is left to the machine's other work: threads that wait for a busy core are slower than one thread alone.
        threads=min(MOST_THREADS, max(1, cores - 1)),
    )


def _images_wanted(path: Path, seen: Survey) -> int:
    for wanted in WANTED_IMAGES:
        enough = sum(count >= wanted for count in seen.classes.values())
        if enough >= max(FEWEST_CLASSES, CLASSES_KEPT * len(seen.classes)):
            return wanted
    enough = sum(count >= min(WANTED_IMAGES) for count in seen.classes.values())
    if enough >= FEWEST_CLASSES:
        return min(WANTED_IMAGES)
    raise BadDataError(
        f"{path}: expected at least {FEWEST_CLASSES} class folders of at least {min(WANTED_IMAGES)} images that can be read,"
        f" got {enough}; add classes or images"
    )


def _named(path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")[:64].rstrip("-")
    if not NAME.fullmatch(name):
        raise BadConfigError(f"{path}: a name of lower-case letters, digits and dashes cannot be made of the path; give one with --name")
    return name


def _size(seen: Survey, *, drawings: bool, asked: int | None) -> int:
    if asked is not None:
        if not SMALLEST <= asked <= LARGEST:
            raise BadConfigError(f"expected a size of {SMALLEST} to {LARGEST} pixels, got {asked}; change --size")
        return asked
    # A multiple of four is halved twice without a rest.
    return min(DRAWING if drawings else LARGEST_UNASKED, max(SMALLEST, seen.side // 4 * 4))


def warnings(chosen: Plan, seen: Survey) -> list[str]:
    """Say what of the images is not used, a line each."""
    lines = [f"{path}: left out, since it is in no class folder" for path in seen.stray]
    lines += [f"{path}: left out, since it cannot be read: {why}" for path, why in seen.damaged.items()]
    if chosen.left_out:
        named = ", ".join(f"{name} ({count})" for name, count in chosen.left_out)
        lines.append(f"left out, since they have fewer than {chosen.at_least} images that can be read: {named}")
    return lines


def write_plan(chosen: Plan, run: Path) -> Path:
    """Write the configuration and the split beside the run, and give the configuration's path.

    Raises:
        BadConfigError: other ones are there, that were written or changed before.
    """
    files = {run / SPLIT: _split_text(chosen.split), run / CONFIG: config_text(chosen, run / SPLIT)}
    for path, text in files.items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise BadConfigError(
                f"{path}: expected what these images and options give, found something else; train by it with"
                f" `innerloop train {run / CONFIG} --run {run}`, or name another --run"
            )
    run.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return run / CONFIG


def _split_text(split: SplitFile) -> str:
    return json.dumps({"train": split.train, "val": split.val, "test": split.test}, indent=1, ensure_ascii=False) + "\n"


def config_text(chosen: Plan, split: Path) -> str:
    """Write the configuration, as TOML."""
    queries = min(3, chosen.at_least // 2)
    most_shots = min(5, chosen.at_least - queries)
    judged = min(5, chosen.at_least - 1)
    shots = [shot for shot in (1, 5) if shot + min(judged, queries) <= chosen.at_least]
    way = min(20, chosen.train_classes)
    pretraining = math.ceil(chosen.steps * 3 / 4)
    return f"""\
# Chosen from the images; change what you like and train by it with `innerloop train`.
name = {_text(chosen.name)}
preset = "proto-anil"
seed = 1
threads = {chosen.threads}

[data]
source = "folder"
path = {_text(str(chosen.path))}
split = {_text(str(split.resolve()))}
leave_out = {_list(list(map(str, chosen.odd)))}
rotations = {_truth(chosen.rotations)}

{_encoder(chosen)}
[preprocessing]
kind = {_text("drawing" if chosen.drawings else "photo")}
channels = {3 if chosen.colour else 1}
size = {chosen.size}

[recipe]
step_size = {STEP_SIZE}

[pretraining]
steps = {pretraining}
batch = {BATCH}

[[stages]]
steps = {max(1, chosen.steps - pretraining)}
way = [{min(5, way)}, {way}]
shot = [1, {most_shots}]
uneven = true
queries = {queries}
inner_steps = 5

{DRAWING_CHANGES if chosen.drawings else PHOTO_CHANGES}
[optimiser]
learning_rate = 3e-3
weight_decay = 5e-2

[validation]
every = {max(1, chosen.steps // 8)}
way = {min(5, len(chosen.split.val))}
queries = {judged}

[final]
ways = {[way for way in (5, 20) if way <= len(chosen.split.test)] or [len(chosen.split.test)]}
shots = {shots}
episodes = 1000
queries = {min(judged, queries)}
"""


def _encoder(chosen: Plan) -> str:
    widths = [32, 64, 128] if chosen.size <= 40 else [32, 64, 128, 160] if chosen.size <= 64 else [32, 64, 128, 160, 160]
    return f"""\
[encoder]
kind = "residual"
channels = {3 if chosen.colour else 1}
size = {chosen.size}
widths = {widths}
projection = 128
unit = true
"""


def _text(value: str) -> str:
    # A JSON string is a TOML one.
    return json.dumps(value, ensure_ascii=False)


def _list(values: Sequence[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)


def _truth(value: bool) -> str:
    return "true" if value else "false"
