"""Class folders, from a zip or a directory: `…/<class>/<image>` at any depth."""

import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from service.errors import BrokenArchiveError, TooLargeError

# What operating systems leave in folders: never an example.
LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")

MAX_MEMBERS = 100_000

# The methods whose output can be cut off while it is unpacked; a bzip2 member of 449 bytes can take 400 MB at once.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# What zipfile and its decompressors raise for bytes that are not what they claim to be.
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a folder or zip: its path inside, and its bytes."""

    path: PurePosixPath
    content: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a class folder: its class, its path, and its bytes."""

    label: str
    path: PurePosixPath
    content: bytes


def read_zip(content: bytes, *, max_bytes: int, max_members: int = MAX_MEMBERS) -> Iterator[File]:
    """Yield the files of a zip in memory, sorted by path; nothing is written to disk, litter is passed over.

    Args:
        content: the zip's bytes.
        max_bytes: the most it may unpack to, in all.
        max_members: the most files it may hold.

    Raises:
        BrokenArchiveError: not a zip, an encrypted or damaged member, a folder without files.
        TooLargeError: too many members, or more bytes than allowed once unpacked.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except UNREADABLE as error:
        raise BrokenArchiveError(f"expected a zip with one folder per class, got something else ({error})") from None
    with archive:
        if len(archive.infolist()) > max_members:
            raise TooLargeError(f"expected at most {max_members:,} files in the zip, got {len(archive.infolist()):,}; send fewer")
        entries = [info for info in archive.infolist() if not _is_litter(_path(info))]
        members = sorted((info for info in entries if not _is_folder(info)), key=lambda info: info.filename)
        # The directory's word is enough: no member is unpacked beyond the size stated here.
        if sum(info.file_size for info in members) > max_bytes:
            raise TooLargeError(f"expected a zip that unpacks to at most {max_bytes:,} bytes; send fewer or smaller images")
        _refuse_empty_folders(entries)
        for info in members:
            yield File(_path(info), _read(archive, info))


def read_folder(root: Path) -> Iterator[File]:
    """Yield the files of a directory, sorted by path; litter and hidden files are passed over."""
    for path in sorted(root.rglob("*")):
        inside = PurePosixPath(path.relative_to(root).as_posix())
        if path.is_file() and not _is_litter(inside):
            yield File(inside, path.read_bytes())


def by_class(files: Iterable[File]) -> list[Member]:
    """Label every file with its class (see `class_names`), in order.

    Raises:
        BrokenArchiveError: a file outside any class folder.
    """
    known = list(files)
    stray = next((file.path for file in known if file.path.parent == PurePosixPath()), None)
    if stray is not None:
        raise BrokenArchiveError(f"{stray}: expected every image inside a folder named after its class", field=str(stray))
    labels = class_names(file.path.parent for file in known)
    return [Member(labels[file.path.parent], file.path, file.content) for file in known]


def class_names(folders: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Name the class of each folder by what sets it apart: its path below the deepest folder that all share.

    `set/hook` and `set/kite` are `hook` and `kite`; `Greek/character01` and `Latin/character01` keep both parts.
    """
    known = sorted(set(folders))
    if not known:
        return {}
    shared = os.path.commonpath([str(folder.parent) for folder in known])
    return {folder: str(folder.relative_to(shared)) for folder in known}


def _is_litter(path: PurePosixPath) -> bool:
    return any(part in LITTER or (part.startswith(".") and part != "..") for part in path.parts)


def _path(info: zipfile.ZipInfo) -> PurePosixPath:
    """Give a member's path; one that starts at the root is taken from there."""
    return PurePosixPath(info.filename.lstrip("/"))


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith("/")


def _refuse_empty_folders(entries: Iterable[zipfile.ZipInfo]) -> None:
    """A folder in the zip with nothing in it is a class whose examples were forgotten."""
    filled = {folder for info in entries if not _is_folder(info) for folder in _path(info).parents}
    empty = next((info.filename for info in entries if _is_folder(info) and _path(info) not in filled), None)
    if empty is not None:
        raise BrokenArchiveError(f"{empty}: expected images in this folder, got none; add one, or leave the folder out", field=empty)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type not in METHODS:
        raise BrokenArchiveError(f"{info.filename}: expected a member stored or deflated; pack the zip with deflate", field=info.filename)
    try:
        with archive.open(info) as member:
            # Not read(), which unpacks up to 2 GB before it looks at the stated size.
            return member.read(info.file_size)
    except UNREADABLE as error:
        raise BrokenArchiveError(f"{info.filename}: the zip member cannot be read ({error}); pack it again", field=info.filename) from None
