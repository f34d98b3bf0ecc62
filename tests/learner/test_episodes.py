import pytest
import torch

from service.learner.episodes import ClassInputs, EpisodeShape, sample_episode


def numbered(sizes: list[int]) -> ClassInputs:
    """Class k holds the inputs 100·k, 100·k + 1, …, so that every input says where it comes from."""
    return ClassInputs.of([(f"class{k}", 100.0 * k + torch.arange(size)[:, None]) for k, size in enumerate(sizes)])


RAGGED = numbered([4, 9, 5, 30, 7])


def test_classes_are_ragged_rows_of_one_tensor() -> None:
    assert len(RAGGED) == 5
    assert RAGGED.first == (0, 4, 13, 18, 48, 55)
    assert [RAGGED.size(k) for k in range(5)] == [4, 9, 5, 30, 7]
    assert len(RAGGED.inputs) == 55


def test_only_keeps_the_named_classes_in_the_order_given() -> None:
    kept = RAGGED.only([2, 0])
    assert kept.names == ("class2", "class0")
    assert kept.inputs.flatten().tolist() == [200, 201, 202, 203, 204, 0, 1, 2, 3]


def test_other_inputs_keep_the_classes() -> None:
    embedded = RAGGED.replace_inputs(-RAGGED.inputs)
    assert (embedded.names, embedded.first) == (RAGGED.names, RAGGED.first)
    assert embedded.inputs[RAGGED.first[3]].item() == -300


def test_rotations_are_classes_of_their_own_with_turned_content(generator: torch.Generator) -> None:
    classes = ClassInputs.of([(name, torch.rand(size, 1, 3, 3, generator=generator)) for name, size in (("a", 2), ("b", 3))])
    rotated = classes.with_rotations()
    assert rotated.names == ("a", "b", "a@90", "b@90", "a@180", "b@180", "a@270", "b@270")
    assert [rotated.size(k) for k in range(8)] == [2, 3] * 4
    for k, name in enumerate(rotated.names):
        quarters = int(name.partition("@")[2] or 0) // 90
        inputs = rotated.inputs[rotated.first[k] : rotated.first[k + 1]]
        original = classes.inputs[classes.first[k % 2] : classes.first[k % 2 + 1]]
        for got, upright in zip(inputs[:, 0], original[:, 0], strict=True):
            turned = upright
            for _ in range(quarters):
                turned = turned.T.flip(0)  # a quarter turn: transpose, then upside down
            assert torch.equal(got, turned)


@pytest.mark.parametrize("seed", range(8))
def test_classes_are_distinct_and_support_and_queries_disjoint(seed: int) -> None:
    episode = sample_episode(RAGGED, EpisodeShape(4, (1, 2), 2, uneven=True), torch.Generator().manual_seed(seed))
    support, queries = episode.support.inputs.flatten().tolist(), episode.queries.flatten().tolist()
    assert len({*support, *queries}) == len(support) + len(queries)
    owners = [{int(value) // 100 for value in episode.support.inputs[episode.support.labels == k]} for k in range(4)]
    assert all(len(owner) == 1 for owner in owners)
    assert len(set.union(*owners)) == 4
    for k, owner in enumerate(owners):
        assert {int(value) // 100 for value in episode.queries[episode.query_labels == k]} == owner


@pytest.mark.parametrize("uneven", [False, True])
def test_an_episode_has_the_shape_asked_for(uneven: bool, generator: torch.Generator) -> None:
    seen = set()
    for _ in range(40):
        episode = sample_episode(RAGGED, EpisodeShape(3, (1, 2), 2, uneven), generator)
        shots = torch.bincount(episode.support.labels, minlength=3).tolist()
        seen.add(tuple(shots))
        assert episode.support.way == 3
        assert torch.bincount(episode.query_labels).tolist() == [2, 2, 2]
    even = {(1, 1, 1), (2, 2, 2)}
    assert seen >= even
    assert (seen == even) != uneven


def test_every_class_and_every_input_is_drawn_sooner_or_later(generator: torch.Generator) -> None:
    seen: set[float] = set()
    for _ in range(400):
        episode = sample_episode(RAGGED, EpisodeShape(3, (1, 2), 2), generator)
        seen |= {*episode.support.inputs.flatten().tolist(), *episode.queries.flatten().tolist()}
    assert seen == set(RAGGED.inputs.flatten().tolist())


def test_the_generator_names_the_episode() -> None:
    shape = EpisodeShape(3, (1, 2), 2)
    first, again, other = (sample_episode(RAGGED, shape, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.support.inputs, again.support.inputs)
    assert torch.equal(first.queries, again.queries)
    assert first.queries.tolist() != other.queries.tolist()


def test_too_few_classes_say_how_many_are_needed(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="at least 6 classes for a 6-way episode, got 5"):
        sample_episode(RAGGED, EpisodeShape(6, (1, 1), 1), generator)


def test_too_few_inputs_name_the_class(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="at least 5 inputs of class 'class0', got 4"):
        sample_episode(RAGGED, EpisodeShape(5, (3, 3), 2), generator)
