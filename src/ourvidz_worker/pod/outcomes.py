"""Outcomes that failed, as the errors they stand for: code to class, and back to `raise`."""

from collections.abc import Iterator

from ourvidz_worker.domain.errors import AttemptError, BadReference, OurvidzError
from ourvidz_worker.domain.messages import Failed


def error_of(failed: Failed) -> OurvidzError:
    """The error of ours that `failed` reports; an unknown code is an `AttemptError`."""
    if failed.reason is not None:
        return BadReference(failed.sentence, reason=failed.reason, field=failed.field)
    classes = {error.code: error for error in reversed(list(_tree(OurvidzError)))}
    return classes.get(failed.code, AttemptError)(failed.sentence, field=failed.field)


def _tree(root: type[OurvidzError]) -> Iterator[type[OurvidzError]]:
    """A class and all below it, the class first; `BadReference` needs a reason and is left out."""
    if root is not BadReference:
        yield root
    for child in root.__subclasses__():
        yield from _tree(child)
