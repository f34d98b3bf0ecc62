"""The wire types: what travels between a client and the server, as JSON.

Multipart and zip requests carry the same fields in another shape (see the server's /docs).
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, Base64Bytes, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]


MOST_NEAREST = 10


class Wire(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Query(Wire):
    """One input to classify: exactly one of an image (base64) or a vector."""

    image: Base64Bytes | None = None
    vector: tuple[Number, ...] | None = None

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> "Query":
        if (self.image is None) == (self.vector is None):
            raise ValueError("expected exactly one of `image` (base64) and `vector` (numbers)")
        return self


def _numbers(value: object) -> object:
    return (value,) if isinstance(value, int | float) else value


Target = Annotated[
    tuple[Number, ...],
    BeforeValidator(_numbers, json_schema_input_type=float | tuple[float, ...]),
    Field(min_length=1, description="what a regression should predict: a number, or several"),
]

# The type of the error of an example without a label and a target, or with both.
NO_ANSWER = "no_answer"


class Example(Query):
    """One input of a support set with its label, or with its target for a meta-model that predicts numbers."""

    label: Label | None = None
    target: Target | None = None

    @model_validator(mode="after")
    def _exactly_one_answer(self) -> "Example":
        if (self.label is None) == (self.target is None):
            raise PydanticCustomError(NO_ANSWER, "expected exactly one of `label` and `target` (numbers, for a regression)")
        return self

    @property
    def answer(self) -> str | tuple[float, ...]:
        """The label, or the target."""
        return self.label if self.label is not None else self.target or ()


class AdaptOptions(Wire):
    """How to adapt; every field has a default."""

    model: str | None = Field(default=None, description="`name` or `name@version`; the server's default when absent")
    steps: int | None = Field(default=None, ge=0, description="inner steps; the meta-model's default when absent")
    scope: str | None = Field(default=None, description="which parameters the inner loop moves; the meta-model's default when absent")


class SessionOptions(AdaptOptions):
    """How to adapt, and how to keep the result."""

    name: Name | None = None
    ttl_seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="lifetime from creation; the server's default when absent"
    )
    keep_support: bool = Field(default=True, description="keep the support set, so that the session can grow or be refitted")
    from_session: str | None = Field(
        default=None, description="fork: begin with the support set of this session, its meta-model and its options; more may be added"
    )


class GrowOptions(Wire):
    """What goes beside added examples: nothing; they are adapted to as the session was."""


class GrowSession(GrowOptions):
    """Body of `POST /v1/sessions/{id}/examples`."""

    support: tuple[Example, ...]


class ImportOptions(Wire):
    """How to keep an exported session that is taken back; they go in the query string, beside the file."""

    name: Name | None = None
    ttl_seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="lifetime from now; the server's default when absent"
    )


class SessionChange(Wire):
    """Body of `PATCH /v1/sessions/{id}`; what is absent stays as it is."""

    name: Name | None = None
    pinned: bool | None = Field(default=None, strict=True, description="a pinned session neither expires nor is evicted")
    ttl_seconds: float | None = Field(default=None, gt=0, strict=True, allow_inf_nan=False, description="lifetime from now")


class PredictOptions(Wire):
    """How much of each answer to return, and from which revision."""

    top_k: int = Field(default=3, ge=1, le=1000, description="how many labels `top` lists")
    nearest: int = Field(
        default=0,
        ge=0,
        le=MOST_NEAREST,
        description="how many support examples `nearest` lists that the query is nearest to; the newest revision knows them, and only "
        "while its support set is kept",
    )
    revision: int | None = Field(default=None, description="of the session; its newest when absent. The last ten are kept")


class CreateSession(SessionOptions):
    """Body of `POST /v1/sessions`."""

    support: tuple[Example, ...] = Field(default=(), description="may be empty for a fork only")


class PredictRequest(PredictOptions):
    """Body of `POST /v1/sessions/{id}/predict`."""

    queries: tuple[Query, ...]


class OneCallOptions(AdaptOptions):
    """How to adapt, and how much of each answer to return."""

    top_k: int = Field(default=3, ge=1, le=1000, description="how many labels `top` lists")


class OneCallRequest(OneCallOptions):
    """Body of `POST /v1/predict`: adapt and predict, nothing kept."""

    support: tuple[Example, ...]
    queries: tuple[Query, ...]


class Milliseconds(Wire):
    """Where the time of one request went."""

    decode: float
    queue: float
    compute: float


class SessionInfo(Wire):
    """One adapted meta-model."""

    session: str
    name: str | None
    model: str = Field(description="`name@version`, pinned at creation")
    revision: int
    weights_digest: str = Field(description="sha256 of the adapted weights")
    labels: tuple[str, ...]
    shots: dict[str, int] = Field(description="examples per label")
    scope: str
    steps: int
    losses: tuple[float, ...] = Field(description="support loss before the first inner step and after each one")
    leave_one_out_accuracy: float | None = Field(
        description="share of support examples that the prototypes of all other examples classify rightly; "
        "only examples of classes with two or more count, null when there are none"
    )
    created_at: datetime
    expires_at: datetime | None = Field(description="null while the session is pinned")
    pinned: bool = False
    keeps_support: bool = Field(default=True, description="whether examples can be added or removed")
    refitted: bool = Field(
        default=False, description="the revision was made anew from the kept support set, because stored weights were lost"
    )
    length: int | None = Field(default=None, description="numbers in each of its vectors; null for pictures")


class AdaptedSession(SessionInfo):
    """Answer of calls that make a revision."""

    added: tuple[int, ...] = Field(default=(), description="ids of the examples that came with the request, in their order")
    milliseconds: Milliseconds


class SessionList(Wire):
    """One page of sessions, oldest first."""

    sessions: tuple[SessionInfo, ...]
    next: str | None = Field(description="pass as `after` to get the next page; null on the last")


class SessionFilter(Wire):
    """Which sessions are meant; all of them where nothing is said."""

    name: str | None = None
    model: str | None = Field(default=None, description="`name` or `name@version`")
    created_from: AwareDatetime | None = Field(default=None, description="not before this time, with its time zone")
    created_until: AwareDatetime | None = Field(default=None, description="before this time, with its time zone")


class SessionPage(SessionFilter):
    """Query string of `GET /v1/sessions`."""

    after: str | None = Field(default=None, pattern="^ses_[0-9a-f]{32}$", description="the `next` of the page before")
    limit: int = Field(default=100, ge=1, le=1000)


class SessionsToDelete(SessionFilter):
    """Query string of `DELETE /v1/sessions`."""

    confirm: bool = Field(default=False, description="must be `true`: every session that is meant ends")


class Deleted(Wire):
    """Answer of `DELETE /v1/sessions`."""

    deleted: int


class ExampleInfo(Wire):
    """One example of a kept support set."""

    id: int
    label: str | None = Field(description="null in a regression")
    target: tuple[float, ...] | None = Field(default=None, description="null unless in a regression")


class NearExample(ExampleInfo):
    """A support example that a query is near to."""

    distance: float = Field(
        description="Euclidean, between their embeddings by the session's encoder; of a table, each column in units of its spread"
    )


class ExampleList(Wire):
    """One page of the examples that the newest revision was fitted to, by id."""

    session: str
    revision: int
    examples: tuple[ExampleInfo, ...]
    next: int | None = Field(description="pass as `after` to get the next page; null on the last")


class LabelScore(Wire):
    """A label and its probability."""

    label: str
    score: float


class Prediction(LabelScore):
    """The best label of one query, and the runners-up."""

    margin: float = Field(description="how far the best score is above the next, 0..1")
    unfamiliar: bool | None = Field(
        description="whether the input is unlike every class, farther from them than their own examples are; "
        "null where that cannot be told: no two examples of a class and nothing known of the meta-model's, "
        "a meta-model that does not compare distances, or a revision from before it was measured"
    )
    top: tuple[LabelScore, ...]
    nearest: tuple[NearExample, ...] = Field(default=(), description="nearest first; absent unless asked for")


PredictedT = TypeVar("PredictedT", bound=Wire)


class Answered(Wire, Generic[PredictedT]):
    """What both predict calls answer, in the order of the queries, and which revision answered."""

    session: str | None = Field(description="null for the one-call form")
    revision: int
    model: str
    weights_digest: str
    predictions: tuple[PredictedT, ...]
    milliseconds: Milliseconds
    refitted: bool = Field(default=False, description="the revision was made anew, because stored weights were lost")
    stale: bool = Field(default=False, description="the session store is away: this is the last state that was seen")


class Predictions(Answered[Prediction]):
    """Answer of both predict calls, in the order of the queries."""


class Estimate(Wire):
    """The numbers predicted for one query."""

    target: tuple[float, ...]
    nearest: tuple[NearExample, ...] = Field(default=(), description="nearest first; absent unless asked for")


class Estimates(Answered[Estimate]):
    """Answer of both predict calls for a meta-model that predicts numbers, in the order of the queries."""


class EvaluationRow(Wire):
    """Accuracy over episodes of unseen classes, every query judged alone."""

    data: str
    way: int
    shot: int
    scope: str
    steps: int
    accuracy: float = Field(description="mean over episodes, 0..1")
    ci95: float = Field(description="half-width of the 95 % confidence interval of the mean")
    calibration_error: float | None = Field(default=None, description="expected calibration error of the top label, 0..1")
    episodes: int
    queries_per_class: int


class ErrorRow(Wire):
    """Squared error over tasks of a regression it has not seen, every query answered alone."""

    data: str
    shot: int
    scope: str
    steps: int
    squared_error: float = Field(description="mean over tasks")
    ci95: float = Field(description="half-width of the 95 % confidence interval of the mean")
    median: float = Field(description="of the squared error, over tasks")
    episodes: int
    queries: int


class ModelInfo(Wire):
    """One meta-model of the store. A refused one has a reason and no details."""

    name: str
    version: int
    default: bool
    status: Literal["serving", "refused"]
    reason: str | None = None
    weights_sha256: str | None = None
    input: dict[str, Any] | None = Field(default=None, description="kind of input and its preprocessing")
    recipe: dict[str, Any] | None = Field(default=None, description="how it adapts")
    scopes: tuple[str, ...] = ()
    steps_default: int | None = None
    steps_max: int | None = None
    evaluation: tuple[EvaluationRow, ...] = ()
    errors: tuple[ErrorRow, ...] = Field(default=(), description="of a regression, in place of accuracies")


class ModelList(Wire):
    """All meta-models of the store, by name and version."""

    models: tuple[ModelInfo, ...]


class Limits(Wire):
    """What one request may hold; clients chunk by them."""

    body_bytes: int
    image_pixels: int
    examples: int
    queries: int
    classes: int
    ttl_seconds: float


class ServerInfo(Wire):
    """Answer of `GET /v1/info`."""

    version: str
    device: str
    store: str | None = Field(default=None, description="where sessions are kept: memory, sqlite or redis")
    default_model: str | None
    limits: Limits


class Problem(BaseModel):
    """An error as RFC 9457 problem+json. Unknown members are ignored, as the RFC asks."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    trace_id: str
    field: str | None = None
