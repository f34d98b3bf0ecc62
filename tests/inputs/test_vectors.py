import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.errors import UnusableVectorError
from service.inputs.vectors import decode_vector

LARGEST = torch.finfo(torch.float32).max


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_arrive_as_they_are(numbers: list[float]) -> None:
    vector = decode_vector(numbers, range(1, 21), name="v")
    assert vector.dtype == torch.float32
    assert vector.tolist() == numbers


@pytest.mark.parametrize("numbers", [[], [1.0], [1.0, 2.0, 3.0]])
def test_another_length_is_refused(numbers: Sequence[float]) -> None:
    with pytest.raises(UnusableVectorError, match=f"^queries/3: expected 2 numbers, got {len(numbers)}$") as caught:
        decode_vector(numbers, range(2, 3), name="queries/3")
    assert caught.value.field == "queries/3"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e39, -1e39, 1e308, LARGEST * (1 + 1e-6)])
@pytest.mark.parametrize("place", [0, 2])
def test_a_number_that_float32_cannot_hold_is_named(number: float, place: int) -> None:
    numbers = [0.5, LARGEST, -LARGEST]
    numbers[place] = number
    with pytest.raises(UnusableVectorError, match=f"at place {place}$"):
        decode_vector(numbers, range(3, 4), name="v")


@given(st.lists(st.floats(), min_size=3, max_size=3))
def test_any_three_numbers_give_a_finite_vector_or_a_typed_error(numbers: list[float]) -> None:
    try:
        vector = decode_vector(numbers, range(3, 4), name="v")
    except UnusableVectorError:
        assert any(not math.isfinite(number) or abs(number) > LARGEST for number in numbers)
    else:
        assert bool(torch.isfinite(vector).all())
