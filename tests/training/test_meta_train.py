import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.training import memory_over
from service.errors import BadCheckpointError, BadDataError, DivergedTrainingError
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.meta_model import MetaModel, adapt
from service.learner.outer_rules import Outcome
from service.learner.presets import PRESETS
from service.learner.statistics import measure
from service.training.checkpoint import load_checkpoint, save_checkpoint
from service.training.evaluate import evaluate, pool
from service.training.gradient import episodes_of
from service.training.meta_train import Trained, freeze, meta_train
from service.training.options import TrainOptions
from tests.learner.tasks import distance
from tests.training.runs import (
    PER_CLASS,
    SHIPPED_KIND,
    TABLE,
    After,
    Heard,
    assert_same,
    checkpoint_after,
    loaded_data,
    tiny_data,
    tiny_options,
    train,
)

UNCHANGED = {"turn": 0, "scale": 0, "stretch": 0, "slant": 0, "shift": 0, "bend": 0, "stroke": 0}


def validation_shape(options: TrainOptions) -> EpisodeShape:
    how = options.validation
    return EpisodeShape(how.way, (how.shot, how.shot), how.queries)


def state(run: Path, options: TrainOptions) -> dict[str, Any]:
    """Everything in a checkpoint but the time it took."""
    return {**asdict(load_checkpoint(run, options)), "seconds": None}


def assert_same_run(run: Path, other: Path, options: TrainOptions) -> None:
    assert_same(state(run, options), state(other, options))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A run from start to end, uninterrupted: nine meta-steps in two stages."""
    run = tmp_path_factory.mktemp("whole")
    trained = train(tiny_options(), run)
    assert trained is not None
    assert trained.finished
    return run, trained


@pytest.mark.parametrize(
    "stops", [[0], [2], [3], [4], [7], [9], [2, 6], [1, 1]], ids=lambda stops: "stopped after " + " and ".join(map(str, stops))
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(stops: list[int], whole: tuple[Path, Trained], tmp_path: Path) -> None:
    """Stopped before the first step, within a stage, at a validation, at the border of two stages, at the end, and twice."""
    options, (run, trained) = tiny_options(), whole
    for index, stop in enumerate(stops):
        train(options, tmp_path, steps=stop, resume=index > 0)
    assert load_checkpoint(tmp_path, options).step == sum(stops)
    resumed = train(options, tmp_path, resume=True)
    assert_same_run(tmp_path, run, options)
    assert resumed is not None
    assert_same(dict(resumed.model.params), dict(trained.model.params))
    assert_same(dict(resumed.model.statistics), dict(trained.model.statistics))
    assert (resumed.best.score, resumed.best.step, resumed.finished) == (trained.best.score, trained.best.step, True)


def test_so_does_one_with_all_that_the_shipped_configurations_turn_on(tmp_path: Path) -> None:
    options, data = tiny_options(**SHIPPED_KIND), loaded_data()
    train(options, tmp_path / "whole", data=data)
    for stop in (1, 3):
        train(options, tmp_path / "stopped", steps=stop, resume=stop > 1, data=data)
    train(options, tmp_path / "stopped", resume=True, data=data)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole", options)


def test_the_same_configuration_gives_the_same_run_and_another_seed_another(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    train(tiny_options(), tmp_path / "again")
    assert_same_run(tmp_path / "again", whole[0], tiny_options())
    other = train(tiny_options(seed=4), tmp_path / "other")
    assert other is not None
    assert not torch.equal(other.model.params["encoder.block1.conv.weight"], whole[1].model.params["encoder.block1.conv.weight"])


def test_the_seed_names_the_episodes_too(tmp_path: Path) -> None:
    """From the very same initial weights, another seed's first episode is another one."""
    initial = checkpoint_after(tiny_options(), tmp_path, 0)
    losses = []
    for seed in (3, 3, 4):
        heard, options = Heard(), tiny_options(seed=seed)
        save_checkpoint(tmp_path, initial, options)
        train(options, tmp_path, steps=1, resume=True, heard=heard)
        losses.append(heard.outcomes[0].loss)
    assert losses[0] == losses[1] != losses[2]


