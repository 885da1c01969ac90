"""The white list of schedulers (3.4) is one list: what decoding accepts, the engine has."""

from ourvidz_worker.domain.intake.image import SCHEDULERS
from ourvidz_worker.engines.sdxl_schedule import SOLVERS


def test_every_scheduler_accepted_is_one_the_engine_has() -> None:
    assert set(SCHEDULERS) == set(SOLVERS)
