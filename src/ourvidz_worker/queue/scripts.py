"""The steps over Redis: one Lua file each, run whole or not at all by the server."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

import msgspec

from ourvidz_worker.queue.names import prelude

FOLDER = "lua"
COMMON = "common.lua"

#: What stands before some of the scripts alone.
SHARED: Mapping[str, frozenset[str]] = MappingProxyType({"join.lua": frozenset({"bind", "claim"})})


class Script(msgspec.Struct, frozen=True):
    """One step: its name, its whole source, and the SHA-1 by which the server knows it."""

    name: str
    source: str
    sha: str


def load_scripts() -> dict[str, Script]:
    """Every step by its name, with the names and common functions before its own source."""
    folder = files("ourvidz_worker.queue").joinpath(FOLDER)
    texts = {
        file.name: file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".lua")
    }
    scripts = {}
    for file, text in texts.items():
        name = file.removesuffix(".lua")
        if file != COMMON and file not in SHARED:
            shared = [texts[part] for part, users in SHARED.items() if name in users]
            source = "".join([prelude(), texts[COMMON], *shared, text])
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            scripts[name] = Script(name, source, sha)
    return scripts
