"""What a process keeps of the device without using it, given back to the driver (M-4, M-5).

Never on the way of an attempt: after one ran out of memory, or by an operator's command.
"""

import gc
import sys
from types import ModuleType


def give_back_caches(torch: ModuleType | None = None) -> None:
    """Collect what nobody holds, then empty the allocator's cache, where there is one.

    A process that never loaded the library, or never opened a device, has none.
    """
    gc.collect()
    library = torch or sys.modules.get("torch")
    if library is not None and library.cuda.is_initialized():
        library.cuda.empty_cache()