def test_a_run_stopped_before_the_first_validation_has_no_result_yet(tmp_path: Path) -> None:
    assert train(tiny_options(), tmp_path, steps=2) is None


def test_a_run_stopped_after_a_validation_is_not_finished(tmp_path: Path) -> None:
    trained = train(tiny_options(), tmp_path, steps=4)
    assert trained is not None
    assert (trained.finished, trained.steps, trained.best.step) == (False, 4, 3)


def test_the_data_come_before_the_run(tmp_path: Path) -> None:
    few = {**tiny_data(), "train": tiny_data()["train"].only(range(5))}
    with pytest.raises(BadDataError, match="asks for 6 train classes, got 5"):
        meta_train(tiny_options(), few, tmp_path, reporter=Heard())
    assert list(tmp_path.iterdir()) == []


def test_resuming_with_another_configuration_is_refused(tmp_path: Path) -> None:
    train(tiny_options(), tmp_path, steps=1)
    with pytest.raises(BadCheckpointError, match="configuration has changed"):
        train(tiny_options(seed=4), tmp_path, resume=True)


def test_every_step_and_validation_is_reported(tmp_path: Path) -> None:
    heard = Heard()
    train(tiny_options(), tmp_path, heard=heard)
    assert heard.steps == list(range(1, 10))
    assert heard.validated_at == [3, 6, 9]
    assert all(math.isfinite(outcome.loss) and 0 <= outcome.accuracy <= 1 for outcome in heard.outcomes)


def test_the_last_step_is_validated_even_off_the_beat(tmp_path: Path) -> None:
    heard = Heard()
    train(tiny_options(stages=[{"steps": 4, "way": [3, 3], "queries": 2}]), tmp_path, heard=heard)
    assert heard.validated_at == [3, 4]


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    options, data = tiny_options(), tiny_data()
    train(options, tmp_path, steps=1)
    fewer = {**data, "train": data["train"].only(range(len(data["train"]) - 1))}
    with pytest.raises(BadCheckpointError, match="the data have changed since"):
        meta_train(options, fewer, tmp_path, reporter=Heard(), resume=True)
    assert meta_train(options, data, tmp_path, reporter=Heard(), resume=True) is not None


