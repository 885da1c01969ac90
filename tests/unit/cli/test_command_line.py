"""The command itself: help without weight, exit codes, and errors in one line."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from ourvidz_worker.cli import main
from ourvidz_worker.cli.interrupts import INTERRUPTED
from ourvidz_worker.cli.main import COMMANDS, EXIT_CODES, exit_code_of, run, sentence_of
from ourvidz_worker.domain import errors
from ourvidz_worker.domain.errors import (
    ConfigError,
    DeadlinePassed,
    InvalidPrompt,
    OurvidzError,
    QueueUnavailable,
)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f"  {name} " in shown] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_own_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert name in capsys.readouterr().out


def test_the_command_itself_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ourvidz_worker.cli.main import run\nrun(['--help'])\n"
        "print(sorted({'torch', 'httpx', 'rich', 'numpy', 'starlette'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_command_loads_torch() -> None:
    code = (
        "import sys\nfrom ourvidz_worker.cli.main import COMMANDS, run\n"
        "for name in COMMANDS: run([name, '--help'])\n"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_the_callers_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fly"]) == 2
    assert "fly" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ourvidz-worker, version ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError, 1),
        (InvalidPrompt, 2),
        (DeadlinePassed, 3),
        (QueueUnavailable, 4),
        (OurvidzError, 3),
    ],
)
def test_each_branch_has_its_exit_code(error: type[OurvidzError], code: int) -> None:
    assert exit_code_of(error()) == code


def test_every_error_has_an_exit_code() -> None:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in found if issubclass(kind, OurvidzError)]
    assert all(any(issubclass(kind, known) for known, _ in EXIT_CODES) for kind in ours)


def test_an_error_is_one_line_with_what_helps() -> None:
    error = InvalidPrompt("Too long.", field="prompt", code="X", request_id="r")
    assert sentence_of(error) == "error: Too long. (code X, field prompt, request r)"
    assert sentence_of(ConfigError("Bad.")) == "error: Bad. (code CONFIG_ERROR)"


@pytest.mark.parametrize("stop", [click.Abort, KeyboardInterrupt])
def test_an_interrupt_is_told_as_that(
    stop: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise stop

    monkeypatch.setattr(main.commands, "invoke", stopped)
    assert run(["jobs"]) == INTERRUPTED
    assert "stopped" in capsys.readouterr().err


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ourvidz_worker", "jobs", "list"]
    command += ["--url", "http://127.0.0.1:9"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 4
    assert done.stderr.startswith("error: No pod answers")
