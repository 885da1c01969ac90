"""The steps over Redis: one Lua file each, run whole or not at all by the server."""

import hashlib
from importlib.resources import files

import msgspec

from ourvidz_worker.queue.names import prelude

FOLDER = "lua"
COMMON = "common.lua"


class Script(msgspec.Struct, frozen=True):
    """One step: its name, its whole source, and the SHA-1 by which the server knows it."""

    name: str
    source: str
    sha: str


def load_scripts() -> dict[str, Script]:
    """Every step by its name, with the names and common functions before its own source."""
    folder = files("ourvidz_worker.queue").joinpath(FOLDER)
    before = prelude() + folder.joinpath(COMMON).read_text(encoding="utf-8")
    scripts = {}
    for file in folder.iterdir():
        name, _, ending = file.name.partition(".")
        if ending == "lua" and file.name != COMMON:
            source = before + file.read_text(encoding="utf-8")
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            scripts[name] = Script(name, source, sha)
    return scripts
