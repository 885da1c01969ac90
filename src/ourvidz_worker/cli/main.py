"""The command `ourvidz-worker`: finds the command asked for, and turns errors into exit codes.

Each command lives in a module of its own that is imported only when it runs, so that `--help`
answers at once and nothing here ever loads torch.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

import click

from ourvidz_worker import __version__
from ourvidz_worker.cli.interrupts import INTERRUPTED
from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    OurvidzError,
    RequestError,
    Unavailable,
)

#: Command to `module:attribute` and its line in the help.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("ourvidz_worker.cli.up:up", "Run a pod here until Ctrl-C."),
    "submit": ("ourvidz_worker.cli.submit:submit", "Hand in a job; wait for its files."),
    "chat": ("ourvidz_worker.cli.chat:chat", "Talk to the chat model."),
    "jobs": ("ourvidz_worker.cli.jobs:jobs", "List, show, follow or cancel jobs."),
    "dead": ("ourvidz_worker.cli.dead:dead", "List dead letters, or let one be worked anew."),
    "callbacks": ("ourvidz_worker.cli.callbacks:callbacks", "List or resend dead callbacks."),
    "memory": ("ourvidz_worker.cli.memory:memory", "Show the device's memory; load and unload."),
    "doctor": ("ourvidz_worker.cli.doctor:doctor", "Check this machine, and say what to mend."),
    "models": ("ourvidz_worker.cli.models:models", "List, verify or fetch the small models."),
    "bench": ("ourvidz_worker.cli.bench:bench", "Put a load on a running pod, and measure it."),
    "openapi": ("ourvidz_worker.cli.openapi:openapi", "Print the description of the HTTP API."),
}

#: Whose fault it is, as an exit code; the first class that fits counts.
EXIT_CODES: tuple[tuple[type[OurvidzError], int], ...] = (
    (ConfigError, 1),
    (RequestError, 2),
    (AttemptError, 3),
    (Unavailable, 4),
    (OurvidzError, 3),
)


class Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table into the help, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ourvidz-worker")
def commands() -> None:
    """Chat, image and video workers that share one GPU as if each had it alone."""


def main() -> NoReturn:
    """Run the command line of this process, and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Nothing but `SystemExit` is raised by design."""
    try:
        result = commands.main(
            args=list(arguments), prog_name="ourvidz-worker", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return INTERRUPTED
    except OurvidzError as error:
        click.echo(sentence_of(error), err=True)
        return exit_code_of(error)
    return result if isinstance(result, int) else 0


def exit_code_of(error: OurvidzError) -> int:
    """The code of the first class in the table that fits."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def sentence_of(error: OurvidzError) -> str:
    """One line for a person: what is wrong, where, and how to name it when asking for help."""
    notes = {
        "code": error.facts.get("code", error.code),
        "field": error.field,
        "request": error.facts.get("request_id"),
    }
    told = ", ".join(f"{name} {value}" for name, value in notes.items() if value)
    return f"error: {error.sentence} ({told})"
