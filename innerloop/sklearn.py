"""A scikit-learn classifier whose fitting is a call to an Innerloop server: `pip install 'innerloop[sklearn]'`.

>>> import numpy as np
>>> from innerloop.sklearn import FewShotClassifier
>>> flowers = np.array([[9.0, 0, 0], [8, 1, 0], [0, 9, 1], [1, 8, 0]])
>>> classifier = FewShotClassifier().fit(flowers, ["iris", "iris", "rose", "rose"])
>>> classifier.predict([[7, 0, 1]])
array(['iris'], dtype='<U4')
"""

from typing import Any, Self

try:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("innerloop.sklearn needs scikit-learn: pip install 'innerloop[sklearn]'", name=error.name) from error

from innerloop.client import Client
from innerloop.errors import UnusableInputError
from innerloop.wire import ModelInfo

LABEL_LENGTH = 200


class _FewShot(BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """What both estimators are told."""

    def __init__(
        self,
        model: str | None = None,
        *,
        steps: int | None = None,
        scope: str | None = None,
        url: str | None = None,
        ttl_seconds: float | None = None,
    ) -> None:
        self.model = model
        self.steps = steps
        self.scope = scope
        self.url = url
        self.ttl_seconds = ttl_seconds


class FewShotClassifier(ClassifierMixin, _FewShot):  # type: ignore[misc] # scikit-learn ships no types
    """Classifies vectors with a meta-model that the server adapts to the training data; what was adapted stays there, as a session.

    Args:
        model: meta-model, `name` or `name@version`; when None, the newest one served for vectors of the data's length.
        steps: inner steps; the meta-model's default when None.
        scope: which parameters move; the meta-model's default when None.
        url: address of the server; when None, what INNERLOOP_URL says, else http://127.0.0.1:8000.
        ttl_seconds: lifetime of the session, after which `predict` raises `SessionGoneError`; the server's default when None.

    Attributes:
        classes_: the classes, sorted.
        n_features_in_: length of the vectors.
        session_id_: the session that was adapted; a pickled or copied classifier uses it too.

    `fit`, `predict` and `predict_proba` raise what `innerloop.Client` raises.
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's names
        """The classifier itself, adapted to vectors `X` [n, features] of classes `y` [n].

        Raises:
            ValueError: the data are not numbers, or of one class.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)  # noqa: N806
        check_classification_targets(y)
        self.classes_, rows = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"expected at least two classes to tell apart, got the one class {self.classes_[0]!r}")
        names = [self._name(row) for row in range(len(self.classes_))]
        with Client(self.url) as client:
            model = self.model or _taking_vectors(client.models(), X.shape[1], regression=False)
            support = (X, [names[row] for row in rows])
            session = client.adapt(model, support, steps=self.steps, scope=self.scope, ttl_seconds=self.ttl_seconds)
        self.session_id_ = session.id
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Probabilities [n, classes] of the classes, in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)  # noqa: N806
        rows = {self._name(row): row for row in range(len(self.classes_))}
        with Client(self.url) as client:
            found = client.session(self.session_id_).predict(X, top_k=len(rows)).predictions
        scores = np.zeros((len(found), len(rows)))
        for n, prediction in enumerate(found):
            for each in prediction.top:
                scores[n, rows[each.label]] = each.score
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))  # float32 on the way: 1 to seven digits

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The likeliest class of each vector [n]."""
        scores = self.predict_proba(X)
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    def _name(self, row: int) -> str:
        """A class's label on the server: its row makes it one of a kind, whatever its text is."""
        return f"{row} {self.classes_[row]}"[:LABEL_LENGTH].strip()


class FewShotRegressor(RegressorMixin, _FewShot):  # type: ignore[misc] # scikit-learn ships no types
    """Predicts numbers of vectors with a meta-model that the server adapts to the training data; see `FewShotClassifier` for the rest.

    >>> wave = FewShotRegressor("sinusoid").fit([[-2.0], [0.0], [2.0]], [-0.9, 0.0, 0.9])
    >>> wave.predict([[1.0], [-1.0]]).shape
    (2,)
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's names
        """The regressor itself, adapted to vectors `X` [n, features] and numbers `y` [n], or [n, outputs].

        Raises:
            ValueError: the data are not numbers.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)  # noqa: N806
        self.n_outputs_ = y.shape[1] if y.ndim == 2 else 1
        self._flat = y.ndim == 1
        with Client(self.url) as client:
            model = self.model or _taking_vectors(client.models(), X.shape[1], regression=True)
            session = client.adapt(model, (X, y.astype(np.float64)), steps=self.steps, scope=self.scope, ttl_seconds=self.ttl_seconds)
        self.session_id_ = session.id
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The numbers of each vector, [n] or [n, outputs] as `y` was."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)  # noqa: N806
        with Client(self.url) as client:
            found = np.array([one.target for one in client.session(self.session_id_).estimate(X).predictions])
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _taking_vectors(models: tuple[ModelInfo, ...], length: int, *, regression: bool) -> str:
    """The newest meta-model for vectors of that length, which tells classes apart or predicts numbers.

    Raises:
        UnusableInputError: there is none.
    """
    found = [model for model in models if model.status == "serving" and _takes(model, length, regression=regression)]
    if not found:
        raise UnusableInputError(f"expected the server to have a meta-model for vectors of {length} numbers, found none; name the model")
    return f"{found[-1].name}@{found[-1].version}"


def _takes(model: ModelInfo, length: int, *, regression: bool) -> bool:
    takes = model.input or {}
    predicts_numbers = (model.recipe or {}).get("head") == "output"
    fits = takes["length"] == length if takes.get("length") else length <= (takes.get("longest") or length)
    return takes.get("kind") == "vector" and fits and predicts_numbers == regression
