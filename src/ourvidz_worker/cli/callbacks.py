"""`ourvidz-worker callbacks`: the callbacks that the pod has given up."""

import click
from rich.console import Console

from ourvidz_worker.cli.access import PodAccess, pod_options
from ourvidz_worker.cli.tables import callbacks_table, show
from ourvidz_worker.client import Client, Contradicted, NotKnown

EVERY = 1000
"""As many as a pod keeps."""


@click.group()
def callbacks() -> None:
    """List or resend the callbacks that the pod has given up."""


@callbacks.command("dead")
@click.option("--limit", type=click.IntRange(1, EVERY), default=20, show_default=True)
@pod_options
def list_dead(*, pod: PodAccess, limit: int) -> None:
    """List dead callbacks, the newest first."""
    with pod.open() as client:
        show(callbacks_table(client.dead_callbacks(limit=limit)), Console())


@callbacks.command("replay")
@click.argument("callback_id", metavar="[ID]", type=int, required=False)
@click.option("--all", "every", is_flag=True, help="All of them, the oldest first.")
@pod_options
def replay(*, pod: PodAccess, callback_id: int | None, every: bool) -> None:
    """Send a dead callback again, or all of them."""
    if every == (callback_id is not None):
        raise click.UsageError("Name one callback, or say --all.")
    with pod.open() as client:
        if callback_id is not None:
            client.replay_callback(callback_id)
            click.echo(f"{callback_id}: is sent again")
        else:
            _replay_all(client)


def _replay_all(client: Client) -> None:
    """Resend what may be; what would come too late stays, and is told."""
    late = 0
    found = sorted(client.dead_callbacks(limit=EVERY), key=lambda each: each.id)
    for each in found:
        try:
            client.replay_callback(each.id)
        except (Contradicted, NotKnown) as error:
            late += 1
            click.echo(f"{each.id}: {error.sentence}", err=True)
    click.echo(f"{len(found) - late} of {len(found)} are sent again")
