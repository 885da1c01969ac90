"""A job without its reference pictures: what falling back to plain generation executes (4.4)."""

from ourvidz_worker.domain.intake.fields import Fields
from ourvidz_worker.domain.intake.image import REFERENCE_NAMES, read_image
from ourvidz_worker.domain.intake.video import (
    FIRST_NAMES,
    IMAGE_NAMES,
    LAST_NAMES,
    MODE_NAMES,
    asked_mode,
)
from ourvidz_worker.domain.job_types import Family, JobType

#: Every field that gives a reference picture, or means nothing without one.
REFERENCE_FIELDS = (
    *REFERENCE_NAMES,
    *FIRST_NAMES,
    *LAST_NAMES,
    *IMAGE_NAMES,
    *MODE_NAMES,
    "metadata.exact_copy_mode",
)


def asked_mode_of(fields: Fields, row: JobType) -> str:
    """The reference mode that the caller meant; `none` for a job that takes no pictures."""
    if row.family is Family.SDXL:
        return read_image(fields, row).mode
    return asked_mode(fields) if row.family is Family.WAN else "none"
