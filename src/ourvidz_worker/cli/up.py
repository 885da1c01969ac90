"""`ourvidz-worker up`: run a pod in the foreground, with the small models unless told otherwise."""

from pathlib import Path

import click
from rich.console import Console

from ourvidz_worker.cli.pocket import pocket_variables, without_model
from ourvidz_worker.cli.shelf import open_shelf
from ourvidz_worker.config import Config, is_deployed, read_config, served_lanes
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.wiring.pod import serve

#: Option to the variable it sets.
VARIABLES = {"state_dir": "STATE_DIR", "port": "WORKER_PORT", "chat_port": "CHAT_WORKER_PORT"}
ENGINES = ("OURVIDZ_IMAGE_ENGINE", "OURVIDZ_CHAT_ENGINE", "OURVIDZ_VIDEO_ENGINE")


@click.command()
@click.option("--state-dir", type=click.Path(path_type=Path), help="[STATE_DIR, else ./state]")
@click.option("--port", type=int, help="Port of images and video. [WORKER_PORT, else 7860]")
@click.option("--chat-port", type=int, help="Port of chat. [CHAT_WORKER_PORT, else 7861]")
@click.option(
    "--pocket/--no-pocket",
    default=None,
    help="Whether the small models fill the lanes for which none is named."
    " [pocket; no-pocket when deployed]",
)
@click.option("--engine", type=click.Choice(["fake"]), help="An engine for all lanes: no model.")
def up(
    state_dir: Path | None,
    port: int | None,
    chat_port: int | None,
    pocket: bool | None,
    engine: str | None,
) -> int:
    """Run a pod here until Ctrl-C; a second Ctrl-C stops it at once."""
    given = {"state_dir": state_dir, "port": port, "chat_port": chat_port}
    chosen = {VARIABLES[name]: str(value) for name, value in given.items() if value is not None}
    chosen |= dict.fromkeys(ENGINES, engine) if engine else {}
    config = read_config(overrides=chosen)
    lanes = without_model(config)
    # Nobody who pays for a picture may get one of the small models' by an oversight.
    if lanes and (not is_deployed(config) if pocket is None else pocket):
        found = pocket_variables(lanes, open_shelf(), Console(stderr=True))
        config = read_config(overrides=chosen | found)
    if set(without_model(config)) == set(served_lanes(config)):
        raise ConfigError("No lane has a model; name one, or take the small ones by --pocket.")
    click.echo(greeting(config), err=True)
    return serve(config)


def greeting(config: Config) -> str:
    """One line: where the pod listens, where it keeps its state, and what it cannot serve."""
    image = f"http://{config.bind_host}:{config.worker_port}"
    chat = f"http://{config.bind_host}:{config.chat_worker_port}"
    state = config.state_dir.expanduser().resolve()
    missing = without_model(config)
    unserved = f"; no model for {', '.join(missing)}" if missing else ""
    return f"images and video at {image}, chat at {chat}, state in {state}{unserved}; Ctrl-C stops"
