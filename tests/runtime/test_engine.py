from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from service.errors import AdaptationDivergedError, UnusableVectorError
from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Support
from service.learner.familiarity import measures_distance, reaches
from service.learner.leave_one_out import leave_one_out_accuracies
from service.learner.meta_model import MetaModel, adapt, predict
from service.learner.recipe import Recipe, Scope
from service.learner.task_batch import TaskBatch
from service.learner.views import with_views
from service.runtime.bodies import Stacking
from service.runtime.engine import ENCODER_CHUNK, Engine, Fitted
from service.runtime.tasks import AdaptTask, Among, EmbedTask, PredictTask
from service.sessions.contents import digest, pack_weights
from tests.learner.tasks import assert_same_weights
from tests.runtime.tasks import MODELS, adapt_task, inputs, probabilities, scored
from tests.tiny import tiny_model

ENGINE = Engine(torch.device("cpu"))
# As on a CUDA device, in stacks of a few: whatever moves, and a single one too.
STACKING = Engine(torch.device("cpu"), stacking=Stacking(adapt_from=1, embed_from=1, kernels=True, room_bytes=2**21))

MODEL = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
ENGINES = pytest.mark.parametrize("engine", [ENGINE, STACKING], ids=["as it is", "stacking"])


def fitted(model: MetaModel, *tasks: AdaptTask, engine: Engine = ENGINE) -> list[Fitted]:
    found = engine.adapt(model, tasks)
    assert all(isinstance(each, Fitted) for each in found)
    return [each for each in found if isinstance(each, Fitted)]


def tasks_for(model: MetaModel, generator: torch.Generator) -> list[AdaptTask]:
    """Tasks of different way, shot and steps, as far as the model's head allows."""
    way = model.recipe.way
    shapes: list[list[int]] = [[1, 1], [3, 1, 30], [1] * 40, [2, 2]] if way is None else [[1] * way, [5] * way, [1, 2, 3, 9]]
    return [adapt_task(model, shots, steps, generator) for shots, steps in zip(shapes, (3, 0, 1, 2), strict=False)]


def assert_same_fit(got: Fitted, expected: Fitted) -> None:
    """DESIGN 3, "equal means"."""
    assert_same_weights(got.adapted.params, expected.adapted.params)
    assert got.adapted.losses == pytest.approx(expected.adapted.losses, rel=1e-5, abs=1e-6)
    assert got.leave_one_out_accuracy == expected.leave_one_out_accuracy
    assert got.reach == (None if expected.reach is None else pytest.approx(expected.reach, rel=1e-4))


@ENGINES
@MODEL
def test_batched_adaptation_equals_one_task_at_a_time(model: MetaModel, engine: Engine, generator: torch.Generator) -> None:
    tasks = tasks_for(model, generator)
    for together, task in zip(fitted(model, *tasks, engine=engine), tasks, strict=True):
        (alone,) = fitted(model, task)
        assert_same_fit(together, alone)


@ENGINES
@MODEL
def test_batched_adaptation_equals_the_inner_loop(model: MetaModel, engine: Engine, generator: torch.Generator) -> None:
    tasks = tasks_for(model, generator)
    for together, task in zip(fitted(model, *tasks, engine=engine), tasks, strict=True):
        support = task.support
        reference = adapt(model, support, task.steps)
        embedded = model.embed_support(with_views(support, model.recipe.views)).view(model.recipe.views, len(support.labels), -1)
        alone = TaskBatch.of([replace(support, inputs=embedded.mean(dim=0))])
        (leave_one_out,) = leave_one_out_accuracies(alone)
        (reach,) = reaches(alone, model.spread) if measures_distance(model.recipe) else [None]
        assert_same_fit(together, Fitted(reference, b"", "", leave_one_out, reach))
        assert len(together.adapted.losses) == task.steps + 1


@MODEL
def test_the_order_of_tasks_does_not_matter(model: MetaModel, generator: torch.Generator) -> None:
    tasks = tasks_for(model, generator)
    for forward, backward in zip(fitted(model, *tasks), reversed(fitted(model, *reversed(tasks))), strict=True):
        assert_same_fit(forward, backward)


@ENGINES
@MODEL
def test_batched_prediction_equals_one_query_at_a_time(model: MetaModel, engine: Engine, generator: torch.Generator) -> None:
    tasks = tasks_for(model, generator)
    asked = [
        PredictTask(each.adapted.params, each.weights_digest, inputs(model.encoder, count, generator), task.support.way)
        for each, task, count in zip(fitted(model, *tasks), tasks, (1, 7, ENCODER_CHUNK["cpu"] + 3, 2), strict=False)
    ]
    for together, task, source in zip(engine.predict(model, asked), asked, tasks, strict=True):
        expected = torch.cat([predict(model, task.params, query[None]) for query in task.queries])
        assert (probabilities(together, source.support.way) - expected).abs().max() < 1e-5


