"""Every error this system raises on purpose, and whose fault it is.

    OurvidzError INTERNAL_ERROR*             a bug of ours, wrapped at one of the three borders
    ├── RequestError INVALID_REQUEST         the caller's fault
    │   ├── InvalidPrompt INVALID_PROMPT
    │   │   └── Refused INVALID_PROMPT       by an admission rule
    │   ├── BadReference REFERENCE_FRAME_ERROR   its reason decides whether to try again
    │   ├── Unauthorized UNAUTHORIZED
    │   ├── NotFound NOT_FOUND
    │   ├── MethodNotAllowed METHOD_NOT_ALLOWED
    │   ├── Conflict CONFLICT*
    │   ├── PayloadTooLarge PAYLOAD_TOO_LARGE
    │   ├── UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE
    │   └── RateLimited RATE_LIMITED*
    ├── AttemptError GENERATION_ERROR*       this attempt failed
    │   ├── OutOfMemory OOM_ERROR*
    │   ├── ModelLoadFailed MODEL_LOAD_ERROR*
    │   ├── DeadlinePassed TIMEOUT_ERROR*
    │   ├── ImageToImageFailed I2I_PIPELINE_ERROR
    │   ├── ThumbnailFailed THUMBNAIL_GENERATION_ERROR   always caught: a warning
    │   ├── WorkerLost WORKER_UNAVAILABLE*   the worker process ended under the attempt
    │   └── LeaseLost WORKER_UNAVAILABLE*    never told to anyone
    ├── Unavailable WORKER_UNAVAILABLE*      not now
    │   ├── QueueUnavailable WORKER_UNAVAILABLE*
    │   └── UploadFailed UPLOAD_ERROR*
    │       └── UploadRefused UPLOAD_ERROR*  another upload would end no better
    └── ConfigError CONFIG_ERROR             the operator's fault; the process refuses to start
    StopRequested (BaseException)            cancel or drain, on its way out of an engine

A star means that the caller may try again. A class's docstring is its default sentence; it is
shown to users, so it holds no path, no input of theirs and none of the substrings that the
contract forbids (H-22).
"""

from typing import ClassVar


class OurvidzError(Exception):
    """Something broke inside the system; try again, and report it if it happens twice."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    retryable: ClassVar[bool] = True

    def __init__(
        self, sentence: str | None = None, *, field: str | None = None, **facts: object
    ) -> None:
        """Keep the sentence for the caller, the field at fault, and facts for the log alone."""
        self.sentence = sentence or (type(self).__doc__ or "").strip()
        self.field = field
        self.facts = facts
        super().__init__(self.sentence)

    @property
    def may_retry(self) -> bool:
        """True when the caller may send the same request again."""
        return self.retryable


class RequestError(OurvidzError):
    """The request has a missing or wrong field; correct it and send it again."""

    code = "INVALID_REQUEST"
    retryable = False


class InvalidPrompt(RequestError):
    """The prompt is empty or too long; change it and send it again."""

    code = "INVALID_PROMPT"


class Refused(InvalidPrompt):
    """The request was refused by the admission rules."""


class BadReference(RequestError):
    """A reference picture could not be used; check where it lies and what it is."""

    code = "REFERENCE_FRAME_ERROR"

    def __init__(
        self, sentence: str | None = None, *, reason: str, field: str | None = None
    ) -> None:
        """Keep the contract's reason, such as `REFERENCE_NOT_FOUND`."""
        super().__init__(sentence, field=field)
        self.reason = reason

    @property
    def may_retry(self) -> bool:
        """Only a time-out may pass by itself."""
        return self.reason == "REFERENCE_TIMEOUT"


class Unauthorized(RequestError):
    """A valid key is needed; send it as a bearer token."""

    code = "UNAUTHORIZED"


class NotFound(RequestError):
    """There is nothing here by that name; check the address."""

    code = "NOT_FOUND"


class MethodNotAllowed(RequestError):
    """This address does not take that method; the Allow header lists those it takes."""

    code = "METHOD_NOT_ALLOWED"


class Conflict(RequestError):
    """The request contradicts the present state; look at the state and try again."""

    code = "CONFLICT"
    retryable = True


class PayloadTooLarge(RequestError):
    """The body is larger than this address takes."""

    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(RequestError):
    """The body must be JSON, sent as application/json."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class RateLimited(RequestError):
    """Too many requests; wait as long as Retry-After says."""

    code = "RATE_LIMITED"
    retryable = True


class AttemptError(OurvidzError):
    """Generation failed; try again."""

    code = "GENERATION_ERROR"


class OutOfMemory(AttemptError):
    """The device ran out of memory; try again, or ask for less at once."""

    code = "OOM_ERROR"


class ModelLoadFailed(AttemptError):
    """The model could not be loaded; the operator must check its files."""

    code = "MODEL_LOAD_ERROR"


class DeadlinePassed(AttemptError):
    """The work took longer than its deadline and was stopped."""

    code = "TIMEOUT_ERROR"


class ImageToImageFailed(AttemptError):
    """The reference picture could not be worked on."""

    code = "I2I_PIPELINE_ERROR"
    retryable = False


class ThumbnailFailed(AttemptError):
    """A thumbnail could not be made."""

    code = "THUMBNAIL_GENERATION_ERROR"
    retryable = False


class WorkerLost(AttemptError):
    """The worker process ended before the work did; try again."""

    code = "WORKER_UNAVAILABLE"


class LeaseLost(AttemptError):
    """Another pod holds this job now."""

    code = "WORKER_UNAVAILABLE"


class Unavailable(OurvidzError):
    """The worker cannot take this now; try again after a short wait."""

    code = "WORKER_UNAVAILABLE"


class QueueUnavailable(Unavailable):
    """The queue cannot be reached or written now; try again after a short wait."""


class UploadFailed(Unavailable):
    """The result could not be stored; try again."""

    code = "UPLOAD_ERROR"


class UploadRefused(UploadFailed):
    """The storage does not take the result; the operator must check its bucket and key."""


class ConfigError(OurvidzError):
    """The configuration has errors; correct every setting named and start again."""

    code = "CONFIG_ERROR"
    retryable = False


class StopRequested(BaseException):
    """The work must stop at once: it was cancelled, or the process drains.

    A `BaseException`, so that no engine's `except Exception` swallows it.
    """

    def __init__(self, reason: str) -> None:
        """Keep why: `cancelled`, `draining` or `deadline`."""
        super().__init__(reason)
        self.reason = reason
