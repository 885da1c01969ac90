"""Which names a stored file may have."""

MAX_NAME_BYTES = 240
"""The longest part of a key: file systems end at 255, and the unfinished file's name is longer."""


def parts_of(key: str) -> tuple[str, ...]:
    """The parts of a key, or none where it is not a file's name below the store's root."""
    parts = tuple(key.split("/"))
    return parts if all(map(_is_name, parts)) else ()


def _is_name(part: str) -> bool:
    """True for one step of a path that stays in its folder; a leading dot is ours."""
    return (
        part.isprintable()
        and not part.startswith((".", " "))
        and "\\" not in part
        and 0 < len(part.encode(errors="replace")) <= MAX_NAME_BYTES
    )
