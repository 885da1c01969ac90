"""How a job that was waited for has ended."""

from ourvidz_worker.client.errors import JobCancelled, JobFailed, UnexpectedAnswer
from ourvidz_worker.client.results import JobView


def ended_well(view: JobView) -> JobView:
    """The view of a completed job. Raises `JobFailed` or `JobCancelled` for the other ends."""
    if view.status == "completed":
        return view
    if view.status == "cancelled":
        raise JobCancelled(view)
    if view.status == "failed":
        raise JobFailed(view)
    raise UnexpectedAnswer("The job's events have ended, and yet it is not over.")
