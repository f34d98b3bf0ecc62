import re
from datetime import UTC, datetime, timedelta

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.sessions.session import digest, new_session_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_ids_made_at_once_differ_in_more_than_their_time() -> None:
    ids = [new_session_id(NOW) for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert {each[:16] for each in ids} == {ids[0][:16]}
    # 80 random bits: in 5,000 ids every place of the rest takes every hexadecimal digit.
    assert all({each[place] for each in ids} == set("0123456789abcdef") for place in range(16, 36))


def test_ids_sort_by_the_millisecond_they_were_made_in() -> None:
    times = [NOW + timedelta(milliseconds=step) for step in (0, 1, 15, 16, 1000, 10**9, 10**12)]
    ids = [new_session_id(each) for each in times]
    assert ids == sorted(ids)


def test_an_id_fits_into_an_address() -> None:
    assert re.fullmatch(r"ses_[0-9a-f]{32}", new_session_id(NOW))


def weights() -> dict[str, Tensor]:
    return {"head.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "head.bias": torch.zeros(2)}


def test_equal_weights_have_equal_digests_whatever_their_order_and_layout() -> None:
    turned = {"head.bias": torch.zeros(2, 2)[:, 0], "head.weight": weights()["head.weight"].mT.contiguous().mT}
    assert not turned["head.weight"].is_contiguous()
    assert digest(weights()) == digest(turned) == digest(dict(reversed(weights().items())))
    assert re.fullmatch(r"[0-9a-f]{64}", digest(weights()))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["head.weight", "head.bias"]), st.integers(0, 1), st.floats(-1e6, 1e6, width=32))
def test_any_changed_number_changes_the_digest(name: str, place: int, value: float) -> None:
    changed = weights()
    before = changed[name].flatten()[place].item()
    changed[name].view(-1)[place] = value
    assert (digest(changed) == digest(weights())) == (changed[name].flatten()[place].item() == before and str(value) != "-0.0")


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
    assert digest(other) != digest(weights())


def test_taking_a_digest_changes_nothing() -> None:
    kept = weights()
    digest(kept)
    assert list(kept) == list(weights())
    assert all(torch.equal(kept[name], value) for name, value in weights().items())
