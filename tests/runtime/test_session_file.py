import hashlib
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from service.errors import (
    ModelChangedError,
    ModelNotFoundError,
    ScopeNotOfferedError,
    ServiceError,
    StepsOutOfRangeError,
    TooLargeError,
    UnusableExportError,
)
from service.runtime.catalog import Catalog, Served
from service.runtime.description import CHECKSUM, Description
from service.runtime.limits import Limits
from service.runtime.session_file import HEADER_BYTES, HEADER_BYTES_A_CLASS, Taken, read_session_file, write_session_file
from service.sessions.contents import digest, pack_weights
from tests.runtime.exports import catalog_of, description_of, packed_of, weights_of
from tests.runtime.tasks import MODELS
from tests.tiny import tiny_model

LIMITS = Limits(classes=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    store = tmp_path_factory.mktemp("store")
    return catalog_of(store, tiny=tiny_model(), oneway=MODELS["all, one way"], body=MODELS["body"], last=MODELS["last block"])


@pytest.fixture(scope="module")
def tiny(catalog: Catalog) -> Served:
    return catalog.find("tiny")


@pytest.fixture(scope="module")
def packed(tiny: Served) -> bytes:
    return packed_of(tiny)


@pytest.fixture(scope="module")
def description(tiny: Served, packed: bytes) -> Description:
    return description_of(tiny, packed)


@pytest.fixture(scope="module")
def content(description: Description, packed: bytes) -> bytes:
    return write_session_file(description, packed)


@pytest.fixture(scope="module")
def read(catalog: Catalog) -> Callable[[bytes], Taken]:
    return lambda content: read_session_file(content, catalog, LIMITS)


def parted(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a file."""
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def forged(content: bytes, **changed: object) -> bytes:
    """The file with other fields and a checksum that holds."""
    header, data = parted(content)
    fields = {**header["__metadata__"], **{name: json.dumps(value) for name, value in changed.items()}}
    del fields[CHECKSUM]
    checksum = hashlib.sha256(json.dumps(sorted(fields.items())).encode()).hexdigest()
    return joined({**header, "__metadata__": {**fields, CHECKSUM: json.dumps(checksum)}}, data)


@pytest.mark.parametrize("name", ["tiny", "oneway", "body", "last"])
def test_what_was_written_is_read(catalog: Catalog, read: Callable[[bytes], Taken], name: str) -> None:
    served = catalog.find(name)
    labels = ("a", "b", "c", "d")
    weights = pack_weights(weights_of(served.model, len(labels)))
    description = description_of(served, weights, labels)
    assert read(write_session_file(description, weights)) == Taken(description, served, weights)


def test_labels_of_any_script_and_numbers_of_any_size_come_back(tiny: Served, read: Callable[[bytes], Taken]) -> None:
    labels = tuple(sorted(['"quoted"', "back\\slash", "zero\x00byte", "ಕನ್ನಡ", "🙂" * 200, "tab\tin it", "=1+1"]))
    weights = packed_of(tiny, len(labels))
    losses = (1e-300, 0.1 + 0.2, 1 / 3, 12345678901234.5)
    description = description_of(tiny, weights, labels, losses=losses, leave_one_out_accuracy=None)
    assert read(write_session_file(description, weights)).description == description


def test_the_longest_labels_of_as_many_classes_as_allowed_fit_the_header(tiny: Served, catalog: Catalog) -> None:
    labels = tuple(f"\x01{number:04}".ljust(200, "\x01") for number in range(1000))
    weights = packed_of(tiny, 1000)
    description = description_of(tiny, weights, labels, shots=(2**31 - 1,) * 1000)
    assert read_session_file(write_session_file(description, weights), catalog, Limits()).description == description


def test_a_file_is_plain_safetensors(tmp_path: Path, content: bytes, packed: bytes, description: Description) -> None:
    path = tmp_path / "session.safetensors"
    path.write_bytes(content)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == description.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    assert pack_weights(tensors) == packed
    assert (len(content) - len(packed)) % 8 == 0


def test_the_same_session_gives_the_same_bytes(description: Description, packed: bytes) -> None:
    assert len({write_session_file(description, packed) for _ in range(10)}) == 1


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_means_nothing(content: bytes, read: Callable[[bytes], Taken], place: float, bit: int) -> None:
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= 1 << bit
    with suppress(ServiceError):
        assert read(bytes(damaged)) == read(content)


def test_no_flipped_bit_of_the_header_is_taken_for_something_else(content: bytes, read: Callable[[bytes], Taken]) -> None:
    sound = read(content)
    for place in range(len(content) - len(parted(content)[1])):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            with suppress(ServiceError):
                assert read(bytes(damaged)) == sound


@given(share=st.floats(0, 1, exclude_max=True))
def test_the_beginning_of_a_file_is_refused(content: bytes, read: Callable[[bytes], Taken], share: float) -> None:
    with pytest.raises(UnusableExportError):
        read(content[: int(share * len(content))])


@given(more=st.binary(min_size=1, max_size=20))
def test_a_file_with_more_behind_it_is_refused(content: bytes, read: Callable[[bytes], Taken], more: bytes) -> None:
    with pytest.raises(UnusableExportError, match="bytes of numbers"):
        read(content + more)


@given(content=st.binary(max_size=200))
def test_other_bytes_are_refused(read: Callable[[bytes], Taken], content: bytes) -> None:
    with pytest.raises(UnusableExportError):
        read(content)


@given(header=JSON)
def test_any_other_header_is_refused(read: Callable[[bytes], Taken], header: object) -> None:
    with pytest.raises(UnusableExportError):
        read(joined(header, b""))


@given(field=st.sampled_from([*Description.model_fields, CHECKSUM, "more"]), value=JSON)
def test_changed_metadata_is_refused_or_means_nothing(content: bytes, read: Callable[[bytes], Taken], field: str, value: object) -> None:
    header, data = parted(content)
    header["__metadata__"][field] = json.dumps(value)
    with suppress(ServiceError):
        assert read(joined(header, data)) == read(content)


@given(field=st.sampled_from(list(Description.model_fields)), value=JSON)
def test_a_forged_description_is_refused_or_is_a_valid_one(
    content: bytes, packed: bytes, read: Callable[[bytes], Taken], field: str, value: object
) -> None:
    """Whoever forges the checksum too may rename classes, but give them no other weights."""
    with suppress(ServiceError):
        found = read(forged(content, **{field: value}))
        assert (found.packed, found.description.model, len(found.description.labels)) == (packed, "tiny@1", 3)


@given(entry=JSON)
def test_another_tensor_entry_is_refused(content: bytes, read: Callable[[bytes], Taken], entry: object) -> None:
    header, data = parted(content)
    header["head.bias"] = entry
    with pytest.raises(UnusableExportError):
        read(joined(header, data))


@pytest.mark.parametrize("offsets", [[0, 12], [0, 0], [-12, 0], [10**30, 10**30], [12, 0], None, "x"], ids=lambda offsets: str(offsets))
def test_offsets_that_do_not_tile_the_numbers_are_refused(content: bytes, read: Callable[[bytes], Taken], offsets: object) -> None:
    header, data = parted(content)
    header["head.weight"]["data_offsets"] = offsets
    with pytest.raises(UnusableExportError, match="not a safetensors file"):
        read(joined(header, data))


def test_a_file_from_before_the_reach_was_measured_is_taken_without_one(content: bytes, read: Callable[[bytes], Taken]) -> None:
    header, data = parted(content)
    del header["__metadata__"]["reach"]
    assert read(forged(joined(header, data))).description.reach is None


@pytest.mark.parametrize("name", [name for name in Description.model_fields if name != "reach"])
def test_every_field_must_be_there(content: bytes, read: Callable[[bytes], Taken], name: str) -> None:
    header, data = parted(content)
    del header["__metadata__"][name]
    with pytest.raises(UnusableExportError, match=f"^{name}: Field required; export the session again$|^input"):
        read(joined(header, data))


def test_renaming_a_class_breaks_the_checksum(content: bytes, read: Callable[[bytes], Taken]) -> None:
    with pytest.raises(UnusableExportError, match="checksum: the metadata was changed"):
        read(content.replace(b'"ring', b'"rung').replace(rb"\"ring", rb"\"rung"))


def test_a_name_that_comes_twice_is_refused(content: bytes, read: Callable[[bytes], Taken]) -> None:
    header, data = parted(content)
    text = json.dumps(header)[:-1] + ', "head.bias": ' + json.dumps(header["head.bias"]) + "}"
    with pytest.raises(UnusableExportError, match="each name once"):
        read(struct.pack("<Q", len(text)) + text.encode() + data)


def test_a_header_that_nests_too_deeply_is_refused(content: bytes, read: Callable[[bytes], Taken]) -> None:
    text = b"[" * 100_000
    with pytest.raises(UnusableExportError, match="JSON"):
        read(struct.pack("<Q", len(text)) + text)
    header, data = parted(content)
    header["__metadata__"]["labels"] = "[" * 100_000
    with pytest.raises(UnusableExportError, match="JSON in every field"):
        read(joined(header, data))


def test_a_header_that_is_too_long_is_not_read(content: bytes, read: Callable[[bytes], Taken]) -> None:
    most = HEADER_BYTES + 12 * HEADER_BYTES_A_CLASS
    for length in (most + 1, 2**63, 2**64 - 1):
        with pytest.raises(UnusableExportError):
            read(struct.pack("<Q", length) + b" " * (most + 1))
    header, data = parted(content)
    header["__metadata__"]["x" * most] = ""
    with pytest.raises(UnusableExportError, match="expected a header of at most"):
        read(joined(header, data))


def test_an_error_repeats_little_of_what_a_stranger_wrote(content: bytes, read: Callable[[bytes], Taken]) -> None:
    header, data = parted(content)
    huge = "x" * 50_000
    changes: list[dict[str, Any]] = [
        {"__metadata__": {**header["__metadata__"], huge: "1"}},
        {huge: {}},
        {"head.bias": {"dtype": huge}},
    ]
    for change in changes:
        with pytest.raises(UnusableExportError) as caught:
            read(joined({**header, **change}, data))
        assert len(caught.value.message) < 400


def test_files_without_our_metadata_are_told_apart(read: Callable[[bytes], Taken]) -> None:
    for metadata in (None, {}, {"format": "pt"}):
        with pytest.raises(UnusableExportError):
            read(save({"weight": torch.zeros(2)}, metadata))


def test_a_later_version_of_the_format_is_refused(content: bytes, read: Callable[[bytes], Taken]) -> None:
    with pytest.raises(UnusableExportError, match="version: Input should be 1"):
        read(forged(content, version=2))


def test_another_meta_model_is_refused(packed: bytes, read: Callable[[bytes], Taken], tiny: Served) -> None:
    assert tiny.manifest.input.kind == "image"
    other = replace(tiny.manifest.input, preprocessing=replace(tiny.manifest.input.preprocessing, margin=0.2))
    changes: list[tuple[dict[str, Any], type[ServiceError]]] = [
        ({"model": "tiny@2"}, ModelNotFoundError),
        ({"model": "other@1"}, ModelNotFoundError),
        ({"weights_sha256": "0" * 64}, ModelChangedError),
        ({"input": other}, ModelChangedError),
    ]
    for change, error in changes:
        with pytest.raises(error):
            read(write_session_file(description_of(tiny, packed, **change), packed))


def test_what_the_meta_model_does_not_offer_is_refused(
    catalog: Catalog, tiny: Served, packed: bytes, read: Callable[[bytes], Taken]
) -> None:
    with pytest.raises(StepsOutOfRangeError):
        read(write_session_file(description_of(tiny, packed, steps=11, losses=(0.5,) * 12), packed))
    with pytest.raises(ScopeNotOfferedError):
        read(write_session_file(description_of(tiny, packed, scope="all"), packed))
    oneway = catalog.find("oneway")
    three = packed_of(oneway, 3)
    with pytest.raises(UnusableExportError, match="exactly 4 classes, got 3"):
        read(write_session_file(description_of(oneway, three), three))
    many = packed_of(tiny, 13)
    with pytest.raises(TooLargeError, match="at most 12 classes, got 13"):
        read(write_session_file(description_of(tiny, many, [f"{n:02}" for n in range(13)]), many))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": ("ring", "bar", "cross")}, "sorted"),
        ({"labels": ("bar", "bar", "ring")}, "each once"),
        ({"labels": ("", "bar", "ring")}, "labels.0"),
        ({"labels": ("bar", "cross", "x" * 201)}, "labels.2"),
        ({"labels": (" bar", "bar", "ring")}, "each once"),
        ({"labels": ("bar",)}, "expected two labels or more"),
        ({"shots": (1, 2)}, "shots of each of 3 labels"),
        ({"shots": (0, 1, 2)}, "shots.0"),
        ({"losses": (0.1,)}, "after each"),
        ({"losses": (0.1, 0.1, 0.1, float("nan"))}, "losses.3"),
        ({"leave_one_out_accuracy": 1.5}, "leave_one_out_accuracy"),
        ({"reach": 0.0}, "reach"),
        ({"reach": float("inf")}, "reach"),
        ({"steps": "3"}, "steps"),
        ({"model": "tiny"}, "model"),
    ],
)
def test_a_description_that_no_session_has_is_refused(
    content: bytes, read: Callable[[bytes], Taken], change: dict[str, Any], says: str
) -> None:
    with pytest.raises(UnusableExportError, match=says):
        read(forged(content, **change))


def test_a_forged_checksum_that_holds_is_taken(content: bytes, read: Callable[[bytes], Taken]) -> None:
    assert read(forged(content)) == read(content)
    assert read(forged(content, labels=("bar", "cross", "rung"))).description.labels == ("bar", "cross", "rung")


def test_weights_of_other_names_shapes_or_types_are_refused(tiny: Served, read: Callable[[bytes], Taken]) -> None:
    sound = weights_of(tiny.model, 3)
    changed = [
        {"head.weight": sound["head.weight"]},
        {**sound, "encoder.block1.conv.weight": torch.zeros(1)},
        {**sound, "head.bias": torch.zeros(4)},
        {**sound, "head.weight": sound["head.weight"].T.contiguous()},
        {**sound, "head.bias": torch.zeros(3, dtype=torch.int32)},
        {name: value.half() for name, value in sound.items()},
    ]
    for weights in changed:
        packed = pack_weights(weights)
        with pytest.raises(UnusableExportError, match=r"expected (other tensors|F32)"):
            read(write_session_file(description_of(tiny, packed), packed))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(tiny: Served, read: Callable[[bytes], Taken], number: float) -> None:
    weights = weights_of(tiny.model, 3)
    weights["head.bias"][1] = number
    packed = pack_weights(weights)
    with pytest.raises(UnusableExportError, match="finite numbers"):
        read(write_session_file(description_of(tiny, packed), packed))


def test_other_numbers_than_the_digest_says_are_refused(content: bytes, read: Callable[[bytes], Taken], packed: bytes) -> None:
    damaged = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(UnusableExportError, match=f"expected weights of digest {digest(packed)}"):
        read(damaged)
