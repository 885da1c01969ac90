"""Callbacks: what we owe a caller, delivered from a durable outbox.

`callbacks.sender` is loaded apart, because it brings the network library with it.
"""

from ourvidz_worker.callbacks.body import (
    completed_body,
    failed_body,
    processing_body,
    progress_body,
)
from ourvidz_worker.callbacks.metadata import Done
from ourvidz_worker.callbacks.outbox import Outbox, OwedCallback
from ourvidz_worker.callbacks.pump import OutboxPump, Sender
from ourvidz_worker.callbacks.signing import Signer, read_webhook_secret
from ourvidz_worker.callbacks.teller import Teller

__all__ = [
    "Done",
    "Outbox",
    "OutboxPump",
    "OwedCallback",
    "Sender",
    "Signer",
    "Teller",
    "completed_body",
    "failed_body",
    "processing_body",
    "progress_body",
    "read_webhook_secret",
]
