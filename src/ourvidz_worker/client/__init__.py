"""The Python client of a pod: `Client` for plain code, `AsyncClient` for asyncio.

    with Client("http://127.0.0.1:7860", key) as pod:
        job = pod.submit("sdxl_image_fast", "a red apple on a blue background", count=3)
        view = pod.wait(job.job_id)
        files = pod.save_assets(view, Path("results"))

It knows the public HTTP API alone. Every error it raises is a `ClientError`.
"""

from ourvidz_worker.client.asynchronous import AsyncClient
from ourvidz_worker.client.calls import ChatOptions
from ourvidz_worker.client.errors import (
    ClientError,
    ConnectionFailed,
    Contradicted,
    JobCancelled,
    JobFailed,
    KeyRejected,
    NotKnown,
    NotNow,
    PodFailed,
    Rejected,
    UnexpectedAnswer,
)
from ourvidz_worker.client.orders import JobOptions
from ourvidz_worker.client.results import (
    Accepted,
    AssetView,
    ChatReply,
    DeadCallback,
    DeadLetter,
    Health,
    JobEvent,
    JobFault,
    JobView,
    ModelsMoved,
    Progress,
    SavedFile,
)
from ourvidz_worker.client.sync import Client

__all__ = [
    "Accepted",
    "AssetView",
    "AsyncClient",
    "ChatOptions",
    "ChatReply",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Contradicted",
    "DeadCallback",
    "DeadLetter",
    "Health",
    "JobCancelled",
    "JobEvent",
    "JobFailed",
    "JobFault",
    "JobOptions",
    "JobView",
    "KeyRejected",
    "ModelsMoved",
    "NotKnown",
    "NotNow",
    "PodFailed",
    "Progress",
    "Rejected",
    "SavedFile",
    "UnexpectedAnswer",
]
