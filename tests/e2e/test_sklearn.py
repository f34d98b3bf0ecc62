"""scikit-learn's own checks of an estimator, against a server with untrained meta-models of vectors."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import estimator_checks_generator

from innerloop import Client, ServerUnreachableError, SessionGoneError, UnusableInputError
from innerloop.sklearn import FewShotClassifier, FewShotRegressor
from service.learner.encoders.mlp import Mlp
from service.learner.recipe import Recipe
from tests.e2e.server import ROOT, running
from tests.tiny import tiny_model, write_tiny

LENGTHS = (1, 2, 3, 4, 5, 8, 10, 20, 30)  # of the vectors in scikit-learn's checks
LEFT_OUT = {
    "check_methods_subset_invariance": "asks for 1e-7; float32 probabilities agree to 1e-5, which a test below holds",
    "check_array_api_input": "is about arrays on devices, and skips itself unless SCIPY_ARRAY_API is set",
}
REGRESSOR_LEFT_OUT = {
    **LEFT_OUT,
    "check_regressors_train": "asks how well it fits noise, which untrained meta-models do not",
    "check_regressor_multioutput": "fits five numbers at once, and a meta-model predicts as many as it was trained for",
}
NUMBERS = Recipe(scope="head", head="output", way=1, step_size=1e-3, steps_default=1, steps_max=5)
POINTS = np.array([[9.0, 0, 0], [8, 1, 0], [0, 9, 1], [1, 8, 0], [0, 0, 9], [1, 0, 7]])
FLOWERS = np.array(["iris", "iris", "rose", "rose", "aster", "aster"])

Check = Callable[[FewShotClassifier | FewShotRegressor], None]


def checks(estimator: FewShotClassifier | FewShotRegressor) -> dict[str, Check]:
    found = [check for _, check in estimator_checks_generator(estimator)]
    return {f"{n} {name(check)}": check for n, check in enumerate(found)}


def name(check: Any) -> str:
    return str(getattr(check, "func", check).__name__)


CHECKS, REGRESSOR_CHECKS = checks(FewShotClassifier()), checks(FewShotRegressor())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    for length in LENGTHS:
        write_tiny(store, f"vectors-{length}", tiny_model(Mlp(inputs=length)))
        write_tiny(store, f"numbers-{length}", tiny_model(Mlp(inputs=length), NUMBERS))
    with running(tmp_path_factory.mktemp("server"), store, store="memory") as server:
        yield server.url


@pytest.mark.parametrize("check", [pytest.param(one, id=key) for key, one in CHECKS.items() if name(one) not in LEFT_OUT])
def test_the_classifier_passes_scikit_learns_check(check: Check, url: str) -> None:
    check(FewShotClassifier(url=url))


@pytest.mark.parametrize(
    "check", [pytest.param(one, id=key) for key, one in REGRESSOR_CHECKS.items() if name(one) not in REGRESSOR_LEFT_OUT]
)
def test_the_regressor_passes_scikit_learns_check(check: Check, url: str) -> None:
    check(FewShotRegressor(url=url))


def test_a_regressor_gives_numbers_as_it_was_given_them(url: str) -> None:
    flat = FewShotRegressor(url=url).fit(POINTS, np.arange(6.0))
    assert flat.predict(POINTS[:2]).shape == (2,)
    assert FewShotRegressor(url=url).fit(POINTS, np.arange(6.0)[:, None]).predict(POINTS[:2]).shape == (2, 1)
    with Client(url) as client:
        expected = [one.target[0] for one in client.session(flat.session_id_).estimate(POINTS[:2]).predictions]
    assert flat.predict(POINTS[:2]) == pytest.approx(expected)


def test_no_other_check_is_left_out() -> None:
    assert set(LEFT_OUT) < {name(check) for check in CHECKS.values()}
    assert set(REGRESSOR_LEFT_OUT) < {name(check) for check in REGRESSOR_CHECKS.values()}
    assert len(CHECKS) - len(LEFT_OUT) > 50
    assert len(REGRESSOR_CHECKS) - len(REGRESSOR_LEFT_OUT) > 40


def test_a_vector_has_the_same_probabilities_alone_and_among_others(url: str) -> None:
    fitted = FewShotClassifier(url=url).fit(POINTS, FLOWERS)
    alone = np.concatenate([fitted.predict_proba(point[None]) for point in POINTS])
    assert np.abs(fitted.predict_proba(POINTS) - alone).max() <= 1e-5


def test_it_tells_apart_what_the_session_tells_apart(url: str) -> None:
    fitted = FewShotClassifier("vectors-3", url=url, steps=2, ttl_seconds=60).fit(POINTS, FLOWERS)
    assert fitted.classes_.tolist() == ["aster", "iris", "rose"]
    assert fitted.predict(POINTS).tolist() == FLOWERS.tolist()
    with Client(url) as client:
        session = client.session(fitted.session_id_)
        assert (session.info.model, session.info.steps, session.labels) == ("vectors-3@1", 2, ("0 aster", "1 iris", "2 rose"))
        scores = {one.label: one.score for one in session.predict(POINTS[:1]).predictions[0].top}
        session.delete()
    with pytest.raises(SessionGoneError):
        fitted.predict(POINTS)
    assert scores["1 iris"] > 0.5


def test_a_copy_by_pickle_asks_the_same_session(url: str) -> None:
    fitted = FewShotClassifier(url=url).fit(POINTS, FLOWERS)
    copy = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - our own bytes
    assert (copy.session_id_, copy.predict(POINTS).tolist()) == (fitted.session_id_, FLOWERS.tolist())


def test_its_steps_can_be_searched(url: str) -> None:
    search = GridSearchCV(FewShotClassifier(url=url), {"steps": [0, 2]}, cv=2).fit(POINTS, FLOWERS)
    assert search.best_score_ == 1


def test_vectors_that_no_meta_model_takes_are_refused_by_length(url: str) -> None:
    with pytest.raises(UnusableInputError, match="vectors of 7 numbers, found none; name the model"):
        FewShotClassifier(url=url).fit(np.eye(7), list("abababa"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the shipped `vectors` alone."""
    store = tmp_path_factory.mktemp("shipped")
    (store / "vectors").symlink_to(ROOT / "model_store" / "vectors")
    with running(tmp_path_factory.mktemp("server"), store, store="memory", default_model="vectors") as server:
        yield server.url


