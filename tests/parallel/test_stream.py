"""Threads with bounded queues: every item once, few at a time, and no thread left behind."""

import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from wsss.data import DataConfig, Scores, read_mask, write_scores
from wsss.parallel.stream import Stage, overlap
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.mask_making import reading
from wsss.refinement.seeds import make_masks

PATIENCE = 30
"""Seconds until a test that waits for another thread gives up."""


@pytest.fixture(autouse=True)
def no_hang():
    """A test that hangs fails; and it leaves no thread of the pipeline behind."""

    def ring(number, frame):
        raise TimeoutError("the pipeline hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(4 * PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert alive() == []


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("wsss ")]


def same(item):
    return item


def until(reached) -> None:
    """Wait for what other threads do."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, "never reached"
        time.sleep(0.001)


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_item_comes_out_once_through_all_stages(stages, threads):
    lines = [Stage([lambda item: [*item, 1]] * threads, waiting=1 + i) for i in range(stages)]
    found = list(overlap([[number] for number in range(50)], lines))
    assert sorted(found) == [[number] + [1] * stages for number in range(50)]


@pytest.mark.parametrize("items", [[], iter(()), range(1)])
def test_few_items(items):
    expected = list(items)
    assert list(overlap(expected, [Stage([same] * 3, waiting=2), Stage([same], 1)])) == expected


def test_a_single_thread_keeps_the_order():
    assert list(overlap(range(100), [Stage([same], 2), Stage([same], 1)])) == list(range(100))


class Counter:
    """A lazily generated input that knows how many of its items are under way."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = self.received = self.most = 0

    def __iter__(self):
        for number in range(self.count):
            self.taken += 1
            self.most = max(self.most, self.taken - self.received)
            yield number


def test_with_a_caller_that_waits_no_more_is_read_than_there_are_places():
    """30,000 items: were a queue unbounded, the input would be far ahead of the results."""
    counter, seen = Counter(30_000), 0
    stages = [Stage([same], waiting=3), Stage([same], waiting=5)]
    places = 1 + (1 + 3) + (1 + 5) + 5  # the reader of the input, the stages, and the results
    for number in overlap(counter, stages):
        counter.received += 1
        seen += number
        if counter.received in (1, 1000):
            until(lambda: counter.taken - counter.received == places)
    assert counter.received == 30_000
    assert seen == sum(range(30_000))
    assert counter.most <= places + 1, "one more is in the caller's hands"


@pytest.mark.parametrize("slow", [0, 1])
def test_before_a_slow_stage_no_more_is_read_than_there_are_places(slow):
    counter, go = Counter(2000), threading.Event()

    def waits(item):
        assert go.wait(PATIENCE)
        return item

    stages = [Stage([same] * 2, waiting=3), Stage([same], waiting=2)]
    stages[slow] = stages[slow]._replace(workers=[waits] * len(stages[slow].workers))
    places = 1 + sum(len(stage.workers) + stage.waiting for stage in stages[: slow + 1])
    results = overlap(counter, stages)
    helper = threading.Thread(target=lambda: (until(lambda: counter.taken == places), go.set()))
    helper.start()
    first = next(results)
    helper.join()
    counter.received = 1
    for _ in results:
        counter.received += 1
    assert first in (0, 1)
    assert counter.received == 2000
    assert counter.most <= 1 + 5 + 3 + 2 + 1


def test_a_queue_without_places_is_refused():
    """queue.Queue(0) has no bound at all."""
    with pytest.raises(ValueError, match="waiting: expected at least 1, got 0"):
        list(overlap(range(3), [Stage([same], waiting=0)]))


def test_nothing_is_read_before_the_first_result_is_asked_for():
    counter = Counter(5)
    results = overlap(counter, [Stage([same], 1)])
    assert (counter.taken, alive()) == (0, [])
    assert list(results) == list(range(5))


def test_stages_run_at_the_same_time():
    """Each waits for the other: one after the other they would wait forever."""
    first, second = threading.Event(), threading.Event()

    def early(item):
        if item == 1:
            first.set()
            assert second.wait(PATIENCE), "the second stage has not begun"
        return item

    def late(item):
        if item == 0:
            second.set()
            assert first.wait(PATIENCE), "the first stage waits for the second"
        return item

    assert list(overlap(range(3), [Stage([early], 1), Stage([late], 1)])) == [0, 1, 2]


def test_threads_of_a_stage_run_at_the_same_time_each_with_its_own_worker():
    together = threading.Barrier(3)

    def worker(name):
        def work(item):
            together.wait(PATIENCE)
            return name

        return work

    found = list(overlap(range(9), [Stage([worker(name) for name in "abc"], 2)]))
    assert sorted(found) == list("aaabbbccc"), "the barrier lets go of three at a time"


