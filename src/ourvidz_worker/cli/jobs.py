"""`ourvidz-worker jobs`: what the pod has been asked."""

import click
import msgspec
from rich.console import Console

from ourvidz_worker.cli.access import PodAccess, pod_options
from ourvidz_worker.cli.tables import jobs_table, show
from ourvidz_worker.client.results import JobEvent

STATUSES = ("queued", "processing", "completed", "failed", "cancelled")


@click.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """List, show, follow or cancel jobs."""
    if context.invoked_subcommand is None:
        context.invoke(list_jobs)


@jobs.command("list")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--user", "user_id")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@pod_options
def list_jobs(*, pod: PodAccess, status: str | None, user_id: str | None, limit: int) -> None:
    """List the newest jobs."""
    with pod.open() as client:
        show(jobs_table(client.jobs(status=status, user_id=user_id, limit=limit)), Console())


@jobs.command("show")
@click.argument("job_id", metavar="ID")
@pod_options
def show_job(*, pod: PodAccess, job_id: str) -> None:
    """Print all that the pod tells of one job, as JSON."""
    with pod.open() as client:
        click.echo(_pretty(msgspec.json.encode(client.job(job_id))))


@jobs.command("cancel")
@click.argument("job_id", metavar="ID")
@pod_options
def cancel_job(*, pod: PodAccess, job_id: str) -> None:
    """Stop a job; a running one stops at its next step."""
    with pod.open() as client:
        client.cancel(job_id)
    click.echo(f"{job_id}: asked to stop")


@jobs.command("events")
@click.argument("job_id", metavar="ID")
@pod_options
def follow_events(*, pod: PodAccess, job_id: str) -> None:
    """Print a job's events as they come, one JSON object a line, to the last."""
    with pod.open() as client:
        for event in client.events(job_id):
            click.echo(_line(event))


def _line(event: JobEvent) -> str:
    return msgspec.json.encode({"seq": event.seq, "event": event.kind, **event.data}).decode()


def _pretty(content: bytes) -> str:
    return msgspec.json.format(content, indent=2).decode()
