"""Every setting, in one frozen table; this package alone reads the environment."""

from ourvidz_worker.config.checks import warnings_of
from ourvidz_worker.config.environment import INHERITED, worker_environment
from ourvidz_worker.config.reading import (
    PREFIX,
    ClientSettings,
    examine,
    read_client_settings,
    read_config,
)
from ourvidz_worker.config.table import (
    CLIENT_VARIABLES,
    SETTINGS,
    Config,
    Setting,
    is_deployed,
    served_lanes,
)

__all__ = [
    "CLIENT_VARIABLES",
    "INHERITED",
    "PREFIX",
    "SETTINGS",
    "ClientSettings",
    "Config",
    "Setting",
    "examine",
    "is_deployed",
    "read_client_settings",
    "read_config",
    "served_lanes",
    "warnings_of",
    "worker_environment",
]