def test_between_validations_a_checkpoint_is_written_as_time_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is killed in its fourth step, which a reporter stands for."""
    options = tiny_options(
        stages=[{"steps": 6, "way": [3, 3], "queries": 2}], validation={"every": 50, "episodes": 4, "way": 4, "queries": 2}
    )

    class Killed(Heard):
        def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None:
            super().stepped(step, outcome, learning_rate)
            if step == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr("service.training.meta_train.SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        meta_train(options, tiny_data(), tmp_path / "killed", reporter=Killed())
    assert load_checkpoint(tmp_path / "killed", options).step == 3
    resumed = meta_train(options, tiny_data(), tmp_path / "killed", reporter=Heard(), resume=True)
    whole = meta_train(options, tiny_data(), tmp_path / "whole", reporter=Heard())
    assert resumed is not None
    assert whole is not None
    assert_same(dict(resumed.best.params), dict(whole.best.params))


def test_the_learning_rate_warms_up_linearly_and_follows_a_cosine_to_zero(tmp_path: Path) -> None:
    heard, stages = Heard(), [{"steps": 10, "way": [3, 3], "queries": 2}]
    train(tiny_options(stages=stages, optimiser={"learning_rate": 0.02, "warmup": 0.4}), tmp_path, heard=heard)
    warm = [0.02 * step / 4 for step in (1, 2, 3, 4)]
    cosine = [0.02 * math.cos(math.pi * step / 12) ** 2 for step in range(1, 7)]
    assert heard.rates == pytest.approx(warm + cosine, abs=1e-9)
    assert heard.rates[-1] == pytest.approx(0, abs=1e-9)


def test_a_stage_goes_at_its_own_pace_of_the_one_schedule(tmp_path: Path) -> None:
    stage, steady, slow = {"steps": 2, "way": [3, 3], "queries": 2}, Heard(), Heard()
    changes = {"pretraining": {"steps": 1, "batch": 4}, "optimiser": {"learning_rate": 0.02, "warmup": 0}}
    train(tiny_options(**changes, stages=[stage, stage]), tmp_path / "steady", heard=steady)
    train(tiny_options(**changes, stages=[stage, {**stage, "pace": 0.1}]), tmp_path / "slow", heard=slow)
    assert slow.rates == pytest.approx([*steady.rates[:3], *(0.1 * rate for rate in steady.rates[3:])])


def test_the_average_follows_the_weights_with_a_growing_decay(tmp_path: Path) -> None:
    """average ← d · average + (1 − d) · weights with d = min(decay, (1 + t) / (10 + t)), from the initial weights on."""
    options = tiny_options(optimiser={"ema": 0.25})
    trail = [checkpoint_after(options, tmp_path, steps) for steps in range(5)]
    assert_same(trail[0].average, trail[0].params)
    for step, (before, after) in enumerate(pairwise(trail)):
        decay = min(0.25, (1 + step) / (10 + step))
        for name, value in after.average.items():
            torch.testing.assert_close(value, decay * before.average[name] + (1 - decay) * after.params[name])
    assert not torch.allclose(trail[-1].average["encoder.block1.conv.weight"], trail[-1].params["encoder.block1.conv.weight"])


def test_the_best_validated_average_is_the_result(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    heard = Heard()
    train(tiny_options(), tmp_path, heard=heard)
    accuracies = [judged.accuracy for judged in heard.judged]
    assert whole[1].best.score == max(accuracies)
    assert whole[1].best.step == 3 * (1 + accuracies.index(max(accuracies)))
    # Judged again, the result gives the figure it was chosen by: parameters and statistics belong together.
    shape = validation_shape(tiny_options())
    model = whole[1].model
    validation = pool(model, tiny_data()["validation"])
    again = evaluate(model, validation, shape, steps=model.recipe.steps_default, episodes=20, seed=tiny_options().seed)
    assert again.accuracy == whole[1].best.score


def test_each_validation_judges_the_average_of_its_own_step(tmp_path: Path) -> None:
    options, heard = tiny_options(), Heard()
    train(options, tmp_path, heard=heard)
    for step, judged in zip(heard.validated_at, heard.judged, strict=True):
        model = freeze(options, checkpoint_after(options, tmp_path / str(step), step).average, tiny_data()["train"])
        again = evaluate(model, pool(model, tiny_data()["validation"]), validation_shape(options), steps=5, episodes=20, seed=options.seed)
        assert judged == again


def test_validation_keeps_the_first_of_equally_good_weights(tmp_path: Path) -> None:
    trained = train(standing_still(patience=0), tmp_path)
    assert trained is not None
    assert (trained.best.step, trained.steps) == (1, 9)


def standing_still(*, patience: int) -> TrainOptions:
    """A run whose weights hardly move, so that no validation is better than the first."""
    validation = {"every": 1, "episodes": 6, "way": 3, "queries": 1, "patience": patience}
    return tiny_options(optimiser={"learning_rate": 1e-12}, validation=validation)


def test_a_run_stops_early_when_patience_runs_out(tmp_path: Path) -> None:
    heard = Heard()
    trained = train(standing_still(patience=2), tmp_path, heard=heard)
    assert trained is not None
    assert (heard.validated_at, trained.steps, trained.best.step, trained.finished) == ([1, 2, 3], 3, 1, True)


def test_an_early_stop_counts_through_an_interruption(tmp_path: Path) -> None:
    options = standing_still(patience=2)
    train(options, tmp_path / "whole")
    stopped = train(options, tmp_path / "resumed", steps=2)
    assert stopped is not None
    assert not stopped.finished
    heard = Heard()
    resumed = train(options, tmp_path / "resumed", resume=True, heard=heard)
    assert resumed is not None
    assert (heard.steps, resumed.finished) == ([3], True)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole", options)


def test_a_run_that_stopped_early_does_not_go_on_when_resumed(tmp_path: Path) -> None:
    options, heard = standing_still(patience=2), Heard()
    train(options, tmp_path)
    resumed = train(options, tmp_path, resume=True, heard=heard)
    assert resumed is not None
    assert (heard.steps, resumed.steps, resumed.finished) == ([], 3, True)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains(preset: str, tmp_path: Path) -> None:
    """One meta-step: a finite loss, and new values of everything that the preset learns."""
    recipe = PRESETS[preset].recipe
    needs = PER_CLASS if recipe.moves_body or recipe.way else {}
    encoder = {**needs.get("encoder", TABLE["encoder"]), "context": 3 if recipe.scope == "context" else 0}
    stage = {"steps": 3, "way": [5, 5], "queries": 2, "inner_steps": recipe.steps_default}
    options = tiny_options(preset=preset, **{**needs, "encoder": encoder, "stages": [stage]})
    heard = Heard()
    before = checkpoint_after(options, tmp_path, 0).params
    train(options, tmp_path, steps=1, heard=heard)
    after = load_checkpoint(tmp_path, options).params
    assert math.isfinite(heard.outcomes[0].loss)
    # A bias right before batch norm is taken away again, so its gradient is rounding or zero.
    learned = {name for name in before if not name.endswith("conv.bias")}
    assert {name for name in learned if torch.equal(after[name], before[name])} == set()
    assert all(bool(value.isfinite().all()) for value in after.values())


def test_learned_rates_move_only_where_there_are_inner_steps(tmp_path: Path) -> None:
    rates = ("rate.head.weight", "rate.head.bias")
    trail = [checkpoint_after(tiny_options(), tmp_path, steps).params for steps in (0, 4, 9)]
    for name in rates:
        assert torch.equal(trail[1][name], trail[0][name])  # the first stage takes none
        assert not torch.equal(trail[2][name], trail[1][name])
    constant = tiny_options(recipe={"learn_rates": False, "step_size": 2.0})
    assert not any(name.startswith("rate.") for name in checkpoint_after(constant, tmp_path / "constant", 0).params)


def test_a_meta_step_follows_the_mean_of_its_episodes(tmp_path: Path) -> None:
    """Where every episode is the same but for the order of its classes, four say what one says."""
    train_classes = tiny_data()["train"]
    copies = [(train_classes.names[k], train_classes.inputs[train_classes.first[k]].repeat(3, 1, 1, 1)) for k in range(5)]
    data, said = {**tiny_data(), "train": ClassInputs.of(copies)}, []
    for episodes in (1, 4):
        heard, stage = Heard(), {"steps": 9, "way": [5, 5], "queries": 2, "inner_steps": 1, "episodes": episodes}
        options = tiny_options(stages=[stage], augmentation=UNCHANGED, optimiser={"clip": 1e9})
        meta_train(options, data, tmp_path, reporter=heard, should_stop=After(1))
        said.append(heard.outcomes[0])
    one, four = said
    assert four.loss == pytest.approx(one.loss, rel=1e-4)
    assert four.accuracy == pytest.approx(one.accuracy)
    assert distance(*(torch.cat([each.gradients[name].flatten() for name in one.gradients]) for each in (four, one))) < 1e-3


def test_the_episodes_of_a_meta_step_differ(tmp_path: Path) -> None:
    losses = []
    for episodes in (1, 2):
        heard, stage = Heard(), {"steps": 9, "way": [5, 5], "queries": 2, "episodes": episodes}
        train(tiny_options(stages=[stage]), tmp_path, steps=2, heard=heard)
        losses.append([outcome.loss for outcome in heard.outcomes])
    # The first episode of a step is the same however many follow it; were the second its copy, so were the mean.
    assert losses[0][0] != losses[1][0]
    assert losses[0][0] != losses[0][1]


def test_a_meta_gradient_is_cut_to_the_clip(tmp_path: Path) -> None:
    """After one step, AdamW's first moment is a tenth of the gradient it was given."""
    for clip, norms in ((1e-3, (1e-3 - 1e-8, 1e-3 + 1e-8)), (1e6, (1e-2, 1e6))):
        moments = checkpoint_after(tiny_options(optimiser={"clip": clip}), tmp_path, 1).optimiser["state"].values()
        given = 10 * torch.cat([each["exp_avg"].flatten() for each in moments]).norm().item()
        assert norms[0] < given < norms[1]