@pytest.mark.parametrize("model", ["vectors", None])
def test_irises_are_told_apart_by_the_shipped_meta_model(shipped: str, model: str | None) -> None:
    rows, labels = load_iris(return_X_y=True)
    seen = np.concatenate([np.arange(first, first + 10) for first in (0, 50, 100)])
    fitted = FewShotClassifier(model, url=shipped).fit(rows[seen], labels[seen])
    assert fitted.score(np.delete(rows, seen, axis=0), np.delete(labels, seen)) > 0.9
    with pytest.raises(ValueError, match="X has 3 features, but FewShotClassifier is expecting 4"):
        fitted.predict(rows[:, :3])


def test_columns_of_any_number_fit_the_shipped_meta_model_up_to_the_longest(shipped: str) -> None:
    for columns in (1, 30, 256):
        rows = np.arange(6.0)[:, None] + np.arange(columns)
        assert FewShotClassifier(url=shipped).fit(rows, list("aaabbb")).predict(rows).tolist() == list("aaabbb")
    with pytest.raises(UnusableInputError, match="vectors of 257 numbers, found none; name the model"):
        FewShotClassifier(url=shipped).fit(np.eye(257)[:4], list("aabb"))


def test_no_server_is_named() -> None:
    with pytest.raises(ServerUnreachableError, match=r"no answer from http://127\.0\.0\.1:1"):
        FewShotClassifier(url="http://127.0.0.1:1").fit(POINTS, FLOWERS)
