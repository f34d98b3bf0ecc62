import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from innerloop.class_folders import archive, folder
from innerloop.errors import UnusableInputError

TREE = {"beta/2.png": b"b2", "beta/10.png": b"b10", "alpha/1.png": b"a1"}
LITTER = {".DS_Store": b"x", "__MACOSX/beta/._2.png": b"x", "alpha/.DS_Store": b"x", "alpha/Thumbs.db": b"x"}

Maker = Callable[[Path, dict[str, bytes]], Path]
Reader = Callable[[Path], object]


def make_folder(tmp_path: Path, tree: dict[str, bytes]) -> Path:
    for name, content in tree.items():
        target = tmp_path / "set" / name
        (target if name.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            target.write_bytes(content)
    return tmp_path / "set"


def make_zip(tmp_path: Path, tree: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for name, content in tree.items():
            file.writestr(name, content)
    return tmp_path / "set.zip"


BOTH = pytest.mark.parametrize(("make", "read"), [(make_folder, folder), (make_zip, archive)], ids=["folder", "zip"])


def test_a_folder_gives_sorted_paths_by_class(tmp_path: Path) -> None:
    root = make_folder(tmp_path, TREE | LITTER)
    found = folder(root)
    assert found == {"alpha": [root / "alpha/1.png"], "beta": [root / "beta/10.png", root / "beta/2.png"]}
    assert list(found) == ["alpha", "beta"]


def test_a_zip_gives_the_bytes_in_the_same_order(tmp_path: Path) -> None:
    found = archive(make_zip(tmp_path, TREE | LITTER))
    assert found == {"alpha": [b"a1"], "beta": [b"b10", b"b2"]}
    assert list(found) == ["alpha", "beta"]


@pytest.mark.parametrize("wrapper", ["set/", "work/set/"])
def test_folders_around_the_classes_of_a_zip_are_passed_over(tmp_path: Path, wrapper: str) -> None:
    wrapped = {wrapper + name: content for name, content in (TREE | LITTER).items()} | {"__MACOSX/._set": b"x"}
    assert archive(make_zip(tmp_path, wrapped)) == archive(make_zip(tmp_path, TREE))


@BOTH
def test_an_empty_class_is_named(tmp_path: Path, make: Maker, read: Reader) -> None:
    with pytest.raises(UnusableInputError, match="expected images in class 'gamma'"):
        read(make(tmp_path, TREE | {"gamma/": b"", "gamma/.DS_Store": b""}))


@BOTH
def test_a_folder_inside_a_class_is_named(tmp_path: Path, make: Maker, read: Reader) -> None:
    with pytest.raises(UnusableInputError, match=r"class 'alpha' .* got the folder 'more'"):
        read(make(tmp_path, TREE | {"alpha/more/3.png": b"3"}))


@BOTH
def test_an_image_outside_a_class_is_named(tmp_path: Path, make: Maker, read: Reader) -> None:
    with pytest.raises(UnusableInputError, match=r"got the file 'lost\.png'"):
        read(make(tmp_path, TREE | {"lost.png": b"?"}))


@BOTH
def test_no_class_at_all_is_refused(tmp_path: Path, make: Maker, read: Reader) -> None:
    with pytest.raises(UnusableInputError, match="got nothing; make one folder per class"):
        read(make(tmp_path, {".DS_Store": b"x"}))


def test_a_folder_that_is_missing_or_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusableInputError, match="file, got a file"):
        folder(tmp_path / "file")
    with pytest.raises(UnusableInputError, match="gone, got nothing"):
        folder(tmp_path / "gone")


def test_a_file_that_is_no_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"not a zip")
    with pytest.raises(UnusableInputError, match=r"set\.zip: File is not a zip file"):
        archive(tmp_path / "set.zip")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("alpha/1.png", b"payload")
    (tmp_path / "set.zip").write_bytes(buffer.getvalue().replace(b"payload", b"paYload"))
    with pytest.raises(UnusableInputError, match=r"Bad CRC-32 for file 'alpha/1\.png'"):
        archive(tmp_path / "set.zip")
