"""What an exported session says of itself, as metadata of its file: text to text, every value JSON."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from service.errors import UnusableExportError
from service.inputs.specification import ImageInput, VectorInput
from service.registry.manifest import NAME, Sha256
from service.runtime.catalog import Served
from service.sessions.session import Revision, Session

CHECKSUM = "checksum"

# A stranger's field may have a name of any length; an error repeats no more of it.
LONGEST_PLACE = 100

# The rules of the labels of a support set.
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Loss = Annotated[float, Field(allow_inf_nan=False)]


class Description(BaseModel):
    """Everything that is needed to use exported weights, or to take them back; the fields are those of a revision and its meta-model."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["innerloop-session"]
    version: Literal[1]
    model: Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}@[1-9][0-9]{{0,8}}$")]
    weights_sha256: Sha256
    weights_digest: Sha256
    labels: tuple[Label, ...]  # none in a regression
    shots: tuple[Count, ...]
    scope: Annotated[str, StringConstraints(max_length=32)]
    steps: Annotated[int, Field(ge=0, lt=2**31)]
    losses: tuple[Loss, ...]
    leave_one_out_accuracy: Annotated[float, Field(ge=0, le=1)] | None
    input: Annotated[ImageInput | VectorInput, Field(discriminator="kind")]
    reach: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # files of 0.1.0 before it was measured have none

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if len(self.labels) == 1:
            raise ValueError("expected two labels or more, or none for a regression")
        if list(self.labels) != sorted(set(self.labels)):
            raise ValueError("expected labels that are sorted, each once")
        if len(self.shots) != len(self.labels):
            raise ValueError(f"expected shots of each of {len(self.labels)} labels, got {len(self.shots)}")
        if len(self.losses) != self.steps + 1:
            raise ValueError(f"expected a loss before the first of {self.steps} steps and after each, got {len(self.losses)}")
        return self

    def revision(self, *, at: datetime) -> Revision:
        """Give the first revision of a session that is made of it."""
        return Revision(
            number=1,
            weights_digest=self.weights_digest,
            labels=self.labels,
            shots=self.shots,
            scope=self.scope,
            steps=self.steps,
            losses=self.losses,
            leave_one_out_accuracy=self.leave_one_out_accuracy,
            created_at=at,
            reach=self.reach,
            length=self.input.length,
        )

    def metadata(self) -> dict[str, str]:
        """Write every field as JSON, and the checksum of them all."""
        fields = {name: json.dumps(value, ensure_ascii=False) for name, value in self.model_dump(mode="json").items()}
        return {**fields, CHECKSUM: json.dumps(_checksum(fields))}


def described(session: Session, served: Served) -> Description:
    """Describe the revision that a session shows."""
    revision = session.revision
    return Description(
        format="innerloop-session",
        version=1,
        model=session.model,
        weights_sha256=session.weights_sha256,
        weights_digest=revision.weights_digest,
        labels=revision.labels,
        shots=revision.shots,
        scope=revision.scope,
        steps=revision.steps,
        losses=revision.losses,
        leave_one_out_accuracy=revision.leave_one_out_accuracy,
        input=served.manifest.input.of_length(revision.length),
        reach=revision.reach,
    )


def read_metadata(metadata: Mapping[str, str]) -> Description:
    """Read what `Description.metadata` wrote.

    Raises:
        UnusableExportError: a field is missing, too many or not as it must be, or the checksum does not hold.
    """
    fields = {name: value for name, value in metadata.items() if name != CHECKSUM}
    try:
        values = {name: json.loads(value) for name, value in fields.items()}
        found = Description.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:LONGEST_PLACE] or "metadata"
        raise UnusableExportError(f"{place}: {first['msg']}; export the session again", field=place) from None
    except (ValueError, RecursionError):
        raise UnusableExportError("metadata: expected JSON in every field; export the session again", field="metadata") from None
    if metadata.get(CHECKSUM) != json.dumps(_checksum(fields)):
        raise UnusableExportError("checksum: the metadata was changed since it was exported; export the session again", field=CHECKSUM)
    return found


def _checksum(fields: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(fields.items())).encode()).hexdigest()
