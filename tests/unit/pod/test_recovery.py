"""Which failures are tried again, how often, and what the lane is told of them (contract 11)."""

import pytest

from ourvidz_worker.domain.job import Job, Lease, Token
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.messages import Failed
from ourvidz_worker.pod.breaker import OPEN_S, Breaker
from ourvidz_worker.pod.recovery import MOST_REMEMBERED, Past, Recovery, Verdict, may_try_again
from ourvidz_worker.testing.clock import FakeClock

AGAIN, FREE, NO = (
    Verdict(again=True, burn=True),
    Verdict(again=True, burn=False),
    Verdict(again=False, burn=True),
)


@pytest.mark.parametrize(
    ("code", "retryable", "tries", "again"),
    [
        ("OOM_ERROR", True, 1, True),
        ("OOM_ERROR", True, 2, False),
        ("MODEL_LOAD_ERROR", True, 1, True),
        ("GENERATION_ERROR", True, 1, True),
        ("GENERATION_ERROR", True, 2, False),
        ("GENERATION_ERROR", False, 1, False),
        ("WORKER_UNAVAILABLE", True, 1, True),
        ("WORKER_UNAVAILABLE", True, 2, True),
        ("WORKER_UNAVAILABLE", True, 3, False),
        ("TIMEOUT_ERROR", True, 1, False),
        ("INVALID_PROMPT", False, 1, False),
        ("INVALID_REQUEST", False, 1, False),
        ("I2I_PIPELINE_ERROR", False, 1, False),
        ("REFERENCE_FRAME_ERROR", True, 1, False),
        ("UPLOAD_ERROR", True, 1, False),
        ("INTERNAL_ERROR", True, 1, False),
    ],
)
def test_the_table(code: str, retryable: bool, tries: int, again: bool) -> None:
    assert may_try_again(code, retryable=retryable, tries=tries, max_tries=3) is again


@pytest.mark.parametrize(
    ("earlier", "code", "again"),
    [
        (("WORKER_UNAVAILABLE",), "OOM_ERROR", True),
        (("OOM_ERROR",), "GENERATION_ERROR", True),
        (("OOM_ERROR",), "OOM_ERROR", False),
        (("OOM_ERROR", "GENERATION_ERROR"), "WORKER_UNAVAILABLE", False),
    ],
)
def test_a_retry_is_used_only_for_its_own_class(
    earlier: tuple[str, ...], code: str, again: bool
) -> None:
    """Contract 11: and all of them together stay within the job's tries."""
    tries = len(earlier) + 1
    found = may_try_again(code, retryable=True, earlier=earlier, tries=tries, max_tries=3)
    assert found is again


