"""The state folder: who owns it, where things lie in it, and the key made at first start."""

import os
import secrets
from pathlib import Path
from shutil import rmtree

from ourvidz_worker.domain.errors import ConfigError

KEY_FILE = "admin.key"
KEY_MODE = 0o600
KEY_BYTES = 32


def prepare_state(state_dir: Path) -> Path:
    """Make the folder, wipe what dead attempts left, and return it resolved."""
    state = state_dir.expanduser().resolve()
    try:
        state.mkdir(parents=True, exist_ok=True)
        (state / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError("STATE_DIR: the folder cannot be made or written") from error
    return state


def fresh_spool(state: Path) -> Path:
    """The folder of the attempts' files; only a pod that owns the state may call this."""
    spool = state / "spool"
    rmtree(spool, ignore_errors=True)
    spool.mkdir()
    return spool


def admin_key(state: Path) -> str:
    """The key of the embedded profile: read, or made at first start with mode 0600."""
    file = state / KEY_FILE
    if file.exists():
        return file.read_text(encoding="ascii").strip()
    key = secrets.token_hex(KEY_BYTES)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(key + "\n")
    return key
