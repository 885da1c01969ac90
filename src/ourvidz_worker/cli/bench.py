"""`ourvidz-worker bench`: measure a running pod."""

import click

from ourvidz_worker.cli.bench_chat import chat


@click.group()
def bench() -> None:
    """Put a load on a running pod, and measure it."""


bench.add_command(chat)
