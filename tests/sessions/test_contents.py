import contextlib
import re
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.errors import SessionDamagedError
from service.sessions.contents import SupportSet, digest, pack_support, pack_weights, unpack_support, unpack_weights


def weights() -> dict[str, Tensor]:
    return {"head.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "head.bias": torch.zeros(2)}


def identity(weights: dict[str, Tensor]) -> str:
    return digest(pack_weights(weights))


def test_equal_weights_have_equal_digests_whatever_their_order_and_layout() -> None:
    turned = {"head.bias": torch.zeros(2, 2)[:, 0], "head.weight": weights()["head.weight"].mT.contiguous().mT}
    assert not turned["head.weight"].is_contiguous()
    assert identity(weights()) == identity(turned) == identity(dict(reversed(weights().items())))
    assert re.fullmatch(r"[0-9a-f]{64}", identity(weights()))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["head.weight", "head.bias"]), st.integers(0, 1), st.floats(-1e6, 1e6, width=32))
def test_any_changed_number_changes_the_digest(name: str, place: int, value: float) -> None:
    changed = weights()
    before = changed[name].flatten()[place].item()
    changed[name].view(-1)[place] = value
    assert (identity(changed) == identity(weights())) == (changed[name].flatten()[place].item() == before and str(value) != "-0.0")


@pytest.mark.parametrize(
    "other",
    [
        {**weights(), "more": torch.zeros(1)},
        {"head.weight": weights()["head.weight"]},
        {"head.weight": weights()["head.weight"], "head.offset": torch.zeros(2)},
        {"head.weight": weights()["head.weight"].reshape(3, 2), "head.bias": torch.zeros(2)},
        {"head.weight": weights()["head.weight"].double(), "head.bias": torch.zeros(2)},
        {"head.weight": weights()["head.weight"].flip(0), "head.bias": torch.zeros(2)},
    ],
)
def test_other_names_shapes_types_or_orders_of_rows_are_other_weights(other: dict[str, Tensor]) -> None:
    assert identity(other) != identity(weights())


def test_taking_a_digest_changes_nothing() -> None:
    kept = weights()
    identity(kept)
    assert list(kept) == list(weights())
    assert all(torch.equal(kept[name], value) for name, value in weights().items())


def test_weights_come_back_as_they_were() -> None:
    packed = pack_weights(weights())
    read = unpack_weights(packed, weights_digest=digest(packed))
    assert {name: value.tolist() for name, value in read.items()} == {name: value.tolist() for name, value in weights().items()}


def test_a_five_way_head_takes_little_more_than_its_numbers() -> None:
    assert len(pack_weights({"head.weight": torch.rand(5, 256), "head.bias": torch.rand(5)})) < 5 * 257 * 4 + 250


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_flipped_bit_of_weights_is_noticed(data: st.DataObject) -> None:
    packed = bytearray(pack_weights(weights()))
    known = digest(bytes(packed))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SessionDamagedError, match="damaged"):
        unpack_weights(bytes(packed), weights_digest=known)


def support() -> SupportSet:
    inputs = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return SupportSet.of(["été", "b", "b", "a"], inputs)


def same(one: SupportSet, other: SupportSet) -> bool:
    return (one.ids, one.labels, one.next_id) == (other.ids, other.labels, other.next_id) and torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_support_set_comes_back_as_it_was(dtype: torch.dtype) -> None:
    kept = SupportSet(support().ids, support().labels, support().inputs.to(dtype), 9)
    read = unpack_support(pack_support(kept))
    assert same(read, kept)
    assert read.inputs.dtype == dtype


def test_a_support_set_grows_and_shrinks_without_using_an_id_twice() -> None:
    assert support().ids == (1, 2, 3, 4)
    fewer = support().without([4, 2])
    assert (fewer.ids, fewer.labels) == ((1, 3), ("été", "b"))
    more = fewer.with_examples(["c"], torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    assert (more.ids, more.labels) == ((1, 3, 5), ("été", "b", "c"))
    assert torch.equal(more.inputs[:2], support().inputs[[0, 2]])
    assert same(unpack_support(pack_support(more)), more)


def test_a_support_set_is_compressed() -> None:
    blank = SupportSet.of(["a"] * 50, torch.zeros(50, 1, 32, 32, dtype=torch.uint8))
    assert len(pack_support(blank)) < 50 * 32 * 32 / 50


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_flipped_bit_of_a_support_set_is_noticed(data: st.DataObject) -> None:
    packed = bytearray(pack_support(support()))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    # Nothing may depend on a bit, as of a compressor's header.
    with contextlib.suppress(SessionDamagedError):
        assert same(unpack_support(bytes(packed)), support())


@pytest.mark.parametrize("length", [0, 10, 40, 60])
def test_a_support_set_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(SessionDamagedError, match="support set"):
        unpack_support(pack_support(support())[:length])


def test_a_support_set_that_claims_to_be_small_or_huge_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(10**7))
    for claimed in (10, 2**60):
        with pytest.raises(SessionDamagedError):
            unpack_support(claimed.to_bytes(8, "little") + bytes(32) + bomb)
