"""`ourvidz-worker models`: the small models that come with the project."""

import click
from rich.console import Console

from ourvidz_worker.cli.fetching import fetch
from ourvidz_worker.cli.progress import Bars
from ourvidz_worker.cli.shelf import ShelfModel, is_there, open_shelf, verify
from ourvidz_worker.cli.tables import Table, show
from ourvidz_worker.domain.errors import ConfigError, RequestError

MEGABYTE = 1_000_000


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the small models, verify their digests, fetch what is missing."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


@models.command("list")
def list_models() -> None:
    """List the models and whether they are here."""
    rows = [
        (
            model.name,
            "here" if is_there(model) else "missing",
            f"{model.size_bytes / MEGABYTE:.0f} MB",
            model.entry.licence,
            str(model.folder),
        )
        for model in open_shelf().models
    ]
    show(Table(("model", "state", "size", "licence", "folder"), rows), Console())


@models.command("verify")
@click.argument("names", nargs=-1)
def verify_models(names: tuple[str, ...]) -> None:
    """Read every file and compare its digest; exit 1 when one is not right."""
    states = {model.name: verify(model) for model in _chosen(names)}
    show(Table(("model", "state"), list(states.items())), Console())
    bad = [name for name, state in states.items() if state != "ok"]
    if bad:
        raise ConfigError(f"not whole: {', '.join(bad)}; run `ourvidz-worker models fetch`")


@models.command("fetch")
@click.argument("names", nargs=-1)
def fetch_models(names: tuple[str, ...]) -> None:
    """Fetch the models that are missing, about 100 MB once."""
    fetch_missing(_chosen(names), Console(stderr=True))
    click.echo("all small models are here")


def fetch_missing(wanted: tuple[ShelfModel, ...], console: Console) -> None:
    """Fetch those of `wanted` that are not there, showing progress on `console`.

    Raises `Unavailable`, and `ConfigError` for a shipped model that is not whole.
    """
    missing = [model for model in wanted if not is_there(model)]
    broken = [model.name for model in missing if model.is_shipped]
    if broken:
        raise ConfigError(f"not whole: {', '.join(broken)}; they come with the project's files")
    if not missing:
        return
    with Bars(console) as bars:
        for model in missing:
            bar = bars.add(model.name)
            fetch(model, lambda doing, share, bar=bar: bar.move(doing, share))  # type: ignore[misc]
            bar.finish("fetched")


def _chosen(names: tuple[str, ...]) -> tuple[ShelfModel, ...]:
    shelf = open_shelf()
    unknown = [name for name in names if shelf.find(name) is None]
    if unknown:
        known = ", ".join(model.name for model in shelf.models)
        raise RequestError(f"no model is called {unknown[0]}; there are {known}")
    return tuple(model for model in shelf.models if not names or model.name in names)
