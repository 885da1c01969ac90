"""`ourvidz-worker dead`: the dead letters, and their way back into the queue."""

import click
from rich.console import Console

from ourvidz_worker.cli.access import PodAccess, pod_options
from ourvidz_worker.cli.tables import letters_table, show


@click.command()
@click.option("--replay", "letter_id", metavar="ID", help="Let this letter be worked anew.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@pod_options
def dead(*, pod: PodAccess, letter_id: str | None, limit: int) -> None:
    """List the newest jobs and elements that could not be worked, or replay one."""
    with pod.open() as client:
        if letter_id is None:
            show(letters_table(client.dead_letters(limit=limit)), Console())
            return
        job_id = client.replay_letter(letter_id)
    click.echo(f"{letter_id}: waits again" + (f" as job {job_id}" if job_id else ""))
