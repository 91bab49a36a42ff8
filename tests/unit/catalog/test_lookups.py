"""Answers that are kept for some seconds and asked for in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from include.catalog import AFTER_AN_ERROR, FOREVER, WAIT_UNTIL, Lookups, Seen
from tests.support.local_aws import eventually


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """What is looked at: a look waits until it is let go, and gives the next of the answers."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.looks = 0
        self.let_go = threading.Semaphore(0)

    def __call__(self) -> str:
        assert self.let_go.acquire(timeout=10)
        answer = self.answers[self.looks]
        self.looks += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lookups(clock: Clock) -> Iterator[Lookups]:
    yield Lookups(workers=1, most=3, clock=clock)


def once(see: Callable[[], Seen[str]], wanted: Callable[[Seen[str]], bool]) -> Seen[str]:
    """What is seen as soon as it is what is wanted."""

    def look() -> Seen[str] | None:
        seen = see()
        return seen if wanted(seen) else None

    found: Seen[str] = eventually(look, pause=0.01)
    return found


def test_a_page_gets_the_last_answer_while_the_next_is_asked_for(lookups: Lookups, clock: Clock) -> None:
    source = Source("first", "second")
    assert lookups.see("key", source).is_awaited
    source.let_go.release()
    assert lookups.see("key", source, wait=10).answer == "first"

    clock.now = 9
    assert lookups.see("key", source).answer == "first"
    clock.now = 10
    assert lookups.see("key", source).answer == "first"
    assert lookups.see("key", source).answer == "first", "one look is under way"

    source.let_go.release()
    assert once(lambda: lookups.see("key", source), lambda seen: seen.answer == "second").error == ""
    assert source.looks == 2


def test_an_error_stands_beside_the_last_good_answer_and_is_tried_again_soon(lookups: Lookups, clock: Clock) -> None:
    source = Source("first", ValueError("no credentials\nfound"), "second")
    source.let_go.release()
    first = lookups.see("key", source, wait=10)
    clock.now = 10
    source.let_go.release()

    failed = once(lambda: lookups.see("key", source), lambda seen: bool(seen.error))

    assert (failed.answer, failed.at, failed.error) == ("first", first.at, "no credentials found")
    clock.now += AFTER_AN_ERROR
    source.let_go.release()
    assert once(lambda: lookups.see("key", source), lambda seen: not seen.error).answer == "second"


def test_an_error_before_any_answer_is_not_waited_for_again(lookups: Lookups) -> None:
    source = Source(ValueError(""))
    source.let_go.release()

    seen = lookups.see("key", source, wait=10)

    assert (seen.answer, seen.error, seen.is_awaited) == (None, "ValueError", False)


def test_what_cannot_change_is_asked_once_and_what_was_changed_at_once(lookups: Lookups, clock: Clock) -> None:
    source = Source("first", "second")
    source.let_go.release()
    lookups.see(("models", "pets"), source, seconds=FOREVER, wait=10)
    clock.now = 1e9
    assert lookups.see(("models", "pets"), source, seconds=FOREVER).answer == "first"

    lookups.forget(lambda key: "birds" in key)
    assert lookups.see(("models", "pets"), source, seconds=FOREVER).answer == "first"
    lookups.forget(lambda key: "pets" in key)
    source.let_go.release()

    see = lambda: lookups.see(("models", "pets"), source, seconds=FOREVER)  # noqa: E731
    assert once(see, lambda seen: seen.answer == "second")


def test_a_look_that_began_before_a_change_is_taken_again(lookups: Lookups, clock: Clock) -> None:
    source = Source("before", "after")
    lookups.see("key", source)
    lookups.forget(lambda key: True)
    source.let_go.release()
    source.let_go.release()

    assert once(lambda: lookups.see("key", source), lambda seen: seen.answer == "after")


def test_no_more_answers_are_kept_than_the_bound(lookups: Lookups) -> None:
    sources = [Source("first", "second") for _ in range(4)]
    for number, source in enumerate(sources):
        source.let_go.release()
        lookups.see(number, source, seconds=FOREVER, wait=10)

    sources[0].let_go.release()
    assert lookups.see(0, sources[0], wait=10).answer == "second", "it was forgotten"
    assert lookups.see(3, sources[3]).answer == "first"


def test_an_answer_decides_how_long_it_is_kept(clock: Clock) -> None:
    lookups = Lookups(clock=clock)
    source = Source("nothing yet", "the answer", "another")
    source.let_go.release(3)

    def seconds(answer: str) -> float:
        return 5.0 if answer == "nothing yet" else FOREVER

    def see() -> Seen[str]:
        return lookups.see("document", source, seconds=seconds, wait=5)

    assert see().answer == "nothing yet"
    clock.now = 4.0
    assert see().answer == "nothing yet"
    clock.now = 6.0
    eventually(lambda: see().answer == "the answer")
    clock.now = 1e9
    assert see().answer == "the answer"
    assert source.looks == 2


def test_a_page_waits_for_all_its_first_answers_together(clock: Clock) -> None:
    lookups, source = Lookups(clock=clock), Source("the answer")
    token = WAIT_UNTIL.set(time.monotonic())
    try:
        assert lookups.see("key", source, wait=3600).is_awaited, "the page has waited long enough for others"
    finally:
        WAIT_UNTIL.reset(token)
    source.let_go.release()
    assert lookups.see("key", source, wait=10).answer == "the answer"
