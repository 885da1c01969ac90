"""The spool: the directory that belongs to one attempt alone."""

import logging
import shutil
from pathlib import Path

from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)


def clear_spool(folder: Path) -> None:
    """Remove everything inside `folder`; one that is gone is no error, another fault is logged."""
    try:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except FileNotFoundError:
        return
    except OSError:
        log.exception("spool not cleared", extra={"action": Action.SPOOL_NOT_CLEARED})
