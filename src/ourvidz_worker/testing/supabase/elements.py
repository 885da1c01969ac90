"""The encodings in which a job may stand in a list, and the list it is pushed to (3.1, 3.2)."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Encode = Callable[[dict[str, Any]], str]


def as_object(payload: dict[str, Any]) -> str:
    """`{"id": …}`: what C1 pushes."""
    return json.dumps(payload)


def as_array_of_string(payload: dict[str, Any]) -> str:
    """`["{\\"id\\": …}"]`: what C2 pushes."""
    return json.dumps([json.dumps(payload)])


def as_array(payload: dict[str, Any]) -> str:
    """`[{"id": …}]`."""
    return json.dumps([payload])


def as_data_string(payload: dict[str, Any]) -> str:
    """`{"data": "{\\"id\\": …}"}`."""
    return json.dumps({"data": json.dumps(payload)})


def as_data(payload: dict[str, Any]) -> str:
    """`{"data": {"id": …}}`."""
    return json.dumps({"data": payload})


def as_string(payload: dict[str, Any]) -> str:
    """`"{\\"id\\": …}"`, encoded twice."""
    return json.dumps(json.dumps(payload))


ENCODINGS: Mapping[str, Encode] = MappingProxyType(
    {
        encode.__name__: encode
        for encode in (as_object, as_array_of_string, as_array, as_data_string, as_data, as_string)
    }
)


def list_of(job_type: str) -> str:
    """The list that the client pushes a type to, which is not always that of its lane."""
    if job_type.startswith(("chat", "admin")):
        return "chat_queue"
    return "sdxl_queue" if job_type.startswith("sdxl") or "image" in job_type else "wan_queue"