class Scene:
    """A recovery over a real breaker."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.breaker = Breaker(self.clock)
        self.recovery = Recovery(self.breaker, max_tries=3)

    def judge(
        self,
        job_id: str,
        code: str,
        *,
        tries: int = 1,
        field: str | None = None,
        stage: str = "generate",
    ) -> Verdict:
        failed = Failed(
            attempt_id="a", code=code, sentence="No.", retryable=True, field=field, stage=stage
        )
        return self.recovery.judge(failed, lease_of(job_id, tries))

    @property
    def is_open(self) -> bool:
        return self.breaker.is_open(Lane.IMAGE)


def lease_of(job_id: str, tries: int = 1) -> Lease:
    job = Job(
        id=job_id,
        type="sdxl_image_fast",
        user_id="u",
        lane=Lane.IMAGE,
        priority=PriorityClass.NORMAL,
        payload=b"{}",
        submitted_at=0.0,
    )
    return Lease(job=job, token=Token(job_id=job_id, fence=1), tries=tries, seed=1)


def test_three_failures_to_load_open_the_lane_and_burn_no_job() -> None:
    """Q-8: the failed jobs go back left, they are not burnt."""
    scene = Scene()
    assert [scene.judge(job, "MODEL_LOAD_ERROR") for job in "abc"] == [FREE] * 3
    assert scene.is_open


def test_a_job_alone_is_failed_after_its_one_retry() -> None:
    """Contract 11: `MODEL_LOAD_ERROR`, one retry with reload."""
    scene = Scene()
    assert scene.judge("a", "MODEL_LOAD_ERROR") == FREE
    assert scene.judge("a", "MODEL_LOAD_ERROR").again is False
    assert not scene.is_open


def test_a_condemned_lane_fails_its_jobs() -> None:
    """Q-8: after 3 openings in a row."""
    scene = Scene()
    for job in "abcdef":
        scene.judge(job, "MODEL_LOAD_ERROR")
        if scene.is_open and not scene.breaker.condemns(Lane.IMAGE):
            scene.clock.jump(OPEN_S)
    assert scene.breaker.condemns(Lane.IMAGE)
    assert scene.judge("g", "MODEL_LOAD_ERROR").again is False


def test_a_job_that_kills_its_worker_cannot_open_the_lane_alone() -> None:
    """Q-7, Q-8: its tries are used up; the lane serves on."""
    scene = Scene()
    verdicts = [scene.judge("a", "WORKER_UNAVAILABLE", tries=tries) for tries in (1, 2, 3)]
    assert verdicts == [AGAIN, AGAIN, NO]
    assert not scene.is_open


def test_a_worker_that_ends_under_three_jobs_opens_the_lane() -> None:
    """Q-8: and the third job goes back unburnt."""
    scene = Scene()
    verdicts = [scene.judge(job, "WORKER_UNAVAILABLE") for job in "abc"]
    assert verdicts == [AGAIN, AGAIN, FREE]
    assert scene.is_open


def test_memory_counts_against_the_lane_only_when_the_retry_ran_out_too() -> None:
    """Q-8, M-5: the first time is the job's affair."""
    scene = Scene()
    for job in "abc":
        assert scene.judge(job, "OOM_ERROR") == AGAIN
    assert not scene.is_open
    verdicts = [scene.judge(job, "OOM_ERROR", tries=2) for job in "abc"]
    assert verdicts == [NO, NO, FREE]
    assert scene.is_open


def test_what_fails_before_the_lane_is_not_the_lanes() -> None:
    """P-6: an admission policy that breaks is no fault of a worker."""
    scene = Scene()
    for job in "abcdef":
        scene.judge(job, "WORKER_UNAVAILABLE", stage="admission")
    assert not scene.is_open


@pytest.mark.parametrize("code", ["GENERATION_ERROR", "INVALID_PROMPT", "TIMEOUT_ERROR"])
def test_a_jobs_own_failure_says_nothing_of_the_lane(code: str) -> None:
    scene = Scene()
    for job in "abcdef":
        scene.judge(job, code)
    assert not scene.is_open


def test_a_model_that_one_request_lacks_says_nothing_of_the_lane() -> None:
    """V-3: missing conditioning weights fail that job and no other."""
    scene = Scene()
    verdicts = [scene.judge(job, "MODEL_LOAD_ERROR", field="reference") for job in "abcdef"]
    assert not scene.is_open
    assert all(verdict.again for verdict in verdicts)
    assert scene.judge("a", "MODEL_LOAD_ERROR", field="reference").again is False


def test_a_success_between_starts_the_count_anew() -> None:
    scene = Scene()
    scene.judge("a", "MODEL_LOAD_ERROR")
    scene.judge("b", "MODEL_LOAD_ERROR")
    scene.recovery.succeeded(lease_of("c"))
    scene.judge("d", "MODEL_LOAD_ERROR")
    assert not scene.is_open


def test_time_in_work_adds_up_over_the_tries_and_is_forgotten_with_the_job() -> None:
    """3.7: a retry never extends a deadline."""
    scene = Scene()
    scene.recovery.worked(lease_of("a"), 100.0)
    scene.judge("a", "OOM_ERROR")
    scene.recovery.worked(lease_of("a"), 50.0)
    assert scene.recovery.past("a") == Past(spent_s=150.0, codes=("OOM_ERROR",))
    assert scene.recovery.past("a").warnings == ("attempt 1 ended with OOM_ERROR",)
    scene.recovery.forget("a")
    assert scene.recovery.past("a") == Past()


def test_what_is_remembered_is_bounded() -> None:
    scene = Scene()
    for number in range(MOST_REMEMBERED + 5):
        scene.recovery.worked(lease_of(f"j{number}"), 1.0)
    assert scene.recovery.past("j4") == Past()
    assert scene.recovery.past("j5").spent_s == 1.0
