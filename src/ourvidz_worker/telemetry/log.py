"""Logs: one JSON line an event, with an action and fields instead of sentences (O-8)."""

import json
import logging
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import IO

from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.telemetry.redaction import Redaction


class Action(StrEnum):
    """What happened; the only vocabulary of the field `action`."""

    ADMISSION_BROKE = "admission_broke"
    ATTEMPT_BROKE = "attempt_broke"
    ATTEMPT_ENDED = "attempt_ended"
    ATTEMPT_FAILED = "attempt_failed"
    ATTEMPT_REPEATED = "attempt_repeated"
    ATTEMPT_STARTED = "attempt_started"
    BAD_ARGUMENT = "bad_argument"
    CALLBACKS_REFUSED = "callbacks_refused"
    CALLBACK_DEAD = "callback_dead"
    CALLBACK_DELIVERED = "callback_delivered"
    CALLBACK_POSTPONED = "callback_postponed"
    CALLBACK_REVIVED = "callback_revived"
    CALLBACK_SUPERSEDED = "callback_superseded"
    DELIVERY_BROKE = "delivery_broke"
    DEVICE_LOST = "device_lost"
    DEVICE_STATUS = "device_status"
    ENGINE_LOST = "engine_lost"
    FILES_LEFT_BEHIND = "files_left_behind"
    ELEMENT_BURIED = "element_buried"
    ELEMENT_DROPPED = "element_dropped"
    JOB_ACCEPTED = "job_accepted"
    JOB_CANCELLED = "job_cancelled"
    JOB_REFUSED = "job_refused"
    JOB_REQUEUED = "job_requeued"
    JOB_SETTLED = "job_settled"
    JOB_STARTED = "job_started"
    LANE_OPENED = "lane_opened"
    LEASES_SWEPT = "leases_swept"
    LEASE_LOST = "lease_lost"
    LEFTOVERS_ADOPTED = "leftovers_adopted"
    LETTER_REPLAYED = "letter_replayed"
    LOAD_FAILED = "load_failed"
    MEMORY_MOVED = "memory_moved"
    MEMORY_MOVE_FAILED = "memory_move_failed"
    POD_DRAINING = "pod_draining"
    POD_LOST = "pod_lost"
    POD_STARTED = "pod_started"
    POD_STOPPED = "pod_stopped"
    PREVIEW_FAILED = "preview_failed"
    QUEUE_AT_RISK = "queue_at_risk"
    QUEUE_UNAVAILABLE = "queue_unavailable"
    REFERENCE_DROPPED = "reference_dropped"
    REFERENCE_TRY_FAILED = "reference_try_failed"
    REGISTERED = "registered"
    REGISTRATION_FAILED = "registration_failed"
    REGISTRATION_LOST = "registration_lost"
    REQUEST_BROKE = "request_broke"
    REQUEST_FAILED = "request_failed"
    SETTING_DOUBTFUL = "setting_doubtful"
    ROW_REPAIRED = "row_repaired"
    ROW_UNKNOWN = "row_unknown"
    SPOOL_NOT_CLEARED = "spool_not_cleared"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    TEXT_SERVED = "text_served"
    THUMBNAIL_NOT_STORED = "thumbnail_not_stored"
    WATCH_BROKE = "watch_broke"
    WORKER_DRAINING = "worker_draining"
    WORKER_ENDED = "worker_ended"
    WORKER_FAILED = "worker_failed"
    WORKER_KILLED = "worker_killed"
    WORKER_READY = "worker_ready"
    WORKER_RELEASED = "worker_released"
    WORKER_STARTED = "worker_started"


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, event, action and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception becomes one escaped string."""
        line: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def start_logging(
    *, level: str = "INFO", stream: IO[str] | None = None, secrets: Sequence[str] = ()
) -> None:
    """Send this process's records to `stream` (default: standard error) as JSON lines.

    Nothing in them looks like a key or is one of `secrets`. What libraries warn of goes the same
    way, unless somebody else listens to them already.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(Redaction(secrets))
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(handler)
    logger = logging.getLogger("ourvidz_worker")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
