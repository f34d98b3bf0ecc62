"""What meta-training and judging draw tasks of: classes of pictures, or a family of tables or of regressions."""

from collections.abc import Callable
from functools import partial

from service.learner.episodes import ClassInputs
from service.learner.meta_model import MetaModel
from service.training.evaluate import Judged, evaluate, prepared
from service.training.regression import Errors, judge_regression
from service.training.sources.sinusoid import Sinusoids
from service.training.sources.tables import Tables

Tasks = ClassInputs | Sinusoids | Tables

# Judges on tasks of a shape; takes `steps`, `episodes` and `seed`.
Judge = Callable[..., Judged | Errors]


def judge_on(model: MetaModel, tasks: Tasks) -> Judge:
    """Prepare to judge a meta-model on tasks it has not seen, whatever they are: `judge(shape, steps=…, episodes=…, seed=…)`."""
    if isinstance(tasks, Sinusoids):
        return partial(judge_regression, model, tasks)
    return partial(evaluate, model, prepared(model, tasks))
