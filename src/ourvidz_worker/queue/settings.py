"""What a queue must be told to be built; each store reads what concerns it."""

from pathlib import Path

import msgspec

from ourvidz_worker.domain.lane import Lane


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue is set up.

    `state_dir` belongs to one pod. A job leased more than `max_tries` times is handed out as
    exhausted. `url` and `token` say where the application's lists are, `lanes` which of them this
    pod serves: elements of other lanes are left to other pods. `worker_id` signs dead letters.
    With `server_time` off, deadlines over the lists go by the store's own clock; for tests.
    """

    state_dir: Path
    max_tries: int = 3
    url: str = ""
    token: str = ""
    worker_id: str = ""
    lanes: tuple[Lane, ...] = tuple(Lane)
    server_time: bool = True
