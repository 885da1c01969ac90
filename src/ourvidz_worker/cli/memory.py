"""`ourvidz-worker memory`: what the device holds, and the operator's commands over it."""

import click
import msgspec
from rich.console import Console

from ourvidz_worker.cli.access import PodAccess, pod_options
from ourvidz_worker.cli.tables import Table, show
from ourvidz_worker.domain.memory import MemoryReport, Operation, OperationReply

GIBIBYTE_MIB = 1024
TARGETS = ("sdxl", "chat", "wan")
MODELS = ("instruct", "base", "chat", "sdxl", "wan", "qwen", "all")


@click.group(invoke_without_command=True)
@click.pass_context
def memory(context: click.Context) -> None:
    """Show who holds the device's memory; load, unload, make room."""
    if context.invoked_subcommand is None:
        context.invoke(show_map)


@memory.command("map")
@pod_options
def show_map(*, pod: PodAccess) -> None:
    """Show every worker: where its model is, what it holds, and what is expected of it."""
    with pod.open() as client:
        report = client.memory_report()
    show(map_table(report), Console())
    if report.pressure_level is not None:
        free = _gib(report.available_vram)
        click.echo(f"{free} available, pressure {report.pressure_level}", err=True)
    for advice in report.recommendations:
        click.echo(advice, err=True)


@memory.command("report")
@pod_options
def show_report(*, pod: PodAccess) -> None:
    """Print the whole report, as JSON."""
    with pod.open() as client:
        content = msgspec.json.encode(client.memory_report())
    click.echo(msgspec.json.format(content, indent=2).decode())


@memory.command("events")
@pod_options
def show_events(*, pod: PodAccess) -> None:
    """List the last loads, evictions and operations, each with its reason."""
    with pod.open() as client:
        show(events_table(client.memory_report()), Console())


@memory.command("load")
@click.argument("which", type=click.Choice(MODELS), required=False)
@click.option("--force", is_flag=True, help="Evict idle models to make room.")
@pod_options
def load_model(*, pod: PodAccess, which: str | None, force: bool) -> None:
    """Load a model; without a name, the port's own."""
    with pod.open() as client:
        click.echo(client.load_model(which, force=force).message)


@memory.command("unload")
@click.argument("which", type=click.Choice(MODELS), required=False)
@click.option("--force", is_flag=True, help="Stop its work, which goes back to the queue.")
@pod_options
def unload_model(*, pod: PodAccess, which: str | None, force: bool) -> None:
    """Unload a model once its work has ended; without a name, all of the port's."""
    with pod.open() as client:
        click.echo(client.unload_model(which, force=force).message)


@memory.command("operate")
@click.argument("operation", type=click.Choice([one.value for one in Operation]))
@click.option("--target", type=click.Choice(TARGETS), help="The worker it is about.")
@click.option("--required-gb", type=click.FloatRange(min=0, min_open=True), help="GiB needed.")
@click.option("--force", is_flag=True, help="Spare nobody who is busy.")
@pod_options
def operate(
    *, pod: PodAccess, operation: str, target: str | None, required_gb: float | None, force: bool
) -> None:
    """Carry out one operation, and tell what it changed."""
    with pod.open() as client:
        reply = client.operate(operation, target=target, required_gb=required_gb, force=force)
    show(change_table(reply), Console())
    click.echo(f"{reply.action_taken}; {reply.freed_gb:.1f} GiB freed", err=True)


def map_table(report: MemoryReport) -> Table:
    """Every worker, one a row."""
    rows = []
    for name, worker in report.worker_status.items():
        expected = report.predictions[name]
        rows.append(
            (
                name,
                worker.state,
                _gib(worker.memory),
                _gib(worker.peak),
                _gib(worker.budget),
                "yes" if worker.in_use else "no",
                str(expected.waiting),
                worker.last_used or "",
            )
        )
    titles = ("worker", "state", "holds", "peak", "budget", "in use", "waiting", "last used")
    return Table(titles, rows)


def events_table(report: MemoryReport) -> Table:
    """The last moves, one a row."""
    rows = [
        (
            event.at,
            event.operation or event.event,
            event.worker or "",
            event.reason,
            event.made_for or "",
            "done" if event.succeeded else "failed",
            f"{event.seconds:.1f} s",
            _gib(event.freed),
        )
        for event in report.events
    ]
    return Table(("at", "event", "worker", "why", "for", "end", "took", "freed"), rows)


def change_table(reply: OperationReply) -> Table:
    """Every worker before and after an operation."""
    rows = [
        (name, state, reply.after.workers.get(name, ""))
        for name, state in reply.before.workers.items()
    ]
    return Table(("worker", "before", "after"), rows)


def _gib(size_mib: int | None) -> str:
    return "" if size_mib is None else f"{size_mib / GIBIBYTE_MIB:.1f} GiB"