def test_reptile_with_sgd_moves_by_a_share_of_the_way_to_where_its_tasks_end(tmp_path: Path) -> None:
    """θ ← θ + ε(φ̄ − θ) with φ̄ the mean of what adapting to each episode ends with (Nichol et al. 2018, Algorithm 2)."""
    stage = {"steps": 4, "way": [5, 5], "shot": [2, 2], "queries": 2, "inner_steps": 3, "episodes": 3}
    optimiser = {"kind": "sgd", "learning_rate": 0.3, "warmup": 0, "weight_decay": 0, "clip": 1e9}
    options = tiny_options(**{**PER_CLASS, "stages": [stage]}, preset="reptile", optimiser=optimiser)
    heard = Heard()
    before = checkpoint_after(options, tmp_path, 0).params
    train(options, tmp_path, steps=1, heard=heard)
    after = load_checkpoint(tmp_path, options).params
    model = MetaModel(options.build_encoder(), options.build_recipe(), before, {})
    ends = [adapt(model, episode.support, 3).params for episode in episodes_of(options, tiny_data()["train"], 0, range(3))]
    for name, value in before.items():
        expected = value + heard.rates[0] * (torch.stack([each[name] for each in ends]).mean(dim=0) - value)
        torch.testing.assert_close(after[name], expected)
        assert not torch.equal(after[name], value)


