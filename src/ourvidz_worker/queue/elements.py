"""Elements of the application's lists: five encodings of one job object (contract 3.2).

No error leaves `read_element`: what cannot be read is told apart by what is known of it.
"""

import msgspec

from ourvidz_worker.domain.ids import is_id
from ourvidz_worker.domain.intake import find_id
from ourvidz_worker.domain.job_types import JobType, find_job_type
from ourvidz_worker.domain.lane import Lane, PriorityClass

DEEPEST = 8
"""How many wrappings are taken off before an element counts as unreadable (Q-20)."""

BOM = b"\xef\xbb\xbf"
ID_NAMES = ("id", "job_id", "jobId")
TYPE_NAMES = ("type", "job_type")
USER_NAMES = ("user_id", "userId")

ACCEPTED = "ourvidz_accepted"
"""Marks the elements that stand for a job of our own interface; its record holds the payload."""

NO_JSON = "The element is not JSON in UTF-8."
NO_OBJECT = "The element holds no job object."
NO_ID = "The element names no job."

Object = dict[str, msgspec.Raw]


class Element(msgspec.Struct, frozen=True, kw_only=True):
    """What an element says. Without a `job_id` nobody can be told of it.

    `payload` is the job object as it was sent; of an element that is not readable it is the whole
    element, and `reason` says why in one sentence. `type` and `user_id` are empty where unknown.
    """

    job_id: str | None
    type: str = ""
    user_id: str = ""
    payload: bytes
    readable: bool = True
    reason: str = ""
    accepted: bool = False

    @property
    def row(self) -> JobType | None:
        """The row of its type, or None for one that no worker knows."""
        return find_job_type(self.type)

    def lane(self, own: Lane) -> Lane:
        """The lane of its type; `own`, that of the list it lay in, where there is none (Q-1)."""
        return own if self.row is None else self.row.lane

    @property
    def priority(self) -> PriorityClass:
        """The class of its type."""
        return PriorityClass.NORMAL if self.row is None else self.row.priority


def read_element(raw: bytes) -> Element:
    """What `raw` says, whatever it is. Raises nothing."""
    try:
        raw.decode("utf-8")
        found = _unwrap(raw.removeprefix(BOM))
    except (UnicodeError, msgspec.DecodeError, RecursionError):
        return _unreadable(raw, NO_JSON)
    if found is None:
        return _unreadable(raw, NO_OBJECT)
    payload, job = found
    job_id = _text(job, ID_NAMES)
    if job_id is None or not is_id(job_id):
        return _unreadable(raw, NO_ID)
    kind = _text(job, TYPE_NAMES) or ""
    row = find_job_type(kind)
    return Element(
        job_id=job_id,
        type=kind if row is None else row.name,
        user_id=_text(job, USER_NAMES) or "",
        payload=payload,
        accepted=ACCEPTED in job,
    )


def write_element(job_id: str, kind: str, user_id: str, nonce: str) -> bytes:
    """The element of a job that our own interface accepted; equal to no other one."""
    named = {"id": job_id, "type": kind, "user_id": user_id, ACCEPTED: nonce}
    return msgspec.json.encode(named)


def _unwrap(text: bytes) -> tuple[bytes, Object] | None:
    """The job object inside: its bytes and its fields, or None where there is none."""
    for _ in range(DEEPEST):
        text = text.strip()
        if text.startswith(b'"'):
            text = msgspec.json.decode(text, type=str).encode()
        elif text.startswith(b"["):
            several = msgspec.json.decode(text, type=list[msgspec.Raw])
            if len(several) != 1:
                return None
            text = bytes(several[0])
        elif text.startswith(b"{"):
            job = msgspec.json.decode(text, type=Object)
            if "data" not in job or any(name in job for name in (*ID_NAMES, *TYPE_NAMES)):
                return text, job
            text = bytes(job["data"])
        else:
            msgspec.json.decode(text)
            return None
    return None


def _unreadable(raw: bytes, reason: str) -> Element:
    return Element(job_id=find_id(raw), payload=raw, readable=False, reason=reason)


def _text(job: Object, names: tuple[str, ...]) -> str | None:
    """The text of the first field that is given and not null; of another value, none."""
    for name in names:
        if name in job and bytes(job[name]).strip() != b"null":
            try:
                return msgspec.json.decode(job[name], type=str)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                return None
    return None
