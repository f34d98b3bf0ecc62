"""Class folders, on disk or in a zip: one folder per class, its images directly inside; and folders of images alone."""

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path

from innerloop.errors import UnusableInputError

_LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")


def folder(path: Path) -> dict[str, list[Path]]:
    """The image paths of every class in `path/<class>/<image>`, both sorted by name; hidden files and litter are left out.

    Raises:
        UnusableInputError: no such folder, a file beside the classes, a class without images, or a folder inside one.
    """
    if not path.is_dir():
        raise UnusableInputError(f"expected a folder of class folders at {path}, got {'a file' if path.exists() else 'nothing'}")
    with _readable(path):
        return {name: [path / name / image.name for image in images] for name, images in _classes(path, path)}


def archive(path: Path) -> dict[str, list[bytes]]:
    """The image bytes of every class in a zip of class folders, in the order of `folder`; one folder around them all is fine.

    Raises:
        UnusableInputError: as `folder`, or a zip that cannot be read.
    """
    with _readable(path), zipfile.ZipFile(path) as file:
        root = _unwrapped(zipfile.Path(file))
        return {name: [image.read_bytes() for image in images] for name, images in _classes(root, path)}


def images(path: Path) -> list[Path]:
    """The paths of the images directly in a folder, sorted by name; hidden files and litter are left out.

    Raises:
        UnusableInputError: not a folder, none inside, or a folder among them.
    """
    if not path.is_dir():
        found = f"one file, {path}; put it in a list" if path.exists() else f"nothing at {path}"
        raise UnusableInputError(f"queries: expected a list of inputs, or a folder or zip of images, got {found}")
    with _readable(path):
        return [path / image.name for image in _queries(path, path)]


def packed_images(path: Path) -> list[bytes]:
    """The bytes of the images at the top of a zip, in the order of `images`; one folder around them all is fine.

    Raises:
        UnusableInputError: as `images`, or a zip that cannot be read.
    """
    with _readable(path), zipfile.ZipFile(path) as file:
        root = zipfile.Path(file)
        entries = _visible(root)
        return [image.read_bytes() for image in _queries(entries[0] if len(entries) == 1 and entries[0].is_dir() else root, path)]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    # RuntimeError: an encrypted member, or a compression zipfile does not know. ValueError: an offset before the file's start.
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
        raise UnusableInputError(f"expected readable class folders at {path}: {getattr(error, 'strerror', None) or error}") from error


def _classes(root: Traversable, path: Path) -> list[tuple[str, list[Traversable]]]:
    entries = _visible(root)
    stray = [entry.name for entry in entries if not entry.is_dir()]
    if stray or not entries:
        found = f"the file {stray[0]!r}" if stray else "nothing"
        raise UnusableInputError(
            f"expected only class folders in {path}, as in {path}/<class>/<image>, got {found}; make one folder per class"
        )
    return [(entry.name, _images(entry, path)) for entry in entries]


def _queries(root: Traversable, path: Path) -> list[Traversable]:
    found = _visible(root)
    nested = [entry.name for entry in found if entry.is_dir()]
    if nested or not found:
        raise UnusableInputError(
            f"queries: expected only images in {path}, got {f'the folder {nested[0]!r}' if nested else 'nothing'}; name a folder of images"
        )
    return found


def _images(entry: Traversable, path: Path) -> list[Traversable]:
    images = _visible(entry)
    nested = [image.name for image in images if image.is_dir()]
    if nested:
        raise UnusableInputError(
            f"expected only images in class {entry.name!r} of {path}, got the folder {nested[0]!r}; name the folder right above the classes"
        )
    if not images:
        raise UnusableInputError(f"expected images in class {entry.name!r} of {path}, got none; add one, or remove the folder")
    return images


def _unwrapped(root: Traversable) -> Traversable:
    """The folder inside `root` while it is all there is and holds folders itself: zip tools often add one."""
    entries = _visible(root)
    wrapped = len(entries) == 1 and entries[0].is_dir() and any(inner.is_dir() for inner in _visible(entries[0]))
    return _unwrapped(entries[0]) if wrapped else root


def _visible(entry: Traversable) -> list[Traversable]:
    # Sorted: the same folder makes the same request on every file system.
    inners = (inner for inner in entry.iterdir() if not inner.name.startswith(".") and inner.name not in _LITTER)
    return sorted(inners, key=lambda inner: inner.name)
