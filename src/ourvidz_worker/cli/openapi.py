"""`ourvidz-worker openapi`: the description of the HTTP API, as the pod serves it."""

import click
import msgspec

from ourvidz_worker import __version__
from ourvidz_worker.api.app import openapi_document


@click.command()
def openapi() -> None:
    """Print the OpenAPI document (JSON); no pod need run."""
    content = msgspec.json.encode(openapi_document(__version__))
    click.echo(msgspec.json.format(content, indent=2).decode())
