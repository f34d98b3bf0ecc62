from collections.abc import Sequence

from service.runtime.buckets import in_buckets, magnitudes


def test_results_come_in_the_order_of_the_items() -> None:
    assert in_buckets(lambda part: [10 * each for each in part], [5, 1, 200, 6, 3, 2], magnitudes) == [50, 10, 2000, 60, 30, 20]


def test_only_what_is_alike_shares_a_product() -> None:
    groups: list[list[tuple[int, int]]] = []

    def compute(part: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        groups.append(list(part))
        return part

    in_buckets(compute, [(5, 5), (8, 7), (9, 5), (5, 1), (6, 6)], lambda each: magnitudes(*each))
    assert groups == [[(5, 5), (8, 7), (6, 6)], [(9, 5)], [(5, 1)]]


def test_nothing_gives_nothing() -> None:
    assert in_buckets(lambda part: list(part), [], lambda _: (1,)) == []
