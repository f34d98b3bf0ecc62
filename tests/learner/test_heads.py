import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner import heads
from service.learner.losses import balanced_weights
from service.learner.recipe import Recipe
from tests.learner.tasks import labels_of


def test_the_distance_of_a_prototype_head_is_that_from_the_nearest_prototype(generator: torch.Generator) -> None:
    centres, queries, factor = torch.randn(4, 5, generator=generator), torch.randn(9, 5, generator=generator), torch.tensor(0.3)
    best = heads.logits(heads.prototype_head(centres), queries, factor).amax(dim=1)
    torch.testing.assert_close(heads.distances(best, queries, factor), torch.cdist(queries, centres).square().amin(dim=1))


def test_a_prototype_is_the_mean_of_its_class(generator: torch.Generator) -> None:
    embeddings, labels = torch.randn(36, 5, generator=generator), labels_of([1, 30, 5])
    shuffled = torch.randperm(36, generator=generator)
    slow = torch.stack([embeddings[labels == label].mean(dim=0) for label in range(3)])
    torch.testing.assert_close(heads.prototypes(embeddings[shuffled], F.one_hot(labels[shuffled]).float()), slow)


def test_a_prototype_head_ranks_by_squared_distance(generator: torch.Generator) -> None:
    centres, queries = torch.randn(7, 5, generator=generator), torch.randn(20, 5, generator=generator)
    factor = torch.tensor(0.3)
    slow = torch.stack([torch.stack([-factor * (query - centre).square().sum() for centre in centres]) for query in queries])
    logits = heads.logits(heads.prototype_head(centres), queries, factor)
    torch.testing.assert_close(logits.softmax(dim=1), slow.softmax(dim=1), atol=1e-6, rtol=0)


def test_the_scale_is_learned_for_prototypes_and_one_for_other_heads() -> None:
    assert heads.scale({"head.log_scale": torch.tensor(2.5).log()}).item() == pytest.approx(2.5)
    assert heads.scale({"head.weight": torch.zeros(5, 3)}).item() == 1


@pytest.mark.parametrize("embedding", [4, 256])
def test_the_first_logits_do_not_grow_with_the_length_of_the_embedding(embedding: int) -> None:
    (learned,) = heads.learned_head(Recipe(), embedding, torch.Generator()).values()
    assert learned.exp().item() == pytest.approx(10 / embedding)


def test_what_is_learned_of_a_head_depends_on_its_kind(generator: torch.Generator) -> None:
    assert list(heads.learned_head(Recipe(), 8, generator)) == ["head.log_scale"]
    assert heads.learned_head(Recipe(head="zero"), 8, generator) == {}
    per_class = heads.learned_head(Recipe(head="per_class", way=5), 8, generator)
    assert {name: tuple(value.shape) for name, value in per_class.items()} == {"head.weight": (5, 8), "head.bias": (5,)}


def test_a_zero_head_starts_at_zero_for_any_way(generator: torch.Generator) -> None:
    head = heads.initial_head({}, Recipe(head="zero"), *random_support(generator))
    assert torch.equal(head["head.weight"], torch.zeros(3, 4))
    assert torch.equal(head["head.bias"], torch.zeros(3))


def test_a_per_class_head_starts_at_its_learned_rows(generator: torch.Generator) -> None:
    params = {"head.weight": torch.randn(3, 4, generator=generator), "head.bias": torch.randn(3, generator=generator)}
    head = heads.initial_head(params, Recipe(head="per_class", way=3), *random_support(generator))
    assert torch.equal(head["head.weight"], params["head.weight"])
    assert torch.equal(head["head.bias"], params["head.bias"])


def test_a_shared_head_starts_with_one_row_for_every_class(generator: torch.Generator) -> None:
    params = heads.learned_head(Recipe(head="shared"), 4, generator)
    head = heads.initial_head(params, Recipe(head="shared"), *random_support(generator))
    assert torch.equal(head["head.weight"], params["head.weight"].repeat(3, 1))
    assert torch.equal(head["head.bias"], params["head.bias"].repeat(3))


@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_a_ridge_head_solves_the_normal_equations(penalty: float, generator: torch.Generator) -> None:
    """In the numbers of an embedding rather than in the examples: (XᵀX + λI)⁻¹XᵀY, a one beside every embedding."""
    embeddings, targets, weights = (value.double() for value in random_support(generator, shots=(2, 2, 2)))
    seen = torch.cat([embeddings, torch.ones(6, 1)], dim=1)
    expected = torch.linalg.inv(seen.T @ seen + penalty * torch.eye(5)) @ seen.T @ targets
    head = heads.ridge_head(embeddings, targets, weights, torch.tensor(penalty, dtype=torch.float64))
    torch.testing.assert_close(heads.rows(head), expected.T)


def test_a_ridge_head_weighs_every_class_alike(generator: torch.Generator) -> None:
    """A class whose only example was sent twice counts no more than it did."""
    embeddings, targets, weights = random_support(generator, shots=(1, 1, 2))
    twice = torch.tensor([0, 0, 1, 1, 2, 3])
    penalty = torch.tensor(1e-3)
    once = heads.ridge_head(embeddings, targets, weights, penalty * 4)
    again = heads.ridge_head(embeddings[twice], targets[twice], torch.tensor([1, 1, 1, 1, 1, 1]) / 6, penalty * 6)
    torch.testing.assert_close(again, once, rtol=1e-3, atol=1e-4)


