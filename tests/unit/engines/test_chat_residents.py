"""Text engines that take turns on a device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from tests.unit.engines.scripted_text import ScriptedText

from ourvidz_worker.domain.errors import OutOfMemory, StopRequested
from ourvidz_worker.engines import TextSettings
from ourvidz_worker.engines.chat_residents import Residents

SETTINGS = TextSettings(model=Path("model"), ends=frozenset(), context=9)
PATIENCE_S = 20.0


class Scene:
    """Two engines, `one` resident and `two` parked, and users in threads of their own."""

    def __init__(self) -> None:
        self.one, self.two = ScriptedText(SETTINGS), ScriptedText(SETTINGS)
        self.residents = Residents({"one": self.one, "two": self.two}, resident="one")
        self.order: list[str] = []
        self._threads: list[Thread] = []

    def come(self, name: str, who: str, ask: Callable[[], None] = lambda: None) -> "User":
        """Somebody who needs an engine; returns when he is in, or stands in the line."""
        user = User(self, name, who, ask)
        self._threads.append(user.thread)
        user.thread.start()
        assert user.has_come.wait(PATIENCE_S)
        return user

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


class User:
    """Holds an engine from when he is let in until he is told to go."""

    def __init__(self, scene: Scene, name: str, who: str, ask: Callable[[], None]) -> None:
        self.is_in, self.may_go, self.has_come = Event(), Event(), Event()
        self.error: BaseException | None = None
        self._scene, self._name, self._who, self._ask = scene, name, who, ask
        self.thread = Thread(target=self._use)

    def leave(self) -> None:
        self.may_go.set()
        self.thread.join(PATIENCE_S)

    def _use(self) -> None:
        try:
            with self._scene.residents.turn(self._name, self._asked):
                self._scene.order.append(self._who)
                self.is_in.set()
                self.has_come.set()
                self.may_go.wait(PATIENCE_S)
        except (OutOfMemory, StopRequested) as error:
            self.error = error
            self.has_come.set()

    def _asked(self) -> None:
        self.has_come.set()
        self._ask()


@contextmanager
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.join()


def test_those_who_need_the_resident_one_come_in_together() -> None:
    with scene() as act:
        users = [act.come("one", f"a{number}") for number in range(3)]
        assert all(user.is_in.is_set() for user in users)
        for user in users:
            user.leave()
        assert act.one.moves == act.two.moves == []


def test_the_other_waits_for_them_and_newcomers_wait_behind_it() -> None:
    with scene() as act:
        first = act.come("one", "a1")
        other = act.come("two", "b1")
        newcomer = act.come("one", "a2")
        assert not other.is_in.is_set()
        assert not newcomer.is_in.is_set(), "else the other might wait for ever"
        first.leave()
        assert other.is_in.wait(PATIENCE_S)
        assert (act.one.moves, act.two.moves) == (["park"], ["wake"])
        assert not newcomer.is_in.is_set()
        other.leave()
        assert newcomer.is_in.wait(PATIENCE_S)
        newcomer.leave()
        assert act.order == ["a1", "b1", "a2"]


def test_all_who_wait_when_a_move_is_made_come_in_with_it() -> None:
    with scene() as act:
        first = act.come("one", "a1")
        waiting = [act.come("two", "b1"), act.come("one", "a2"), act.come("two", "b2")]
        first.leave()
        assert waiting[0].is_in.wait(PATIENCE_S)
        assert waiting[2].is_in.wait(PATIENCE_S), "it need not wait for another two moves"
        late = act.come("two", "b3")
        assert not late.is_in.is_set(), "but who came later stands behind a2"
        waiting[0].leave()
        waiting[2].leave()
        assert waiting[1].is_in.wait(PATIENCE_S)
        waiting[1].leave()
        assert late.is_in.wait(PATIENCE_S)
        late.leave()
        assert set(act.order[:3]) == {"a1", "b1", "b2"}
        assert act.order[3:] == ["a2", "b3"]


def test_who_is_stopped_in_the_line_leaves_it() -> None:
    def stop() -> None:
        raise StopRequested("cancelled")

    with scene() as act:
        first = act.come("one", "a1")
        other = act.come("two", "b1", stop)
        other.thread.join(PATIENCE_S)
        assert isinstance(other.error, StopRequested)
        newcomer = act.come("one", "a2")
        assert newcomer.is_in.wait(PATIENCE_S), "nobody is before it any more"
        first.leave()
        newcomer.leave()


def test_without_room_the_attempt_fails_and_the_other_engine_can_be_used() -> None:
    with scene() as act:
        act.two.failures.append(OutOfMemory())
        lost = act.come("two", "b1")
        lost.thread.join(PATIENCE_S)
        assert isinstance(lost.error, OutOfMemory)
        back = act.come("one", "a1")
        assert back.is_in.wait(PATIENCE_S)
        assert act.one.moves == ["park", "wake"]
        back.leave()
        again = act.come("two", "b2")
        assert again.is_in.wait(PATIENCE_S)
        again.leave()


def test_nobody_starves_however_many_come() -> None:
    with scene() as act:
        users = [act.come("one", "a0")]
        for number in range(1, 12):
            users.append(act.come("two" if number % 3 == 1 else "one", f"u{number}"))
        for user in users:
            user.may_go.set()
        for user in users:
            assert user.is_in.wait(PATIENCE_S)
        assert sorted(act.order) == sorted(["a0", *(f"u{number}" for number in range(1, 12))])


def test_where_both_are_resident_nobody_waits() -> None:
    one, two = ScriptedText(SETTINGS), ScriptedText(SETTINGS)
    residents = Residents({"one": one, "two": two}, resident=None)

    def never() -> None:
        raise AssertionError("asked without waiting")

    with residents.turn("one", never) as first, residents.turn("two", never) as second:
        assert (first, second) == (one, two)
    assert one.moves == two.moves == []
