"""Run the emulator by itself, so that the end of a test's process does not take it along.

One line of JSON says where it listens: `{"url": …, "database": …}`.
"""

import argparse
import json
import signal
import sys
from contextlib import ExitStack

from ourvidz_worker.testing.postgres import postgres_server
from ourvidz_worker.testing.supabase.serving import SupabaseEmulator
from ourvidz_worker.testing.supabase.state import Keys


def main() -> None:
    """Serve until a signal ends it; without `--database` a server of its own is started."""
    defaults = Keys()
    parser = argparse.ArgumentParser(prog="python -m ourvidz_worker.testing.supabase")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--database", default="", help="connection string of an empty database")
    parser.add_argument("--service-key", default=defaults.service)
    parser.add_argument("--callback-secret", default=defaults.callback_secret)
    parser.add_argument("--revision", choices=("C1", "C2"), default=defaults.revision)
    options = parser.parse_args()
    keys = Keys(
        service=options.service_key,
        callback_secret=options.callback_secret,
        revision=options.revision,
    )
    signal.signal(signal.SIGTERM, _end)
    with ExitStack() as stack:
        address = options.database or stack.enter_context(postgres_server()).database()
        emulator = stack.enter_context(SupabaseEmulator(address, keys=keys, port=options.port))
        sys.stdout.write(json.dumps({"url": emulator.url, "database": address}) + "\n")
        sys.stdout.flush()
        while True:
            signal.pause()


def _end(_number: int, _frame: object) -> None:
    """End in order, so that a database server of ours ends too."""
    raise SystemExit(0)


if __name__ == "__main__":
    main()
