"""Every error the service raises on purpose.

ServiceError
├── InputError                    what was sent cannot be used
│   ├── InvalidRequestError       the request does not have the documented shape
│   ├── UnusableSupportError      no examples, one class, labels that do not match
│   ├── NotAnImageError           the bytes are no image format we take
│   ├── BrokenImageError          an image that ends early or has no bytes
│   ├── BlankImageError           a drawing without ink
│   ├── BrokenArchiveError        a zip that cannot be read
│   ├── UnusableVectorError       wrong length, NaN or infinity
│   ├── UnusableExportError       not an exported session, or a damaged one
│   ├── WrongInputKindError       a vector for an image model, or the other way round
│   ├── StepsOutOfRangeError      more inner steps than the meta-model was validated for
│   ├── ScopeNotOfferedError      a scope without an evaluation row
│   ├── AdaptationDivergedError   the loss became NaN or infinite
│   ├── TooLargeError             a body, image or count over its limit
│   └── UnsupportedMediaTypeError a content type without a decoder
├── ModelNotFoundError            no such meta-model or version
├── ModelRefusedError             it is in the store, but damaged
├── SessionNotFoundError          never existed, or not yours
├── SessionGoneError              expired, deleted or evicted
├── SessionDamagedError           its weights or its record are damaged or missing
├── RevisionNotFoundError         the session has no revision of that number yet
├── RevisionGoneError             the revision is no longer kept
├── RevisionChangedError          another revision came first
├── SupportNotKeptError           the support set is not kept, or was an older revision's
├── ExampleNotFoundError          the support set has no such example
├── IdempotencyKeyBusyError       the first request with this key is still running
├── IdempotencyKeyReusedError     the key came with another request
├── StoreFullError                the session store has no room left
├── StoreUnavailableError         the session store cannot be reached
├── ModelChangedError             the session was adapted from other weights
├── QueueFullError                too many items are waiting
├── DrainingError                 the server is stopping
├── DeadlineError                 the time that the caller gave is over
├── DeviceMemoryError             one request needs more memory than the device has
├── ExportUnavailableError        this server cannot write that file format
├── RegistryError                 the model store
│   ├── BadManifestError          manifest.json is missing or not valid
│   └── BadWeightsError           weights.safetensors does not match the manifest
├── StartError                    the server cannot start
│   ├── DeviceError               the device is not there
│   ├── DataDirectoryError        the data directory is taken or not writable
│   ├── ModelStoreError           there is no model store
│   ├── SessionStoreError         the session store is of a newer version, or not one
│   ├── AddressError              the address is taken, or not this machine's
│   └── WorkersError              there cannot be several workers, or one cannot start
└── TrainingError                 the offline half
    ├── BadConfigError            unknown key, impossible combination
    ├── BadDataError              missing, corrupt or too few images
    ├── BadCheckpointError        cannot be resumed from
    ├── DivergedTrainingError     the meta-gradient became infinite or NaN
    └── LostProcessError          another process of the run has ended or is stuck
"""

from typing import ClassVar


class ServiceError(Exception):
    """Something the caller can understand: what was expected, what came, what to do."""

    code: ClassVar[str]

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InputError(ServiceError):
    """What was sent cannot be used."""


class InvalidRequestError(InputError):
    """The request does not have the documented shape."""

    code = "invalid_request"


class UnusableSupportError(InputError):
    """The support set cannot make a classifier."""

    code = "unusable_support"


class NotAnImageError(InputError):
    """The bytes are no image format we take."""

    code = "not_an_image"


class BrokenImageError(InputError):
    """The image ends early, or has no bytes at all."""

    code = "broken_image"


class BlankImageError(InputError):
    """The drawing has no ink."""

    code = "blank_image"


class BrokenArchiveError(InputError):
    """The zip cannot be read, or holds something other than folders of images."""

    code = "broken_archive"


class UnusableVectorError(InputError):
    """The vector has the wrong length, or holds NaN or infinity."""

    code = "unusable_vector"


class UnusableExportError(InputError):
    """The file is no exported session, or was changed since it was exported."""

    code = "unusable_export"


class WrongInputKindError(InputError):
    """The meta-model takes another kind of input."""

    code = "wrong_input_kind"


class StepsOutOfRangeError(InputError):
    """The meta-model was not validated for that many inner steps."""

    code = "steps_out_of_range"


class ScopeNotOfferedError(InputError):
    """The meta-model has no evaluation row for that scope."""

    code = "scope_not_offered"


