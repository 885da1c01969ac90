"""The names of all that lies in Redis, and for how long; built here and nowhere else.

The lists are the application's own and hold waiting elements alone; everything beside them is
ours. The scripts get the same names, as the first lines of their source.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.lane import Lane

#: The list of each lane (contract Q-1).
LISTS: Mapping[Lane, str] = MappingProxyType(
    {Lane.IMAGE: "sdxl_queue", Lane.VIDEO: "wan_queue", Lane.CHAT: "chat_queue"}
)

#: Where a job of each lane is put: an unmanned lane is a guest in another's list (J-2).
LIST_OF: Mapping[Lane, str] = MappingProxyType({**LISTS, Lane.ADMIN: LISTS[Lane.CHAT]})

#: What is kept under each kind of name; a name is its kind's beginning and whose it is.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "DONE": "worker:done:",  # a job's final status, once it was told
        "RESULT": "worker:result:",  # a text job's last body (J-1)
        "CALLBACK_DEAD": "callback:dead",  # callbacks given up (7.4)
        "FOREIGN_LEASE": "worker:lease:",  # a lease of the reference mechanism
        "ENTRY": "worker:entry:",  # hash: one element that was seen, by its SHA-1
        "JOB": "worker:job:",  # hash: all that is known of a job, by its id
        "EVENTS": "worker:events:",  # list: a job's newest events
        "LEASES": "worker:leases:",  # sorted set of a lane: entry, deadline in ms
        "SERVED": "worker:served",  # sorted set: lane, class and user, the fence last served
        "DELAYED": "worker:delayed",  # sorted set: entry given back, when it may be leased
        "GRANTED": "worker:granted",  # hash: leases granted in each lane
        "FENCE": "worker:fence",  # counter of leases
        "SEQ": "worker:seq",  # counter of jobs, in order of arrival
        "RECENT": "worker:recent",  # sorted set: job, its number
        "REPLAY": "worker:replay:",  # a pod's last claim, in case its reply was lost
        "DUE": "worker:due:",  # set of a pod: jobs that ended and whose last callback is owed
        "PODS": "worker:pods",  # sorted set: pod, until when it counts as alive
        "LETTERS": "worker:letters",  # list: which list each dead letter went to, in order
        "SUSPECTS": "worker:suspects",  # hash: foreign leftover, when it was first seen unleased
    }
)

DONE_S = 86_400
RESULT_S = 3600
KEPT_S = 86_400
"""A job that ended, with its events, is kept as long as its `worker:done`."""

WAITING_S = 7 * 86_400
"""What was noted of an element that nobody claims or removes is forgotten after this."""

POD_S = 60
"""A pod that was not heard of for this long is dead: others take over the callbacks it owes."""

ADOPT_AFTER_S = 60
"""A leftover of the reference mechanism must be unleased this long (Q-7)."""

KEPT_LETTERS = 1000
KEPT_EVENTS = 512
KEPT_JOBS = 10_000
KEPT_USERS = 10_000

WINDOW = 64
"""The elements of a list among which order is kept; reading them costs 0.2 ms of the server."""

DEEP = 1024
"""How deep a list is searched whose lane has nothing in the window; 5 ms of the server at most."""

AGEING_LEASES = 9
"""A class that others pass over has at least every ninth lease of its lane."""


def name(kind: str, whose: str = "") -> str:
    """The name of what is kept under `kind`, such as `name("DONE", job_id)`."""
    return KINDS[kind] + whose


def dead_letters(listed: str) -> str:
    """The list of the dead letters of one of the application's lists (Q-21)."""
    return f"{listed}:dead"


def prelude() -> str:
    """The same names and numbers as Lua, with lanes and job types, to stand before every script."""
    numbers = {
        "DONE_S": DONE_S,
        "RESULT_S": RESULT_S,
        "KEPT_S": KEPT_S,
        "WAITING_S": WAITING_S,
        "POD_MS": POD_S * 1000,
        "ADOPT_AFTER_MS": ADOPT_AFTER_S * 1000,
        "KEPT_LETTERS": KEPT_LETTERS,
        "KEPT_EVENTS": KEPT_EVENTS,
        "KEPT_JOBS": KEPT_JOBS,
        "KEPT_USERS": KEPT_USERS,
        "WINDOW": WINDOW,
        "DEEP": DEEP,
        "AGEING_LEASES": AGEING_LEASES,
    }
    types = JOB_TYPES.values()
    tables = {
        "LISTS": [f"'{listed}'" for listed in LISTS.values()],
        "LANES": [f"'{lane}'" for lane in LIST_OF],
        "LIST_OF": [f"{lane} = '{listed}'" for lane, listed in LIST_OF.items()],
        "LANE_OF": [f"{listed} = '{lane}'" for lane, listed in LISTS.items()],
        "KINDS": [f"['{row.name}'] = {{'{row.lane}', {row.priority:d}}}" for row in types],
        "GUESTS": [f"['{row.name}'] = '{row.lane}'" for row in types if row.lane not in LISTS],
    }
    lines = [f"local {kind} = '{text}'" for kind, text in KINDS.items()]
    lines += [f"local {kind} = {number}" for kind, number in numbers.items()]
    lines += [f"local {table} = {{{', '.join(items)}}}" for table, items in tables.items()]
    return "\n".join(lines) + "\n"
