"""Every error this client raises, and whose fault it is.

    ClientError                  a call did not end as asked
    ├── ConnectionFailed*        the pod was not reached, or went silent
    ├── UnexpectedAnswer         what came back is not the public API
    ├── Rejected                 4xx: the request as it stands
    │   ├── KeyRejected          401, 403
    │   ├── NotKnown             404
    │   └── Contradicted         409
    ├── NotNow*                  429, 503: the same request may pass later
    ├── PodFailed                5xx: the pod took the request and could not do it
    ├── JobFailed                the job waited for has failed
    └── JobCancelled             the job waited for was cancelled

`code`, `retryable`, `field` and `request_id` are what the pod said; where it said nothing, a star
above means that trying again may help.
"""

from typing import ClassVar

import msgspec

from ourvidz_worker.client.results import JobView


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the pod writes it (`application/problem+json`, contract H-20)."""

    code: str
    error: str
    retryable: bool = False
    field: str | None = None
    request_id: str | None = None


class ClientError(Exception):
    """A call to the pod did not end as asked."""

    default_code: ClassVar[str] = "CLIENT_ERROR"
    may_pass_later: ClassVar[bool] = False

    def __init__(self, sentence: str | None = None, *, problem: Problem | None = None) -> None:
        """Keep what the pod said, or `sentence` where it said nothing."""
        said = problem.error if problem else None
        self.sentence = said or sentence or (type(self).__doc__ or "").strip()
        self.code = problem.code if problem else self.default_code
        self.retryable = problem.retryable if problem else self.may_pass_later
        self.field = problem.field if problem else None
        self.request_id = problem.request_id if problem else None
        super().__init__(self.sentence)


class ConnectionFailed(ClientError):
    """The pod could not be reached; check that it runs and where it listens."""

    default_code = "CONNECTION_FAILED"
    may_pass_later = True


class UnexpectedAnswer(ClientError):
    """The answer is not one this client knows; check the address and the pod's version."""

    default_code = "UNEXPECTED_ANSWER"


class Rejected(ClientError):
    """The pod rejected the request; correct it and send it again."""


class KeyRejected(Rejected):
    """The pod needs a valid key; set OURVIDZ_KEY or point STATE_DIR at the pod's folder."""


class NotKnown(Rejected):
    """The pod knows nothing by that name."""


class Contradicted(Rejected):
    """The request contradicts what the pod already has."""


class NotNow(ClientError):
    """The pod cannot take this now; try again after a short wait."""

    may_pass_later = True


class PodFailed(ClientError):
    """The pod could not do what it was asked."""


class JobFailed(ClientError):
    """The job failed."""

    def __init__(self, view: JobView) -> None:
        """Keep the job's last state in `view`; its error gives code and sentence."""
        fault = view.error
        super().__init__(
            problem=Problem(code=fault.code, error=fault.message, retryable=fault.retryable)
            if fault
            else None
        )
        self.view = view


class JobCancelled(ClientError):
    """The job was cancelled."""

    default_code = "CANCELLED"

    def __init__(self, view: JobView) -> None:
        """Keep the job's last state in `view`."""
        super().__init__()
        self.view = view


#: Answer status to error; any other 4xx is `Rejected`, any other status from 500 `PodFailed`.
BY_STATUS: dict[int, type[ClientError]] = {
    401: KeyRejected,
    403: KeyRejected,
    404: NotKnown,
    409: Contradicted,
    429: NotNow,
    502: NotNow,
    503: NotNow,
}

_CLIENT_FAULT = 400
_SERVER_FAULT = 500


def error_of(status: int, body: bytes) -> ClientError:
    """The error that an answer with `status` and `body` (problem+json or anything else) means."""
    if status < _CLIENT_FAULT:
        return UnexpectedAnswer(f"The pod answered {status} where this client expects a result.")
    general = PodFailed if status >= _SERVER_FAULT else Rejected
    kind = BY_STATUS.get(status, general)
    try:
        return kind(problem=msgspec.json.decode(body, type=Problem))
    except msgspec.MsgspecError:
        return kind(f"{(kind.__doc__ or '').strip()} (status {status})")