class AdaptationDivergedError(InputError):
    """The support loss became NaN or infinite; no session was made."""

    code = "adaptation_diverged"


class TooLargeError(InputError):
    """A body, an image or a count is over its limit."""

    code = "too_large"


class UnsupportedMediaTypeError(InputError):
    """No decoder for that content type."""

    code = "unsupported_media_type"


class ModelNotFoundError(ServiceError):
    """No such meta-model or version."""

    code = "model_not_found"


class ModelRefusedError(ServiceError):
    """The meta-model is in the store but damaged, so it is not served."""

    code = "model_refused"


class SessionNotFoundError(ServiceError):
    """The session never existed, or belongs to someone else."""

    code = "session_not_found"


class SessionGoneError(ServiceError):
    """The session has expired, or was deleted or evicted."""

    code = "session_gone"


class SessionDamagedError(ServiceError):
    """The session's weights or record are damaged or missing, and nothing is kept to make them anew."""

    code = "session_damaged"


class RevisionNotFoundError(ServiceError):
    """The session has no revision of that number yet."""

    code = "revision_not_found"


class RevisionGoneError(ServiceError):
    """The revision is no longer kept; newer ones are."""

    code = "revision_gone"


class RevisionChangedError(ServiceError):
    """The session has another newest revision than the caller or the computation started from."""

    code = "revision_changed"


class SupportNotKeptError(ServiceError):
    """The support set is not kept, so the session can neither grow nor shrink nor name nearest examples; or an older revision should."""

    code = "support_not_kept"


class ExampleNotFoundError(ServiceError):
    """The support set has no example of that id."""

    code = "example_not_found"


class IdempotencyKeyBusyError(ServiceError):
    """The first request with this Idempotency-Key is still running."""

    code = "idempotency_key_busy"
    retry_after_seconds = 1.0


class IdempotencyKeyReusedError(ServiceError):
    """The Idempotency-Key came with another request before."""

    code = "idempotency_key_reused"


class StoreFullError(ServiceError):
    """The session store has no room left for what should be kept."""

    code = "store_full"


class StoreUnavailableError(ServiceError):
    """The session store cannot be reached; it may be back soon."""

    code = "store_unavailable"

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ModelChangedError(ServiceError):
    """The meta-model under that name has other weights than the session was adapted from."""

    code = "model_changed"


class QueueFullError(ServiceError):
    """Too many items are waiting for the device."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DrainingError(ServiceError):
    """The server is stopping and takes no new work."""

    code = "draining"


class DeadlineError(ServiceError):
    """The time that the caller gave is over; nothing was computed for it."""

    code = "deadline"


class DeviceMemoryError(ServiceError):
    """One request alone needs more memory than the device has."""

    code = "device_memory"


class ExportUnavailableError(ServiceError):
    """This server cannot write that file format: a package is missing or fails."""

    code = "export_unavailable"


class RegistryError(ServiceError):
    """The model store holds something that cannot be trusted."""


class BadManifestError(RegistryError):
    """manifest.json is missing or not valid."""

    code = "bad_manifest"


class BadWeightsError(RegistryError):
    """weights.safetensors is missing or does not match its manifest."""

    code = "bad_weights"


class StartError(ServiceError):
    """The server cannot start as it was told to."""


class DeviceError(StartError):
    """The device is not there."""

    code = "no_device"


class DataDirectoryError(StartError):
    """The data directory cannot be written to, or another server holds it."""

    code = "data_directory"


class ModelStoreError(StartError):
    """There is no model store where it was said to be."""

    code = "no_model_store"


class SessionStoreError(StartError):
    """The session store was written by a newer version, or is not a session store."""

    code = "session_store"


class AddressError(StartError):
    """The address is taken, or is not one of this machine's."""

    code = "address"


class WorkersError(StartError):
    """There cannot be several workers with these settings, or one of them cannot start."""

    code = "workers"


class TrainingError(ServiceError):
    """The offline half was given something it cannot use."""


class BadConfigError(TrainingError):
    """The configuration has an unknown key or an impossible combination."""

    code = "bad_config"


class BadDataError(TrainingError):
    """Images are missing, corrupt or too few."""

    code = "bad_data"


class BadCheckpointError(TrainingError):
    """The checkpoint cannot be resumed from."""

    code = "bad_checkpoint"


class DivergedTrainingError(TrainingError):
    """The meta-gradient became infinite or NaN, so nothing more can be learned."""

    code = "diverged_training"


class LostProcessError(TrainingError):
    """Another process of the run has ended, or does not answer."""

    code = "lost_process"
