import pytest
import torch

from service.learner import heads
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
    torch.testing.assert_close(heads.prototypes(embeddings[shuffled], labels[shuffled], 3), slow)


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
    (learned,) = heads.learned_head(Recipe(), embedding).values()
    assert learned.exp().item() == pytest.approx(10 / embedding)


def test_what_is_learned_of_a_head_depends_on_its_kind() -> None:
    assert list(heads.learned_head(Recipe(), 8)) == ["head.log_scale"]
    assert heads.learned_head(Recipe(head="zero"), 8) == {}
    per_class = heads.learned_head(Recipe(head="per_class", way=5), 8)
    assert {name: tuple(value.shape) for name, value in per_class.items()} == {"head.weight": (5, 8), "head.bias": (5,)}


def test_a_zero_head_starts_at_zero_for_any_way(generator: torch.Generator) -> None:
    head = heads.initial_head({}, Recipe(head="zero"), torch.randn(3, 4, generator=generator))
    assert torch.equal(head["head.weight"], torch.zeros(3, 4))
    assert torch.equal(head["head.bias"], torch.zeros(3))


def test_a_per_class_head_starts_at_its_learned_rows(generator: torch.Generator) -> None:
    params = {"head.weight": torch.randn(3, 4, generator=generator), "head.bias": torch.randn(3, generator=generator)}
    head = heads.initial_head(params, Recipe(head="per_class", way=3), torch.randn(3, 4, generator=generator))
    assert torch.equal(head["head.weight"], params["head.weight"])
    assert torch.equal(head["head.bias"], params["head.bias"])


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(head="zero"), Recipe(head="per_class", way=3)])
def test_heads_of_many_tasks_start_as_each_alone(recipe: Recipe, generator: torch.Generator) -> None:
    params = {"head.weight": torch.randn(3, 4, generator=generator), "head.bias": torch.randn(3, generator=generator)}
    centres = torch.randn(6, 3, 4, generator=generator)
    together = heads.initial_head(params, recipe, centres)
    for task, own in enumerate(centres):
        for name, value in heads.initial_head(params, recipe, own).items():
            torch.testing.assert_close(together[name][task], value)