def test_memory_stays_flat_over_second_order_meta_steps(tmp_path: Path) -> None:
    """The graph of a meta-step is about half a megabyte: kept, hundreds of them would show. benchmarks/training.py takes 10,000."""
    held = memory_over(600, tmp_path)
    assert len(held) == 20
    assert held[-1] - held[3] < 4 * 2**20


def test_weight_decay_shrinks_weights_but_no_biases_norms_scales_and_step_sizes(tmp_path: Path) -> None:
    with_decay, without = (checkpoint_after(tiny_options(optimiser={"weight_decay": decay}), tmp_path, 1).params for decay in (10.0, 0.0))
    shrunk = {name for name in without if not torch.equal(with_decay[name], without[name])}
    assert shrunk == {f"encoder.block{block}.conv.weight" for block in (1, 2, 3, 4)}
    assert all(with_decay[name].norm() < without[name].norm() for name in shrunk)


def test_weight_decay_leaves_a_step_size_of_every_number_alone(tmp_path: Path) -> None:
    """They are as many-sided as the weights they belong to, and their logarithms would decay towards steps of one."""
    changes = {**PER_CLASS, "preset": "meta-sgd", "stages": [{"steps": 2, "way": [5, 5], "queries": 2, "inner_steps": 1}]}
    with_decay, without = (
        checkpoint_after(tiny_options(**changes, optimiser={"weight_decay": decay}), tmp_path / str(decay), 1).params
        for decay in (10.0, 0.0)
    )
    rates = [name for name in without if name.startswith("rate.")]
    assert any(without[name].dim() > 1 for name in rates)
    assert all(torch.equal(with_decay[name], without[name]) for name in rates)
    assert not torch.equal(with_decay["encoder.block1.conv.weight"], without["encoder.block1.conv.weight"])


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_run_that_diverges_ends_with_an_error_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    changes = {**PER_CLASS, "preset": "maml", "stages": [{"steps": 30, "way": [5, 5], "queries": 2, "inner_steps": 2}]}
    options = tiny_options(**changes, optimiser={"learning_rate": 1e30, "warmup": 0})
    with pytest.raises(
        DivergedTrainingError, match=r"expected a finite meta-gradient, got (nan|inf) at step \d+; start anew with a smaller"
    ):
        train(options, tmp_path)


