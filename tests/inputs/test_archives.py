import io
import struct
import tracemalloc
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BrokenArchiveError, ServiceError, TooLargeError
from service.inputs.archives import File, by_class, class_names, read_folder, read_zip

Entry = tuple[str, bytes]

LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def zipped(*entries: Entry | str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of entries, in order; a name alone is a file that holds its own name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for entry in entries:
            name, content = entry if isinstance(entry, tuple) else (entry, entry.encode())
            archive.writestr(name, content)
    return buffer.getvalue()


def read(content: bytes, *, max_bytes: int = 1_000_000, max_members: int = 100) -> list[File]:
    return list(read_zip(content, max_bytes=max_bytes, max_members=max_members))


def classes(*entries: Entry | str) -> list[tuple[str, str]]:
    return [(member.label, str(member.path)) for member in by_class(read(zipped(*entries)))]


def patched(content: bytes, *, offset_local: int, offset_central: int, value: bytes) -> bytes:
    """Rewrite a field of the first member, in both of its headers."""
    changed = bytearray(content)
    for signature, offset in ((LOCAL, offset_local), (CENTRAL, offset_central)):
        place = changed.index(signature) + offset
        changed[place : place + len(value)] = value
    return bytes(changed)


def claiming(content: bytes, size: int) -> bytes:
    """Let the first member claim to unpack to so many bytes."""
    return patched(content, offset_local=22, offset_central=24, value=struct.pack("<I", size))


def test_every_file_comes_with_its_content_sorted_by_path() -> None:
    found = read(zipped(("b/1", b"three"), ("a/2", b"two"), ("a/1", b"one")))
    assert found == [File(PurePosixPath("a/1"), b"one"), File(PurePosixPath("a/2"), b"two"), File(PurePosixPath("b/1"), b"three")]


def test_a_stored_zip_reads_like_a_deflated_one() -> None:
    entries = (("a/1", b"one" * 100), ("b/1", bytes(1000)))
    assert read(zipped(*entries, method=zipfile.ZIP_STORED)) == read(zipped(*entries))


def test_the_folder_of_a_file_is_its_class() -> None:
    assert classes("hook/1.png", "kite/1.png", "kite/2.png") == [
        ("hook", "hook/1.png"), ("kite", "kite/1.png"), ("kite", "kite/2.png"),
    ]  # fmt: skip


@pytest.mark.parametrize("wrapper", ["set/", "my/data/set/", "./set/", "/set/", "//set//", "/", "é/中/"])
def test_folders_around_the_classes_are_no_part_of_their_names(wrapper: str) -> None:
    found = classes(f"{wrapper}hook/1.png", f"{wrapper}kite/1.png")
    assert [label for label, _ in found] == ["hook", "kite"]


def test_equal_leaf_names_under_different_parents_stay_different_classes() -> None:
    found = classes("set/Greek/character01/1.png", "set/Latin/character01/1.png", "set/Latin/character02/1.png")
    assert [label for label, _ in found] == ["Greek/character01", "Latin/character01", "Latin/character02"]


def test_a_class_inside_a_class_keeps_both_names() -> None:
    assert classes("set/a/1.png", "set/a/b/1.png") == [("a", "set/a/1.png"), ("a/b", "set/a/b/1.png")]


def test_one_class_alone_keeps_its_name() -> None:
    assert classes("set/deep/hook/1.png") == [("hook", "set/deep/hook/1.png")]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=6))
def test_different_folders_never_share_a_class(parts: list[list[str]]) -> None:
    folders = {PurePosixPath(*each) for each in parts}
    named = class_names(folders)
    assert set(named) == folders
    assert len(set(named.values())) == len(folders)
    assert all(folder.parts[-len(PurePosixPath(name).parts) :] == PurePosixPath(name).parts for folder, name in named.items())


def test_no_folders_are_no_classes() -> None:
    assert class_names([]) == {}


LITTER = ("__MACOSX/hook/._1.png", "hook/.DS_Store", ".DS_Store", "hook/Thumbs.db", "kite/desktop.ini", ".git/config", "__MACOSX/._hook")


