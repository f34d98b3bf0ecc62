import itertools

import pytest
import torch

from service.learner.episodes import ClassInputs, Episode, EpisodeShape, sample_episode


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
    assert rotated.names == ("a", "b", "turned 90/a", "turned 90/b", "turned 180/a", "turned 180/b", "turned 270/a", "turned 270/b")
    assert [rotated.size(k) for k in range(8)] == [2, 3] * 4
    for k, name in enumerate(rotated.names):
        quarters = int(name.removeprefix("turned ").partition("/")[0]) // 90 if "/" in name else 0
        inputs = rotated.inputs[rotated.first[k] : rotated.first[k + 1]]
        original = classes.inputs[classes.first[k % 2] : classes.first[k % 2 + 1]]
        for got, upright in zip(inputs[:, 0], original[:, 0], strict=True):
            turned = upright
            for _ in range(quarters):
                turned = turned.T.flip(0)  # a quarter turn: transpose, then upside down
            assert torch.equal(got, turned)


def test_reflections_are_classes_of_their_own_with_mirrored_content(generator: torch.Generator) -> None:
    classes = ClassInputs.of([(name, torch.rand(size, 1, 3, 3, generator=generator)) for name, size in (("a", 2), ("b", 3))])
    mirrored = classes.with_reflections()
    assert mirrored.names == ("a", "b", "mirrored/a", "mirrored/b")
    assert mirrored.first == (0, 2, 5, 7, 10)
    for row in range(5):
        assert torch.equal(mirrored.inputs[row], classes.inputs[row])
        assert torch.equal(mirrored.inputs[5 + row][0], classes.inputs[row][0][:, [2, 1, 0]])


ALPHABETS = ClassInputs.of(
    [
        (f"{name}/{k}", 100.0 * place + 10 * k + torch.arange(4)[:, None])
        for place, (name, size) in enumerate((("x", 5), ("y", 3), ("z", 6)))
        for k in range(size)
    ]
)


def test_groups_are_the_classes_that_agree_up_to_the_last_slash() -> None:
    assert ALPHABETS.groups() == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9, 10, 11, 12, 13]]
    assert numbered([2, 2]).groups() == [[0, 1]]
    turned = ALPHABETS.replace_inputs(torch.zeros(len(ALPHABETS.inputs), 1, 2, 2)).with_rotations().groups()
    assert [len(group) for group in turned] == [5, 3, 6] * 4


def alphabets_of(episode: Episode) -> list[int]:
    """The alphabet of each class."""
    return [int(value) // 100 for value in episode.queries.flatten().tolist()]


def test_a_group_lends_at_most_so_many_classes_then_the_next(generator: torch.Generator) -> None:
    seen = set()
    for _ in range(100):
        episode = sample_episode(ALPHABETS, EpisodeShape(7, (1, 1), 1, group=4), generator)
        alphabets = alphabets_of(episode)
        assert len(set(episode.queries.flatten().tolist())) == 7
        runs = [(alphabet, len(list(same))) for alphabet, same in itertools.groupby(alphabets)]
        assert len({alphabet for alphabet, _ in runs}) == len(runs)
        seen.add(tuple(runs))
    # The second alphabet has only three: it lends them all, and goes on to the next.
    assert seen == {((0, 4), (2, 3)), ((2, 4), (0, 3)), ((0, 4), (1, 3)), ((2, 4), (1, 3)), ((1, 3), (0, 4)), ((1, 3), (2, 4))}


def test_a_group_as_large_as_the_way_is_one_alphabet(generator: torch.Generator) -> None:
    large = ALPHABETS.in_large_groups(5)
    drawn = [alphabets_of(sample_episode(large, EpisodeShape(5, (1, 1), 1, group=5), generator)) for _ in range(40)]
    assert {len(set(alphabets)) for alphabets in drawn} == {1}
    assert {alphabets[0] for alphabets in drawn} == {0, 2}


def test_without_any_large_group_the_largest_is_named() -> None:
    assert ALPHABETS.in_large_groups(6).names == tuple(f"z/{k}" for k in range(6))
    with pytest.raises(ValueError, match="groups of at least 7 classes, got none larger than 6"):
        ALPHABETS.in_large_groups(7)


def test_too_few_groups_say_how_many_there_are(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="expected 11 classes with at most 3 from one group, got 9"):
        sample_episode(ALPHABETS, EpisodeShape(11, (1, 1), 1, group=3), generator)


def test_without_turns_an_episode_has_one_round_itself(generator: torch.Generator) -> None:
    episode = sample_episode(RAGGED, EpisodeShape(3, (1, 2), 2, uneven=True), generator)
    assert [each is episode for each in episode.rounds()] == [True]


@pytest.mark.parametrize("shot", [1, 2])
def test_with_turns_every_example_is_support_as_often_as_any_other(shot: int, generator: torch.Generator) -> None:
    episode = sample_episode(numbered([6, 7, 8]), EpisodeShape(3, (shot, shot), 2, turns=True), generator)
    rounds = list(episode.rounds())
    assert len(rounds) == shot + 2
    examples = [*episode.support.inputs.flatten().tolist(), *episode.queries.flatten().tolist()]
    for each in rounds:
        assert sorted([*each.support.inputs.flatten().tolist(), *each.queries.flatten().tolist()]) == sorted(examples)
        owners = {(int(value) // 100, int(label)) for value, label in zip(each.support.inputs.flatten(), each.support.labels, strict=True)}
        owners |= {(int(value) // 100, int(label)) for value, label in zip(each.queries.flatten(), each.query_labels, strict=True)}
        assert len(owners) == 3  # an example keeps its label
    supports = [value for each in rounds for value in each.support.inputs.flatten().tolist()]
    assert {supports.count(value) for value in examples} == {shot}
    assert torch.equal(rounds[0].support.inputs, episode.support.inputs)


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
