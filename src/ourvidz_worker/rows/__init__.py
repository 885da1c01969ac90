"""The application's job rows. Choose the way to them by name through `make_rows`."""

from importlib import import_module

import msgspec

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.rows.base import Rows, RowState


class RowsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a way to the rows is given; `repairs` allows the one write of K-13."""

    url: str = ""
    key: str = ""
    repairs: bool = True


#: Name to `module:class`; each class takes `(settings: RowsSettings, clock: Clock)`.
ROWS = {
    "none": "ourvidz_worker.rows.none:NoRows",
    "supabase": "ourvidz_worker.rows.supabase:SupabaseRows",
}


def make_rows(name: str, settings: RowsSettings, clock: Clock) -> Rows:
    """Build the rows `name`. Raises `ConfigError` for a name that nothing has."""
    if name not in ROWS:
        raise ConfigError(f"rows must be one of {', '.join(sorted(ROWS))}", field="rows")
    module, _, attribute = ROWS[name].partition(":")
    rows: Rows = getattr(import_module(module), attribute)(settings, clock)
    return rows


__all__ = ["ROWS", "RowState", "Rows", "RowsSettings", "make_rows"]
