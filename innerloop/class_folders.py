"""Class folders on disk or in a zip: one folder per class, its images directly inside."""

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
