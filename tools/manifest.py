#!/usr/bin/env python3
"""Write the digests of the shipped small models into their manifest.

Usage: manifest.py MANIFEST FOLDER ...      each FOLDER holds one model and names its entry

What the manifest says of other models stays, as do the title and licence of those it rewrites.
"""

import sys
from pathlib import Path

import msgspec

from ourvidz_worker.cli.shelf import ABOUT, SHIPPED, About, FileEntry, ModelEntry, digest

LICENCE = "Apache-2.0"
PROSE = (".md",)


def main(arguments: list[str]) -> int:
    """Rewrite the entries of the folders; return the exit code."""
    if len(arguments) < 1 + 1:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    manifest, *folders = map(Path, arguments)
    entries: dict[str, ModelEntry] = {}
    if manifest.exists():
        entries = msgspec.json.decode(manifest.read_bytes(), type=dict[str, ModelEntry])
    for folder in folders:
        name = folder.resolve().name
        entries[name] = entry_of(folder, entries.get(name))
        print(f"{name}: {len(entries[name].files)} files")
    content = msgspec.json.format(msgspec.json.encode(entries), indent=2)
    manifest.write_bytes(content + b"\n")
    return 0


def entry_of(folder: Path, known: ModelEntry | None) -> ModelEntry:
    """The entry of a folder as it lies there now."""
    files = {
        file.relative_to(folder).as_posix(): FileEntry(
            sha256=digest(file), size=file.stat().st_size
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix not in PROSE
    }
    return ModelEntry(
        source=SHIPPED,
        files=files,
        title=known.title if known else title_of(folder),
        licence=known.licence if known else LICENCE,
    )


def title_of(folder: Path) -> str:
    """What the model calls itself."""
    file = folder / ABOUT
    return msgspec.json.decode(file.read_bytes(), type=About).name if file.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
