"""The worker: the process that obeys. It knows no queue, storage or network."""