def discriminant(embeddings: Tensor, targets: Tensor, weights: Tensor, *, penalty: float = 1.0, evidence: float = 1.0) -> dict[str, Tensor]:
    penalty_, evidence_ = (torch.tensor(value, dtype=embeddings.dtype) for value in (penalty, evidence))
    return heads.discriminant_head(embeddings, targets, weights, penalty=penalty_, evidence=evidence_)


def standardised_by_hand(embeddings: Tensor, weights: Tensor) -> Tensor:
    mean = weights @ embeddings
    return (embeddings - mean) / (weights @ (embeddings - mean).square()).sqrt()


@pytest.mark.parametrize("shots", [(3, 5, 2), (1, 9, 4)])
def test_a_discriminant_head_is_friedmans_on_standardised_numbers(shots: tuple[int, ...], generator: torch.Generator) -> None:
    embeddings, targets, weights = (value.double() for value in random_support(generator, shots=shots))
    embeddings, queries = 3 * embeddings + 7, 3 * torch.randn(8, 4, generator=generator, dtype=torch.float64) + 7
    seen = standardised_by_hand(torch.cat([embeddings, queries]), torch.cat([weights, torch.zeros(8, dtype=torch.float64)]))
    seen, asked = seen[: len(embeddings)], seen[len(embeddings) :]
    centres = torch.stack([seen[targets[:, k] == 1].mean(dim=0) for k in range(3)])
    apart = seen - centres[targets.argmax(dim=1)]
    pooled = (apart.T @ apart + 0.5 * 4 * torch.eye(4)) / (len(seen) - 3 + 2.5)
    farther = torch.stack([(asked - centre) @ torch.linalg.inv(pooled) * (asked - centre) for centre in centres], dim=1).sum(dim=2)
    head = discriminant(embeddings, targets, weights, penalty=0.5, evidence=2.5)
    found = heads.logits(head, queries, torch.ones(()))
    torch.testing.assert_close(found.softmax(dim=1), (-farther / 2).softmax(dim=1))


def test_units_and_zero_points_of_columns_do_not_matter_to_a_discriminant_head(generator: torch.Generator) -> None:
    embeddings, targets, weights = random_support(generator, shots=(3, 4))
    queries = torch.randn(6, 4, generator=generator)
    units, zeros = torch.tensor([1e-20, 1.0, 1e3, 1e35]), torch.tensor([3e-20, 50.0, 0.0, -1e35])
    as_it_is = heads.logits(discriminant(embeddings, targets, weights), queries, torch.ones(()))
    head = discriminant(embeddings * units + zeros, targets, weights)
    torch.testing.assert_close(heads.logits(head, queries * units + zeros, torch.ones(())), as_it_is, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shots", [(1, 1, 1), (1, 4, 2)])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6, 3e38])
def test_a_constant_column_has_no_part_in_a_discriminant_head(shots: tuple[int, ...], constant: float, generator: torch.Generator) -> None:
    embeddings, targets, weights = random_support(generator, shots=shots)
    wider = F.pad(embeddings, (0, 2), value=constant)
    head = discriminant(wider, targets, weights)
    assert torch.equal(head["head.weight"][:, 4:], torch.zeros(3, 2))
    narrow = discriminant(embeddings, targets, weights)
    torch.testing.assert_close(heads.rows(head)[:, [0, 1, 2, 3, 6]], heads.rows(narrow))


def test_with_one_shot_a_discriminant_head_finds_the_nearest_standardised_example(generator: torch.Generator) -> None:
    embeddings, targets, weights = random_support(generator, shots=(1, 1, 1))
    queries = torch.randn(20, 4, generator=generator)
    seen, centre, inverse = heads.standardised(embeddings, weights)
    found = heads.logits(discriminant(embeddings, targets, weights, penalty=0.5, evidence=1.5), queries, torch.ones(()))
    torch.testing.assert_close(
        found.softmax(dim=1), (-torch.cdist((queries - centre) * inverse, seen).square() * 1.5 / (0.5 * 4) / 2).softmax(dim=1)
    )


def test_examples_that_are_all_the_same_tell_a_discriminant_head_nothing() -> None:
    same, targets = torch.full((4, 3), 2.5), F.one_hot(labels_of((2, 2))).float()
    head = discriminant(same, targets, torch.full((4,), 0.25))
    assert torch.equal(heads.rows(head), torch.zeros(2, 4))


HEADS = [
    Recipe(),
    Recipe(head="zero"),
    Recipe(head="shared"),
    Recipe(head="per_class", way=3),
    Recipe(head="ridge"),
    Recipe(head="discriminant"),
]


@pytest.mark.parametrize("recipe", HEADS, ids=lambda recipe: recipe.head)
def test_heads_of_many_tasks_start_as_each_alone(recipe: Recipe, generator: torch.Generator) -> None:
    params = heads.learned_head(recipe, 4, generator)
    tasks = [random_support(generator) for _ in range(6)]
    embeddings, targets, weights = (torch.stack(values) for values in zip(*tasks, strict=True))
    together = heads.initial_head(params, recipe, embeddings, targets, weights)
    for task, own in enumerate(tasks):
        for name, value in heads.initial_head(params, recipe, *own).items():
            torch.testing.assert_close(together[name][task], value)


def random_support(generator: torch.Generator, shots: tuple[int, ...] = (1, 3, 2)) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [N, 4], one-hot targets [N, way] and class-balanced weights [N]."""
    labels = labels_of(shots)
    return torch.randn(len(labels), 4, generator=generator), F.one_hot(labels).float(), balanced_weights(labels, len(shots))
