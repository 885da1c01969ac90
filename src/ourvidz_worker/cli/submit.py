"""`ourvidz-worker submit`: hand in one job of any type, watch it, and fetch its files."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import click
import msgspec
from rich.console import Console

from ourvidz_worker.cli.access import PodAccess, pod_options
from ourvidz_worker.cli.interrupts import leave_at_next
from ourvidz_worker.cli.progress import Bars
from ourvidz_worker.cli.tables import differences_table, files_table, show, stages_table
from ourvidz_worker.cli.watching import JobWatch
from ourvidz_worker.client import Client, Contradicted, JobCancelled, JobOptions, JobView
from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.job_types import JOB_TYPES

REFERENCES = {"reference", "first", "last"}


@click.command()
@click.argument("job_type", metavar="TYPE", type=click.Choice(list(JOB_TYPES)))
@click.argument("prompt", required=False)
@click.option("--negative", help="What the result should not show.")
@click.option("--steps", type=int, help="Sampling steps.")
@click.option("--guidance", type=float, help="How strictly the prompt is followed.")
@click.option("--size", help="Pixels, WIDTHxHEIGHT.")
@click.option("--seed", type=int, help="The same seed draws the same result.")
@click.option("--count", type=int, help="How many pictures, 1 to 6.")
@click.option("--frames", type=int, help="Frames of a clip.")
@click.option("--duration", type=float, help="Seconds of a clip.")
@click.option("--reference", metavar="FILE|KEY", help="A picture to begin from.")
@click.option("--first", metavar="FILE|KEY", help="First frame of a clip.")
@click.option("--last", metavar="FILE|KEY", help="Last frame of a clip.")
@click.option("--strength", type=float, help="How far from the reference, 0 to 1.")
@click.option("--config", "settings", multiple=True, metavar="K=V", help="Any other setting.")
@click.option("--json", "base", type=click.File("rb"), help="A whole job object to begin with.")
@click.option("--user", "user_id", help="Whose job it is.")
@click.option("--id", "job_id", help="Name of the job; handed in twice it is one job.")
@click.option("--wait/--no-wait", default=True, help="Stay until it has ended. [wait]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@pod_options
def submit(*, pod: PodAccess, job_type: str, prompt: str | None, **rest: Any) -> None:  # noqa: ANN401
    """Hand in a job of TYPE with PROMPT, show how it goes, and save what comes out.

    Ctrl-C cancels the job; a second one leaves at once.
    """
    wait, out = rest.pop("wait"), rest.pop("out")
    options = job_options(rest)
    with pod.open() as client:
        accepted = client.submit(job_type, prompt, **options)
        if not wait:
            click.echo(accepted.job_id)
            return
        view = follow(client, accepted.job_id, Console(stderr=True))
        report(client, view, out, Console())


def job_options(given: Mapping[str, Any]) -> JobOptions:
    """The client's options from the command's; what was not given is left out."""
    found = {name: value for name, value in given.items() if value is not None}
    found["config"] = dict(_setting(text) for text in found.pop("settings"))
    if "base" in found:
        found["base"] = _job_object(found["base"].read())
    for name in REFERENCES & found.keys():
        found[name] = _reference(found[name], name)
    return cast(JobOptions, found)


def follow(client: Client, job_id: str, console: Console) -> JobView:
    """Show a job until it has ended, and return it completed.

    Ctrl-C cancels it: then `KeyboardInterrupt` is raised, unless it was completed before that.
    """
    with Bars(console) as bars:
        watch = JobWatch(bars.add(job_id))
        try:
            return client.wait(job_id, tell=watch.tell)
        except KeyboardInterrupt:
            leave_at_next(console.show_cursor)
            watch.note("stopping the job; Ctrl-C again leaves at once")
        with suppress(Contradicted):
            client.cancel(job_id)
        try:
            return client.wait(job_id, tell=watch.tell)
        except JobCancelled:
            raise KeyboardInterrupt from None


def report(client: Client, view: JobView, out: Path, console: Console) -> None:
    """Save a completed job's files, and tell where they are and how long each stage took."""
    saved = client.save_assets(view, out)
    receipt = client.receipt(view.job_id)
    for asset in view.assets:
        if asset.text is not None:
            console.out(asset.text, highlight=False)
    for table in (
        files_table(view, saved),
        stages_table(receipt),
        differences_table(receipt),
    ):
        if table.rows:
            show(table, console)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise RequestError("--config takes NAME=VALUE.", field=text)
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _job_object(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise RequestError("--json takes a file with one JSON object.") from error


def _reference(text: str, option: str) -> str | Path:
    """A file here, else what the pod may know: a storage key or an address, with a slash."""
    if Path(text).is_file():
        return Path(text)
    if "/" in text:
        return text
    raise RequestError("There is no such file.", field=option)
