"""An emulator of the application's Supabase: what the contract touches, and every fault of it.

It is real HTTP over a real PostgreSQL, with the constraints that the contract implies; only what
lies behind it is missing. `python -m ourvidz_worker.testing.supabase` runs it by itself.
`payloads` builds the jobs of both revisions, `Application` pushes them.
"""

from ourvidz_worker.testing.supabase.application import Application
from ourvidz_worker.testing.supabase.call_clock import CallClock
from ourvidz_worker.testing.supabase.elements import ENCODINGS, list_of
from ourvidz_worker.testing.supabase.faults import Call, Fault, Faults, digest
from ourvidz_worker.testing.supabase.process import supabase_process
from ourvidz_worker.testing.supabase.serving import SupabaseEmulator, served
from ourvidz_worker.testing.supabase.state import BUCKETS, Keys, State, StoredObject

__all__ = [
    "BUCKETS",
    "ENCODINGS",
    "Application",
    "Call",
    "CallClock",
    "Fault",
    "Faults",
    "Keys",
    "State",
    "StoredObject",
    "SupabaseEmulator",
    "digest",
    "list_of",
    "served",
    "supabase_process",
]
