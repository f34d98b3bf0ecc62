"""Images in class folders, in a directory or a zip: `…/<class>/<image>` at any depth, ragged class sizes."""

from collections import defaultdict
from collections.abc import Collection, Iterator
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
    groups: dict[str, list[Tensor]] = defaultdict(list)
    for member in members(path, leave_out):
        if only is not None and member.label not in only:
            continue
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


def members(path: Path, leave_out: Collection[PurePosixPath] = ()) -> Iterator[Member]:
    """Give every image file of a folder or zip with its class, in order, but those to leave out; classes keep their names all the same.

    Raises:
        BadDataError: nothing there, not a zip, an image outside any class folder, or nothing there of what is to be left out.
    """
    found = _members(path)
    unknown = set(leave_out) - {member.path for member in found}
    if unknown:
        raise BadDataError(f"{path}: expected the images that are to be left out, found no {min(unknown)}; correct `leave_out`")
    return (member for member in found if member.path not in leave_out)


def _members(path: Path) -> list[Member]:
    if not path.exists():
        raise BadDataError(f"{path}: expected a folder or a zip of class folders, found nothing there; check the path")
    try:
        files = read_folder(path) if path.is_dir() else read_zip(path.read_bytes(), max_bytes=MAX_ZIP_BYTES, max_members=MAX_ZIP_MEMBERS)
        return by_class(files)
    except InputError as error:
        raise BadDataError(f"{path}: {error.message}") from error


def _load(path: Path, member: Member, preprocessing: Preprocessing) -> Tensor:
    try:
        return preprocessing(decode_image(member.content, name=str(path / member.path)))
    except BlankImageError as error:
        raise BadDataError(f"{path / member.path}: {error.message}") from error
    except InputError as error:
        raise BadDataError(error.message) from error