@ENGINES
@MODEL
def test_the_nearest_examples_are_those_of_the_adapted_encoder(model: MetaModel, engine: Engine, generator: torch.Generator) -> None:
    """Every query and every example embedded alone by the adapted weights; sessions that ask for none share the batch."""
    tasks = tasks_for(model, generator)
    known = fitted(model, *tasks)
    embedded = engine.embed(
        model, [EmbedTask(each.adapted.params, each.weights_digest, task.support.inputs) for each, task in zip(known, tasks, strict=True)]
    )
    queries = [inputs(model.encoder, count, generator) for count, _ in zip((1, 5, 70, 2), tasks, strict=False)]
    asked = [
        PredictTask(each.adapted.params, each.weights_digest, own, 1, nearest=Among(examples, 2) if place else None)
        for place, (each, own, examples) in enumerate(zip(known, queries, embedded, strict=True))
    ]
    silent, *told = engine.predict(model, asked)
    assert scored(silent).nearest is None
    for found, each, task, own in zip(told, known[1:], tasks[1:], queries[1:], strict=True):
        params = {**model.params, **each.adapted.params}
        examples, alone = (torch.cat([model.embed(one[None], params) for one in many]) for many in (task.support.inputs, own))
        slow = torch.cdist(alone, examples, compute_mode="donot_use_mm_for_euclid_dist")
        near = scored(found).nearest
        assert near is not None
        given = torch.tensor(near.distances)
        assert torch.allclose(slow.gather(1, torch.tensor(near.places)), given, rtol=1e-4, atol=1e-4)
        assert torch.allclose(slow.topk(2, largest=False).values, given, rtol=1e-4, atol=1e-4)


def test_embeddings_keep_no_memory_of_the_batch(generator: torch.Generator) -> None:
    model = MODELS["head"]
    tasks = [EmbedTask({}, "", inputs(model.encoder, count, generator)) for count in (2, 50)]
    for embedded in ENGINE.embed(model, tasks):
        assert embedded.untyped_storage().nbytes() == embedded.nbytes


def test_distances_that_overflow_fail_for_their_own_task_only(generator: torch.Generator) -> None:
    model = MODELS["head, of vectors"]
    (known,) = fitted(model, adapt_task(model, [2, 2], 1, generator))
    queries, examples = inputs(model.encoder, 1, generator), torch.zeros(4, model.encoder.embedding)
    asked = [PredictTask(known.adapted.params, known.weights_digest, queries, 1, nearest=Among(examples + far, 1)) for far in (0.0, 1e30)]
    fine, guilty = ENGINE.predict(model, asked)
    assert scored(fine).nearest is not None
    assert isinstance(guilty, UnusableVectorError)


@MODEL
def test_the_digest_identifies_the_adapted_weights(model: MetaModel, generator: torch.Generator) -> None:
    task = tasks_for(model, generator)[0]
    (first,), (second,) = fitted(model, task), fitted(model, replace(task, steps=0))
    assert first.packed == pack_weights(first.adapted.params)
    assert first.weights_digest == digest(first.packed) != second.weights_digest


def test_adapted_weights_keep_no_memory_of_the_batch(generator: torch.Generator) -> None:
    model = MODELS["head"]
    small, _ = fitted(model, adapt_task(model, [1, 1], 1, generator), adapt_task(model, [1] * 50, 1, generator))
    for value in small.adapted.params.values():
        assert value.untyped_storage().nbytes() == value.nbytes


def test_the_best_classes_come_first_and_no_more_than_asked(generator: torch.Generator) -> None:
    model = MODELS["head"]
    (known,) = fitted(model, adapt_task(model, [2] * 6, 3, generator))
    queries = inputs(model.encoder, 9, generator)
    full, three, many = map(
        scored, ENGINE.predict(model, [PredictTask(known.adapted.params, known.weights_digest, queries, top) for top in (6, 3, 100)])
    )
    assert [len(row) for row in three.rows] == [3] * 9
    assert [row[:3] for row in full.rows] == three.rows
    assert many == full
    assert all(scores == sorted(scores, reverse=True) for scores in full.scores)
    assert all(sum(scores) == pytest.approx(1, abs=1e-5) for scores in full.scores)


@MODEL
def test_a_reach_is_given_where_the_head_scores_by_distance_and_only_there(model: MetaModel, generator: torch.Generator) -> None:
    known = fitted(replace(model, spread=3.0), *tasks_for(model, generator))
    assert {each.reach is not None for each in known} == {model.recipe.head == "prototype" and model.recipe.scope == "head"}


