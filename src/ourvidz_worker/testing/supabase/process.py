"""The emulator in a process of its own, so that no end of another process takes it along."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.testing.supabase.application import Application, Push
from ourvidz_worker.testing.supabase.state import Keys

END_S = 30.0


@contextmanager
def supabase_process(push: Push, *, keys: Keys | None = None) -> Iterator[tuple[str, Application]]:
    """The emulator's URL and the application over it; both end with the context."""
    chosen = keys or Keys()
    command = [sys.executable, "-m", "ourvidz_worker.testing.supabase"]
    command += ["--service-key", chosen.service, "--callback-secret", chosen.callback_secret]
    command += ["--revision", chosen.revision]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        url, address = _listening(process)
        application = Application(url, address, chosen, push)
        try:
            yield url, application
        finally:
            application.close()
    finally:
        process.terminate()
        process.communicate(timeout=END_S)


def _listening(process: "subprocess.Popen[bytes]") -> tuple[str, str]:
    assert process.stdout is not None, "its output is piped"
    line = process.stdout.readline()
    if not line:
        raise ConfigError("the emulator did not start")
    told = json.loads(line)
    return str(told["url"]), str(told["database"])