def test_frozen_statistics_are_those_of_unchanged_pictures_with_the_weights_given(tmp_path: Path) -> None:
    options = tiny_options()
    params, classes = checkpoint_after(options, tmp_path, 2).average, tiny_data()["train"]
    model = freeze(options, params, classes)
    expected = measure(model.encoder, params, classes.inputs)
    assert model.statistics.keys() == expected.keys()
    for name, value in expected.items():
        assert distance(model.statistics[name], value) < 1e-4, name


def test_a_group_norm_meta_model_has_no_statistics(tmp_path: Path) -> None:
    options = tiny_options(preset="maml", **PER_CLASS)
    assert freeze(options, checkpoint_after(options, tmp_path, 0).params, tiny_data()["train"]).statistics == {}


def test_training_learns(tmp_path: Path) -> None:
    """A few dozen meta-steps tell invented characters apart better than random features do."""
    options = tiny_options(
        encoder={"kind": "conv4", "width": 16, "size": 16},
        stages=[{"steps": 200, "way": [6, 8], "queries": 3, "episodes": 2}],
        validation={"every": 200, "episodes": 200, "way": 5, "queries": 3},
    )
    trained = train(options, tmp_path)
    assert trained is not None
    untrained = freeze(options, checkpoint_after(options, tmp_path / "untrained", 0).params, tiny_data()["train"])
    shape = validation_shape(options)
    before = evaluate(untrained, pool(untrained, tiny_data()["validation"]), shape, steps=0, episodes=200, seed=3)
    after = evaluate(trained.model, pool(trained.model, tiny_data()["validation"]), shape, steps=0, episodes=200, seed=3)
    assert after.accuracy > before.accuracy + 0.05


def test_bfloat16_says_almost_what_float32_says(tmp_path: Path) -> None:
    heard = {}
    for precision in ("float32", "bfloat16"):
        heard[precision] = Heard()
        train(tiny_options(precision=precision), tmp_path, steps=1, heard=heard[precision])
    exact, rough = (each.outcomes[0] for each in heard.values())
    assert exact.loss != rough.loss == pytest.approx(exact.loss, rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in rough.gradients.values())
    assert distance(*(torch.cat([each.gradients[name].flatten() for name in exact.gradients]) for each in (rough, exact))) < 0.2


def test_a_stage_may_take_turns_and_classes_group_by_group(tmp_path: Path) -> None:
    stage = {"steps": 9, "way": [4, 4], "queries": 2, "turns": True, "group": 2}
    heard: list[Heard] = []
    for changes in ({}, {"turns": False}, {"group": 0}, {"grouped": 0.0}):
        heard.append(Heard())
        grouped = {**tiny_data(), "train": by_alphabet(tiny_data()["train"])}
        options = tiny_options(stages=[{**stage, **changes}])
        meta_train(options, grouped, tmp_path, reporter=heard[-1], should_stop=After(1))
    both, no_turns, no_groups, never_grouped = (each.outcomes[0].loss for each in heard)
    assert len({both, no_turns, no_groups}) == 3
    assert never_grouped == no_groups


def by_alphabet(classes: ClassInputs) -> ClassInputs:
    """The same classes in alphabets of four."""
    return ClassInputs(tuple(f"alphabet{k // 4}/{name}" for k, name in enumerate(classes.names)), classes.inputs, classes.first)


def test_a_validation_tells_of_an_episode_as_it_is_trained_on(tmp_path: Path) -> None:
    """Validations come after 3, 6 and 9 meta-steps; the first stage ends after the fourth."""
    heard, options = Heard(), tiny_options()
    train(options, tmp_path, heard=heard)
    for sample, stage in zip(heard.samples, [options.stages[0], options.stages[1], options.stages[1]], strict=True):
        assert sample is not None
        assert stage.way[0] <= sample.support.way <= stage.way[1]
        assert len(sample.query_labels) == stage.queries * sample.support.way
        assert sample.queries.shape[1:] == (1, 16, 16)
        assert 0 <= sample.queries.min() < sample.queries.max() <= 1 + 1e-5
