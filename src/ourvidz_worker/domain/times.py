"""Times as the contract writes them."""

from datetime import UTC, datetime


def rfc3339(at: float) -> str:
    """`at` (seconds since the epoch) as the contract writes times: UTC with milliseconds."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
