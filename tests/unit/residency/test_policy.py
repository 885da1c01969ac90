"""The policy (contract 9): who makes room for whom, and what comes next."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ourvidz_worker.domain.lane import START_ORDER, Lane
from ourvidz_worker.domain.memory import GIB, Pressure, Residence, Why
from ourvidz_worker.residency.budgets import BUDGETS, budget_of, fraction_of
from ourvidz_worker.residency.ledger import Entry
from ourvidz_worker.residency.policy import (
    EVICTION_ORDER,
    SAFETY_BYTES,
    STARVED_S,
    Step,
    foresee,
    may_leave,
    next_step,
    plan_room,
    pressure_of,
)

CARD = 48 * GIB
LOADED, AWAY = Residence.LOADED, Residence.UNLOADED


def entry(lane: Lane, residence: Residence = LOADED, **known: object) -> Entry:
    made = Entry(lane=lane, budget_bytes=BUDGETS[lane], residence=residence)
    return replace(made, **known)


def card(*entries: Entry, total: int = CARD) -> tuple[tuple[Entry, ...], int]:
    """The entries, and what is free when each present one takes its need."""
    used = sum(one.need_bytes for one in entries if one.residence is not AWAY)
    return entries, max(0, total - used)


entries_ = st.builds(
    lambda states: tuple(
        entry(
            lane,
            residence,
            busy=busy,
            pinned=pinned,
            peak_bytes=peak * GIB,
            waiting=waiting,
            waiting_s=waited,
            arrivals_per_s=rate,
            idle_s=idle,
            load_s=load,
            released=released,
        )
        for lane, (
            residence,
            busy,
            pinned,
            peak,
            waiting,
            waited,
            rate,
            idle,
            load,
            released,
        ) in zip(START_ORDER, states, strict=True)
    ),
    st.tuples(
        *[
            st.tuples(
                st.sampled_from(Residence),
                st.booleans(),
                st.booleans(),
                st.integers(0, 40),
                st.integers(0, 3),
                st.floats(0, 200),
                st.floats(0, 1),
                st.floats(0, 500),
                st.none() | st.floats(0, 100),
                st.booleans(),
            )
            for _ in START_ORDER
        ]
    ),
)
sizes = st.integers(0, 80).map(lambda gib: gib * GIB)


@given(entries_, sizes, st.sampled_from(START_ORDER), sizes, st.booleans())
def test_room_is_made_by_the_table_and_never_for_nothing(
    entries: tuple[Entry, ...], free: int, lane: Lane, need: int, force: bool
) -> None:
    """M-2, M-5: order, who may go, and that what is planned is needed and enough."""
    plan = plan_room(entries, free, lane, need, force=force)
    by_lane = {one.lane: one for one in entries}
    assert lane not in plan.evict
    assert list(plan.evict) == [one for one in EVICTION_ORDER if one in plan.evict]
    assert all(may_leave(by_lane[one], force=force) for one in plan.evict)
    others = [one for one in entries if one.lane is not lane]
    pending = sum(one.pending_bytes for one in others)

    def room(gone: tuple[Lane, ...]) -> int:
        return free - SAFETY_BYTES - pending + sum(by_lane[one].need_bytes for one in gone)

    if plan.enough:
        assert room(plan.evict) >= need
        assert not plan.evict or room(plan.evict[:-1]) < need
    else:
        everybody = tuple(one.lane for one in others if may_leave(one, force=force))
        assert plan.evict == ()
        assert room(everybody) < need


@given(entries_, sizes)
def test_the_next_step_never_takes_what_is_in_use_or_pinned(
    entries: tuple[Entry, ...], free: int
) -> None:
    """M-5: without force nobody busy leaves; a starved lane waits for users to finish."""
    step = next_step(entries, free)
    if step is None:
        return
    by_lane = {one.lane: one for one in entries}
    assert by_lane[step.load].residence is AWAY
    for lane in step.evict:
        assert not by_lane[lane].pinned
        assert step.patient or not by_lane[lane].busy
    if step.why is Why.PREDICTED:
        assert step.evict == ()
        assert pressure_of(free) in {Pressure.LOW, Pressure.MEDIUM}


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (0, Pressure.CRITICAL),
        (7 * GIB - 1, Pressure.CRITICAL),
        (7 * GIB, Pressure.HIGH),
        (12 * GIB - 1, Pressure.HIGH),
        (12 * GIB, Pressure.MEDIUM),
        (17 * GIB - 1, Pressure.MEDIUM),
        (17 * GIB, Pressure.LOW),
    ],
)
def test_pressure_counts_the_safety_margin(free: int, level: Pressure) -> None:
    """M-3: below 5, 10 and 15 GiB available, which is 2 less than what is free."""
    assert pressure_of(free) is level


def test_a_need_of_thirty_evicts_at_low_pressure() -> None:
    """M-3: at low with 21 GB available a 30 GB need still evicts, and chat goes first."""
    entries, free = card(entry(Lane.IMAGE), entry(Lane.CHAT), entry(Lane.VIDEO, AWAY))
    assert (free - SAFETY_BYTES, pressure_of(free)) == (21 * GIB, Pressure.LOW)
    plan = plan_room(entries, free, Lane.VIDEO, 30 * GIB)
    assert (plan.enough, plan.evict) == (True, (Lane.CHAT,))


def test_a_worker_whose_use_is_unknown_counts_as_using_its_budget() -> None:
    """M-2: what loads or has just crashed is not on the device yet and is counted all the same."""
    for residence in (Residence.LOADING, Residence.BROKEN):
        others = (entry(Lane.CHAT, residence, pinned=True), entry(Lane.VIDEO, AWAY))
        assert not plan_room(others, 40 * GIB, Lane.VIDEO, 30 * GIB).enough
    assert plan_room((entry(Lane.CHAT, AWAY),), 40 * GIB, Lane.VIDEO, 30 * GIB).enough


def test_a_measured_peak_replaces_the_budget() -> None:
    """M-2: after first use the need is what was measured."""
    assert entry(Lane.VIDEO).need_bytes == 30 * GIB
    assert entry(Lane.VIDEO, peak_bytes=12 * GIB).need_bytes == 12 * GIB


def test_waiting_work_brings_its_worker_and_spares_those_that_have_work() -> None:
    away = entry(Lane.VIDEO, AWAY, waiting=1)
    entries, free = card(entry(Lane.IMAGE), entry(Lane.CHAT), away)
    assert next_step(entries, free) == Step(load=Lane.VIDEO, why=Why.DEMAND, evict=(Lane.CHAT,))
    image, chat = entry(Lane.IMAGE, waiting=1), entry(Lane.CHAT, busy=True)
    assert next_step(*card(image, chat, away)) is None
    last = next_step(*card(replace(image, waiting=0), chat, away))
    assert last == Step(load=Lane.VIDEO, why=Why.DEMAND, evict=(Lane.IMAGE,))


def test_the_last_resort_is_spared_while_waiting_costs_less_than_its_reload() -> None:
    """9: sdxl leaves when chat stays busy for longer than changing places takes."""
    image, chat = entry(Lane.IMAGE, load_s=20.0), entry(Lane.CHAT, busy=True)
    for waiting_s, step in (
        (19.0, None),
        (20.0, Step(load=Lane.VIDEO, why=Why.DEMAND, evict=(Lane.IMAGE,))),
    ):
        away = entry(Lane.VIDEO, AWAY, waiting=1, waiting_s=waiting_s, load_s=0.0)
        assert next_step(*card(image, chat, away)) == step
    small = card(
        image, replace(chat, busy=False), entry(Lane.VIDEO, AWAY, waiting=1), total=34 * GIB
    )
    assert next_step(*small) == Step(load=Lane.VIDEO, why=Why.DEMAND, evict=(Lane.CHAT, Lane.IMAGE))


def test_work_that_has_starved_waits_for_the_others_to_finish() -> None:
    starved = entry(Lane.VIDEO, AWAY, waiting=1, waiting_s=STARVED_S)
    image, chat = entry(Lane.IMAGE, busy=True), entry(Lane.CHAT, busy=True, waiting=2)
    step = next_step(*card(image, chat, starved))
    assert step == Step(load=Lane.VIDEO, why=Why.DEMAND, evict=(Lane.CHAT,), patient=True)


def test_chat_comes_back_when_the_visitor_has_been_idle_for_two_loads() -> None:
    """The image worker stays; the video worker, on demand, leaves once it expects nothing."""
    away = entry(Lane.CHAT, AWAY, load_s=20.0)
    for idle_s, waiting, rate, comes in (
        (49.0, 0, 0.0, False),
        (50.0, 0, 0.0, True),
        (50.0, 1, 0.0, False),
        (50.0, 0, 0.1, False),
    ):
        video = entry(Lane.VIDEO, idle_s=idle_s, waiting=waiting, arrivals_per_s=rate, load_s=30.0)
        entries, free = card(entry(Lane.IMAGE), away, video)
        step = next_step(entries, free)
        expected = Step(load=Lane.CHAT, why=Why.RESTORED, evict=(Lane.VIDEO,))
        assert step == (expected if comes else None)


def test_the_image_worker_is_reloaded_afterwards_and_goes_last() -> None:
    """Evicted as a last resort on a small card, it comes back before chat does."""
    total = 34 * GIB
    away = entry(Lane.VIDEO, AWAY, waiting=1)
    entries, free = card(entry(Lane.IMAGE), entry(Lane.CHAT), away, total=total)
    assert next_step(entries, free) == Step(
        load=Lane.VIDEO, why=Why.DEMAND, evict=(Lane.CHAT, Lane.IMAGE)
    )
    entries, free = card(
        entry(Lane.IMAGE, AWAY), entry(Lane.CHAT, AWAY), entry(Lane.VIDEO), total=total
    )
    assert next_step(entries, free) == Step(load=Lane.IMAGE, why=Why.RESTORED, evict=(Lane.VIDEO,))


def test_what_an_operator_sent_away_comes_back_for_work_alone() -> None:
    away = entry(Lane.CHAT, AWAY, released=True, arrivals_per_s=1.0, load_s=9.0)
    entries, free = card(entry(Lane.IMAGE), away)
    assert next_step(entries, free) is None
    wanted, free = card(entry(Lane.IMAGE), replace(away, waiting=1))
    assert next_step(wanted, free) == Step(load=Lane.CHAT, why=Why.DEMAND)


def test_predictions_follow_rates_and_fill_free_room_alone() -> None:
    """M-6: at low and medium pressure, without evicting anybody."""
    expected = entry(Lane.VIDEO, AWAY, arrivals_per_s=0.01, load_s=30.0)
    entries, free = card(entry(Lane.IMAGE), entry(Lane.CHAT), expected, total=80 * GIB)
    assert next_step(entries, free) == Step(load=Lane.VIDEO, why=Why.PREDICTED)
    assert foresee(entries, 48 * GIB - 25 * GIB) is None
    assert foresee((replace(expected, arrivals_per_s=0.0),), free) is None
    assert foresee((replace(expected, peak_bytes=GIB),), 11 * GIB) is None


@pytest.mark.parametrize(("lane", "total"), [*product(START_ORDER, (24, 48, 80))])
def test_every_worker_fits_alone_and_its_share_is_budget_over_total(lane: Lane, total: int) -> None:
    """M-1: on other cards the fraction is budget/total; an operator's own share counts."""
    size = total * GIB
    reference = {Lane.IMAGE: 0.21, Lane.CHAT: 0.31, Lane.VIDEO: 0.63}[lane]
    budget = budget_of(lane, reference, size)
    assert budget == min(BUDGETS[lane], size - SAFETY_BYTES)
    assert fraction_of(lane, reference, size) == budget / size
    assert plan_room((), size, lane, budget).enough
    assert budget_of(lane, 0.25, size) == size // 4