class Boom(Exception):
    pass


@pytest.mark.parametrize("kind", [Boom, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_error_of_a_worker_reaches_the_caller_and_ends_all_threads(where, kind):
    def fails(item):
        if item == 20:
            raise kind("at 20")
        return item

    stages = [Stage([same] * 2, 2) for _ in range(3)]
    stages[where] = Stage([fails] * 2, 2)
    with pytest.raises(kind, match="at 20"):
        for _ in overlap(itertools.count(), stages):
            pass
    assert alive() == []


def test_an_error_of_the_input_reaches_the_caller():
    def items():
        yield from range(5)
        raise Boom("no more")

    with pytest.raises(Boom, match="no more"):
        list(overlap(items(), [Stage([same] * 2, 2)]))
    assert alive() == []


@pytest.mark.parametrize("asked", [0, 1, 30])
def test_leaving_the_loop_early_ends_all_threads(asked):
    def leave():
        for number, _ in enumerate(overlap(itertools.count(), [Stage([same] * 3, 2)] * 2)):
            if number == asked:
                return

    leave()
    assert alive() == []


def test_an_error_of_the_caller_ends_all_threads():
    def fail():
        for _ in overlap(itertools.count(), [Stage([same] * 3, 2)] * 2):
            raise Boom

    with pytest.raises(Boom):
        fail()
    assert alive() == []


@pytest.fixture
def ctrl_c_interrupts():
    """A shell has the programs that it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_while_the_caller_waits_ends_all_threads():
    """No result ever comes: the interrupt finds the caller waiting for one."""
    sent, stay = threading.Event(), threading.Event()

    def interrupt(item):
        if not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)
        stay.wait(0.3)
        return item

    def nothing(item):
        stay.wait(0.6)

    with pytest.raises(KeyboardInterrupt):
        next(overlap(itertools.count(), [Stage([interrupt], 1), Stage([nothing], 1)]))
    assert alive() == []


def test_a_thread_that_cannot_be_started_is_what_the_caller_hears_of(monkeypatch):
    """Where a system allows no more threads, the error says so, and those that run end."""
    start = threading.Thread.start

    def limited(thread):
        if len(alive()) == 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(overlap(itertools.count(), [Stage([same] * 8, 2)]))
    assert alive() == []


class TestMemory:
    COUNT = 400

    @pytest.fixture
    def many(self, tmp_path):
        """400 drawn images of 16 x 16 pixels with scores."""
        root = tmp_path / "many"
        for folder in ("JPEGImages", "ImageSets/Segmentation", "scores"):
            (root / folder).mkdir(parents=True)
        names = [f"{number:05d}" for number in range(self.COUNT)]
        (root / "ImageSets/Segmentation/all.txt").write_text("\n".join(names))
        write_scores(
            root / "scores/one.npz",
            Scores(np.array([1], np.uint8), np.eye(4, dtype=np.uint8)[None] * 255, (16, 16)),
        )
        Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(root / "JPEGImages/one.png")
        for name in names:
            os.link(root / "scores/one.npz", root / f"scores/{name}.npz")
            os.link(root / "JPEGImages/one.png", root / f"JPEGImages/{name}.png")
        return DataConfig(root=root, classes={"ring": 1, "star": 2})

    def test_of_many_images_few_are_held_at_once(self, many, tmp_path, monkeypatch):
        lock = threading.Lock()
        live, most, slept = 0, 0, threading.Event()

        class Counting(reading.Scored):
            def __new__(cls, *arguments):
                nonlocal live, most
                with lock:
                    live += 1
                    most = max(most, live)
                return super().__new__(cls, *arguments)

            def __del__(self):
                nonlocal live
                with lock:
                    live -= 1

        def slow_at_first(*given, **more):
            if not slept.is_set():
                slept.set()
                time.sleep(0.5)  # enough to read hundreds of images, were there places for them
            return make_masks(*given, **more)

        monkeypatch.setattr(reading, "Scored", Counting)
        monkeypatch.setattr("wsss.pipeline.mask_making.scoring.make_masks", slow_at_first)
        output = tmp_path / "run"
        make_pseudo_masks(
            many, "all", output, scores_from=many.root / "scores", crf=None, workers=2
        )
        assert len(list((output / "masks").iterdir())) == self.COUNT
        assert read_mask(output / "masks/00007.png")[0, 0] == 1
        assert live == 0
        # two threads read, two finish, four images wait between them; a thread that takes the
        # next image holds the last one for a moment longer
        assert 4 <= most <= 2 + 4 + 2 * 2 + 2
