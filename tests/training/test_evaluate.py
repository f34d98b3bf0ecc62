import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from service.learner.calibration import Calibration, Cell
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.residual import Residual
from service.learner.episodes import EpisodeShape, sample_episode
from service.learner.losses import calibration_error
from service.learner.meta_model import MetaModel, adapt, predict
from service.learner.recipe import Recipe
from service.training.evaluate import Judged, answers, embed_all, evaluate, pool
from tests.tiny import HEAD_RECIPE, tiny_model
from tests.training.runs import tiny_data

SHAPE = EpisodeShape(4, (1, 3), 2, uneven=True)
EPISODES = 37  # more than one chunk of tasks

MODELS = {
    "head": tiny_model(Conv4(width=4, size=16), replace(HEAD_RECIPE, step_size=0.1)),
    "all": tiny_model(
        Conv4(width=8, size=16, norm="group", groups=2), Recipe(scope="all", step_size=0.1, steps_default=2, steps_max=4)
    ),
    "head, through views": tiny_model(Residual(widths=(4, 8), size=16, projection=12), replace(HEAD_RECIPE, step_size=0.1, views=4)),
    "all, through views": tiny_model(
        Conv4(width=8, size=16, norm="group", groups=2), Recipe(scope="all", step_size=0.1, steps_default=2, steps_max=4, views=3)
    ),
    "last_block": tiny_model(
        Conv4(width=4, size=16, norm="none"), Recipe(scope="last_block", step_size=0.1, steps_default=2, steps_max=4)
    ),
}  # fmt: skip


def one_query_at_a_time(model: MetaModel, shape: EpisodeShape, *, steps: int, episodes: int, seed: int) -> tuple[list[float], list[float]]:
    """Accuracy and mean loss of every episode: adapt one task, then ask its queries singly, as a server is asked."""
    generator, classes = torch.Generator().manual_seed(seed), tiny_data()["test"]
    accuracies, losses = [], []
    for _ in range(episodes):
        episode = sample_episode(classes, shape, generator)
        adapted = adapt(model, episode.support, steps).params
        answers = torch.cat([predict(model, adapted, query[None]) for query in episode.queries])
        accuracies.append((answers.argmax(dim=1) == episode.query_labels).double().mean().item())
        losses.append(F.nll_loss(answers.log(), episode.query_labels).item())
    return accuracies, losses


@pytest.mark.parametrize("scope", MODELS)
@pytest.mark.parametrize("steps", [0, 2])
def test_it_equals_adapting_and_asking_one_query_at_a_time(scope: str, steps: int) -> None:
    got = evaluate(MODELS[scope], pool(MODELS[scope], tiny_data()["test"]), SHAPE, steps=steps, episodes=EPISODES, seed=5)
    accuracies, losses = one_query_at_a_time(MODELS[scope], SHAPE, steps=steps, episodes=EPISODES, seed=5)
    assert got.accuracy == pytest.approx(sum(accuracies) / EPISODES, abs=1e-6)
    assert got.loss == pytest.approx(sum(losses) / EPISODES, rel=1e-4)
    variance = sum((accuracy - got.accuracy) ** 2 for accuracy in accuracies) / (EPISODES - 1)
    assert got.ci95 == pytest.approx(1.96 * math.sqrt(variance / EPISODES), rel=1e-4)
    assert 1 / SHAPE.way < got.accuracy < 1


@pytest.mark.parametrize("scope", MODELS)
def test_an_answer_knows_the_shots_of_its_episode_whatever_the_views(scope: str) -> None:
    model = MODELS[scope]
    for found in answers(model, pool(model, tiny_data()["test"]), EpisodeShape(3, (2, 2), 2), steps=1, episodes=2, seed=5):
        assert found.shots == (2, 2, 2)


@pytest.mark.parametrize("scope", MODELS)
def test_the_seed_names_the_episodes(scope: str) -> None:
    def judged(seed: int) -> Judged:
        return evaluate(MODELS[scope], pool(MODELS[scope], tiny_data()["test"]), SHAPE, steps=1, episodes=8, seed=seed)

    assert judged(1) == judged(1)
    assert judged(1).loss != judged(2).loss


def test_steps_count() -> None:
    classes = tiny_data()["test"]
    before, after = (
        evaluate(MODELS["head"], pool(MODELS["head"], classes), SHAPE, steps=steps, episodes=8, seed=1).loss for steps in (0, 3)
    )
    assert before != pytest.approx(after, rel=1e-3)


def test_judging_changes_nothing_of_the_meta_model() -> None:
    for model in MODELS.values():
        before = {name: value.clone() for name, value in {**model.params, **model.statistics}.items()}
        evaluate(model, pool(model, tiny_data()["test"]), SHAPE, steps=2, episodes=4, seed=1)
        assert all(torch.equal(value, before[name]) for name, value in {**model.params, **model.statistics}.items())


def test_embedding_in_chunks_is_embedding_one_at_a_time(generator: torch.Generator) -> None:
    model = MODELS["head"]
    images = torch.randint(256, (300, 1, 16, 16), dtype=torch.uint8, generator=generator)
    one_by_one = torch.cat([model.embed(image[None]) for image in images])
    torch.testing.assert_close(embed_all(model, images), one_by_one, atol=1e-5, rtol=1e-5)


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 9 classes"):
        evaluate(MODELS["head"], pool(MODELS["head"], tiny_data()["test"]), EpisodeShape(9, (1, 1), 1), steps=0, episodes=2, seed=0)


def test_scores_are_those_of_the_calibration_and_right_answers_are_not() -> None:
    model, classes = MODELS["head"], tiny_data()["test"]
    calibration = Calibration("none", 1, (Cell(4, 1, 1, 0.5), Cell(4, 3, 1, 4.0)))
    plain = evaluate(model, pool(model, classes), SHAPE, steps=1, episodes=5, seed=5)
    got = evaluate(model, pool(model, classes, calibration), SHAPE, steps=1, episodes=5, seed=5)
    episodes, expected = torch.Generator().manual_seed(5), []
    for _ in range(5):
        episode = sample_episode(classes, SHAPE, episodes)
        scores = predict(model, adapt(model, episode.support, 1).params, episode.queries)
        # Of four classes with 1 to 3 examples each, on average nearer to one (by factors) or to three.
        temperature = 0.5 if len(episode.support.labels) / 4 < math.sqrt(3) else 4.0
        expected.append(F.cross_entropy(scores.log() / temperature, episode.query_labels).item())
    assert got.loss == pytest.approx(sum(expected) / 5, rel=1e-4)
    assert got.loss != pytest.approx(plain.loss, rel=0.05)
    assert (got.accuracy, got.ci95) == (plain.accuracy, plain.ci95)


def test_the_calibration_error_is_over_all_queries() -> None:
    model = MODELS["head"]
    got = evaluate(model, pool(model, tiny_data()["test"]), SHAPE, steps=1, episodes=3, seed=5)
    generator, scores, correct = torch.Generator().manual_seed(5), [], []
    for _ in range(3):
        episode = sample_episode(tiny_data()["test"], SHAPE, generator)
        answers = predict(model, adapt(model, episode.support, 1).params, episode.queries)
        scores.append(answers.max(dim=1).values)
        correct.append(answers.argmax(dim=1) == episode.query_labels)
    assert got.calibration_error == pytest.approx(calibration_error(torch.cat(scores), torch.cat(correct)), abs=1e-5)
