"""How much host memory this process uses."""

import resource
import sys

import psutil

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def rss_bytes() -> int:
    """Bytes resident now."""
    return int(psutil.Process().memory_info().rss)


def peak_rss_bytes() -> int:
    """The most bytes that were ever resident at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