def test_a_query_of_the_support_set_is_within_reach_and_one_of_another_kind_is_not(generator: torch.Generator) -> None:
    model = MODELS["head, of vectors"]
    labels = torch.arange(3).repeat_interleave(5)
    kinds = 3 * torch.randn(4, 6, generator=generator)
    support = Support(kinds[labels] + 0.1 * torch.randn(15, 6, generator=generator), labels, 3)
    (known,) = fitted(model, AdaptTask(support, 3))
    queries = torch.cat([kinds[:3] + 0.1 * torch.randn(3, 6, generator=generator), -5 * kinds[3:]])
    (found,) = ENGINE.predict(model, [PredictTask(known.adapted.params, known.weights_digest, queries, 1)])
    assert known.reach is not None
    assert [distance > known.reach for distance in scored(found).distances] == [False, False, False, True]


def test_a_huge_step_size_diverges_for_those_who_take_a_step(generator: torch.Generator) -> None:
    model = tiny_model(Mlp(6), Recipe(step_size=1e38, steps_max=10))
    tasks = [adapt_task(model, [20, 20, 20], steps, generator) for steps in (0, 4, 0)]
    tasks = [replace(task, support=replace(task.support, inputs=1e3 * task.support.inputs)) for task in tasks]
    first, guilty, last = ENGINE.adapt(model, tasks)
    assert isinstance(guilty, AdaptationDivergedError)
    assert "NaN or infinite" in guilty.message
    for found, task in ((first, tasks[0]), (last, tasks[2])):
        assert isinstance(found, Fitted)
        assert_same_fit(found, *fitted(model, task))


@pytest.mark.parametrize("scope", ["head", "all"])
def test_an_infinite_loss_is_refused_though_the_weights_are_finite(scope: Scope, generator: torch.Generator) -> None:
    model = tiny_model(Mlp(6), Recipe(scope=scope, head="per_class", way=2, step_size=1e20, steps_max=1))
    task = adapt_task(model, [5, 5], 1, generator)
    (found,) = ENGINE.adapt(model, [replace(task, support=replace(task.support, inputs=1e10 * task.support.inputs))])
    assert isinstance(found, AdaptationDivergedError)


@ENGINES
@pytest.mark.parametrize("model", [MODELS["head, of vectors"], tiny_model(Mlp(6), Recipe(scope="all", step_size=0.1, steps_max=10))])
def test_inputs_that_overflow_fail_for_their_own_task_only(model: MetaModel, engine: Engine, generator: torch.Generator) -> None:
    tasks = [adapt_task(model, [2, 3], 2, generator) for _ in range(3)]
    broken = replace(tasks[1].support, inputs=tasks[1].support.inputs * 1e30)
    tasks[1] = replace(tasks[1], support=broken)
    first, guilty, last = engine.adapt(model, tasks)
    assert isinstance(guilty, AdaptationDivergedError)
    for found, task in ((first, tasks[0]), (last, tasks[2])):
        assert isinstance(found, Fitted)
        assert_same_fit(found, *fitted(model, task))


@ENGINES
def test_adapting_changes_nothing_of_the_model_or_the_task(engine: Engine, generator: torch.Generator) -> None:
    for model in MODELS.values():
        before = {name: value.clone() for name, value in {**model.params, **model.statistics}.items()}
        tasks = tasks_for(model, generator)
        given = [task.support.inputs.clone() for task in tasks]
        fitted(model, *tasks, engine=engine)
        assert all(torch.equal(value, before[name]) for name, value in {**model.params, **model.statistics}.items())
        assert all(torch.equal(task.support.inputs, inputs) for task, inputs in zip(tasks, given, strict=True))


def test_a_body_moving_model_passes_a_support_set_of_one_shot_no_more_than_its_steps_do(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, engine = MODELS["body"], Engine(torch.device("cpu"))
    way = model.recipe.way or 3
    alone, several = (adapt_task(model, [shots] * way, 1, generator) for shots in (1, 3))
    asked: list[AdaptTask] = []
    embed = engine._embed_supports

    def noted(model: MetaModel, tasks: Sequence[AdaptTask]) -> list[torch.Tensor]:
        asked.extend(tasks)
        return embed(model, tasks)

    monkeypatch.setattr(engine, "_embed_supports", noted)
    one, other = engine.adapt(model, [alone, several])
    assert isinstance(one, Fitted)
    assert isinstance(other, Fitted)
    assert asked == [several]
    assert one.leave_one_out_accuracy is None
    assert other.leave_one_out_accuracy is not None