def test_what_operating_systems_leave_is_passed_over() -> None:
    assert [label for label, _ in classes("hook/1.png", "kite/1.png", *LITTER)] == ["hook", "kite"]


def test_litter_in_a_folder_is_passed_over_too(tmp_path: Path) -> None:
    for name in ("hook/1.png", "kite/1.png", *LITTER):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert by_class(read_folder(tmp_path)) == by_class(read(zipped("hook/1.png", "kite/1.png")))


def test_a_file_beside_the_class_folders_is_named() -> None:
    with pytest.raises(BrokenArchiveError, match=r"notes\.txt: expected every image inside a folder") as caught:
        classes("hook/1.png", "notes.txt")
    assert caught.value.field == "notes.txt"


@pytest.mark.parametrize("folder", ["empty/", "set/empty/"])
def test_a_folder_without_files_is_named(folder: str) -> None:
    with pytest.raises(BrokenArchiveError, match=f"^{folder}: expected images in this folder"):
        read(zipped("hook/1.png", (folder, b"")))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b/1.png", "..", "C:\\x\\1.png", "a\\1.png", "~/x/1.png"])
def test_names_that_point_elsewhere_write_and_read_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "one" / "two"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    found = read(zipped((name, b"own content"), ("hook/1.png", b"hook")))
    assert {file.content for file in found} == {b"own content", b"hook"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_absolute_and_relative_names_may_be_mixed() -> None:
    assert [label for label, _ in classes("/hook/1.png", "kite/1.png")] == ["hook", "kite"]


@pytest.mark.parametrize("content", [b"", b"text", b"PK", LOCAL + bytes(50), zipped("a/1")[:-30], zipped("a/1")[:20]])
def test_what_is_no_zip_is_refused(content: bytes) -> None:
    with pytest.raises(BrokenArchiveError, match="expected a zip"):
        read(content)


def test_an_encrypted_member_is_named() -> None:
    locked = patched(zipped("hook/1.png"), offset_local=6, offset_central=8, value=b"\x01\x00")
    with pytest.raises(BrokenArchiveError, match=r"^hook/1\.png: .*(encrypted|password)") as caught:
        read(locked)
    assert caught.value.field == "hook/1.png"


def test_a_member_with_a_wrong_checksum_is_named() -> None:
    content = bytearray(zipped(("hook/1.png", b"some bytes of ink"), method=zipfile.ZIP_STORED))
    content[content.index(b"of ink")] ^= 1
    with pytest.raises(BrokenArchiveError, match=r"^hook/1\.png: .*CRC"):
        read(bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bound_are_refused(method: int) -> None:
    with pytest.raises(BrokenArchiveError, match=r"^hook/1\.png: expected a member stored or deflated"):
        read(zipped("hook/1.png", method=method))


def test_too_many_members_are_refused() -> None:
    entries = [f"hook/{index}" for index in range(11)]
    assert len(read(zipped(*entries[:10]), max_members=10)) == 10
    with pytest.raises(TooLargeError, match="at most 10 files in the zip, got 11"):
        read(zipped(*entries), max_members=10)


def test_a_zip_that_says_it_unpacks_to_too_much_is_refused() -> None:
    halves = [("hook/1", bytes(500)), ("hook/2", bytes(500))]
    assert len(read(zipped(*halves), max_bytes=1000)) == 2
    with pytest.raises(TooLargeError, match="unpacks to at most 999 bytes"):
        read(zipped(*halves), max_bytes=999)


def test_a_zip_that_lies_about_its_size_is_refused_without_unpacking_it() -> None:
    lying = claiming(zipped(("hook/1", bytes(100_000_000))), 10)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenArchiveError, match=r"^hook/1: .*CRC"):
            read(lying, max_bytes=1000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


SEEDS = [zipped("set/é/1", ("set/é/2", bytes(300)), "set/b/1", method=method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_zip_gives_files_or_a_typed_error(seed: bytes, changes: Sequence[tuple[int, int]]) -> None:
    content = bytearray(seed)
    for place, value in changes:
        content[place % len(content)] = value
    with suppress(ServiceError):
        members = by_class(read(bytes(content)))
        assert sum(len(member.content) for member in members) < 1_000_000
