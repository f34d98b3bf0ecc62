"""Images in class folders, in a directory or a zip: `…/<class>/<image>` at any depth, ragged class sizes."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from service.errors import BadDataError, BlankImageError, InputError
from service.inputs.archives import Member, by_class, read_folder, read_zip
from service.inputs.images import decode_image
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs

# A data set of this size no longer fits in memory as bytes and as tensors.
MAX_ZIP_BYTES = 8 * 2**30
MAX_ZIP_MEMBERS = 10_000_000

# What lies beside images and is none: passed over as litter is.
NO_IMAGES = (
    *(".txt", ".md", ".rst", ".html", ".pdf", ".log"),
    *(".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml"),
    *(".py", ".ipynb", ".sh", ".npy", ".npz", ".mat"),
)


def class_folders(
    path: Path,
    preprocessing: Preprocessing,
    *,
    at_least: int = 1,
    only: Collection[str] | None = None,
    leave_out: Collection[PurePosixPath] = (),
) -> ClassInputs:
    """Load every image as uint8 [N, channels, size, size], grouped by class; classes in sorted order.

    Args:
        path: a directory or a zip.
        preprocessing: what turns a decoded image into the encoder's input.
        at_least: images that every class must have.
        only: the classes to load; all when None.
        leave_out: images not to load, by their paths inside.

    Raises:
        BadDataError: the path is missing or empty, an image is damaged or blank, a class has too few images.
    """
    found = members(path, leave_out)
    return loaded(path, [each for each in found if only is None or each.label in only], preprocessing, at_least=at_least)


def loaded(path: Path, chosen: Iterable[Member], preprocessing: Preprocessing, *, at_least: int = 1) -> ClassInputs:
    """Load the images of some members of a path; otherwise as `class_folders`."""
    groups: dict[str, list[Tensor]] = defaultdict(list)
    for member in chosen:
        groups[member.label].append(_load(path, member, preprocessing))
    if not groups:
        raise BadDataError(f"{path}: expected images in class folders (<class>/<image>), found none")
    too_few = {label: len(images) for label, images in groups.items() if len(images) < at_least}
    if too_few:
        label, count = next(iter(sorted(too_few.items())))
        raise BadDataError(
            f"{path}: expected at least {at_least} images of every class, got {count} of {label!r}"
            f" ({len(too_few)} classes have too few); add images or remove these folders"
        )
    return ClassInputs.of([(label, torch.stack(groups[label])) for label in sorted(groups)])


def members(path: Path, leave_out: Collection[PurePosixPath] = ()) -> list[Member]:
    """Give every image file of a folder or zip with its class, in order, but those to leave out; classes keep their names all the same.

    Raises:
        BadDataError: nothing there, not a zip, an image outside any class folder, or nothing there of what is to be left out.
    """
    return look(path).but(leave_out)


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a folder or zip of class folders.

    Attributes:
        place: what errors call it.
        members: those in class folders, in order.
        stray: those at the top, in no class folder.
        passed_over: those that by their suffix are no images.
    """

    place: Path
    members: tuple[Member, ...]
    stray: tuple[PurePosixPath, ...]
    passed_over: tuple[PurePosixPath, ...]

    def but(self, leave_out: Collection[PurePosixPath]) -> list[Member]:
        """Give the members but those to leave out; raises BadDataError as `members` does."""
        unknown = set(leave_out) - {member.path for member in self.members} - set(self.stray) - set(self.passed_over)
        if unknown:
            raise BadDataError(f"{self.place}: expected the images that are to be left out, found no {min(unknown)}; correct `leave_out`")
        stray = next((path for path in self.stray if path not in leave_out), None)
        if stray is not None:
            raise BadDataError(f"{self.place}: {stray}: expected every image inside a folder named after its class")
        return [member for member in self.members if member.path not in leave_out]


def look(path: Path) -> Found:
    """Read every file of a folder or zip; raises BadDataError when there is nothing or no zip."""
    if not path.exists():
        raise BadDataError(f"{path}: expected a folder or a zip of class folders, found nothing there; check the path")
    try:
        files = list(
            read_folder(path) if path.is_dir() else read_zip(path.read_bytes(), max_bytes=MAX_ZIP_BYTES, max_members=MAX_ZIP_MEMBERS)
        )
        kept = [file for file in files if file.path.suffix.lower() not in NO_IMAGES]
        found = by_class(file for file in kept if not _is_stray(file.path))
    except InputError as error:
        raise BadDataError(f"{path}: {error.message}") from error
    stray = tuple(file.path for file in kept if _is_stray(file.path))
    return Found(path, tuple(found), stray, tuple(file.path for file in files if file.path.suffix.lower() in NO_IMAGES))


def _is_stray(path: PurePosixPath) -> bool:
    return path.parent == PurePosixPath()


def _load(path: Path, member: Member, preprocessing: Preprocessing) -> Tensor:
    try:
        return preprocessing(decode_image(member.content, name=str(path / member.path)))
    except BlankImageError as error:
        raise BadDataError(f"{path / member.path}: {error.message}") from error
    except InputError as error:
        raise BadDataError(error.message) from error
