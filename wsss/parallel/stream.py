"""Stages of work that overlap: each has its threads, and a bounded queue before it."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple


class Stage(NamedTuple):
    """One kind of work, its threads and the length of its queue.

    Args:
        workers: A function for each thread; it takes what the stage before gives. What it raises
            ends the pipeline, so an error of a single image has to be a result.
        waiting: How many items may wait before this stage.
    """

    workers: Sequence[Callable[[Any], Any]]
    waiting: int


_END = object()


def overlap(items: Iterable[Any], stages: Sequence[Stage]) -> Iterator[Any]:
    """Send items through all stages; results come in the order in which they are done.

    No more items are under way than threads and waiting places, however many there are and however
    slow the caller is. An error in any thread, or leaving the loop early, stops all threads.

    Args:
        items: What the first stage takes; read in a thread of its own.
        stages: The stages in order, at least one.
    """
    pipeline = _Pipeline(stages)
    try:
        pipeline.start(items)
        yield from pipeline.results()
    finally:
        pipeline.stop()


# Every stage reads one queue and writes the next, so the queues' bounds slow the stages before a
# slow one down instead of letting images pile up in memory.
class _Pipeline:
    def __init__(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            if stage.waiting < 1:  # to a queue, 0 means without a bound
                raise ValueError(f"waiting: expected at least 1, got {stage.waiting}")
        self.stages = stages
        self.queues: list[queue.Queue[Any]] = [queue.Queue(stage.waiting) for stage in stages]
        # what is done waits for the caller in a queue of its own, bounded as well
        self.queues.append(queue.Queue(stages[-1].waiting))
        # threads of each stage that have not ended; the last one of a stage ends the next stage
        self.open = [len(stage.workers) for stage in stages]
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.error: BaseException | None = None
        self.threads: list[threading.Thread] = []

    def start(self, items: Iterable[Any]) -> None:
        self._thread("items", self._feed, items)
        for number, stage in enumerate(self.stages):
            for worker in stage.workers:
                self._thread(f"stage {number}", self._work, number, worker)

    def results(self) -> Iterator[Any]:
        while True:
            result = self._get(self.queues[-1])
            # _END also comes out of _get after an error or a stop
            if result is _END:
                break
            yield result
        # raised in the caller's thread, after the results that were done before
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            if thread.is_alive():  # one that could not be started cannot be joined
                thread.join()

    def _thread(self, name: str, function: Callable[..., None], *arguments: Any) -> None:
        # daemon: a thread that hangs in a library does not keep the process alive
        thread = threading.Thread(
            target=self._guarded, args=(function, *arguments), name=f"wsss {name}", daemon=True
        )
        self.threads.append(thread)
        thread.start()

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            function(*arguments)
        # SystemExit too: a thread that ends in silence would leave the others waiting
        except BaseException as error:
            with self.lock:
                if self.error is None:
                    # the first error is the cause; later ones often follow from it
                    self.error = error
            self.stopped.set()

    def _feed(self, items: Iterable[Any]) -> None:
        for item in items:
            if not self._put(self.queues[0], item):
                return
        self._put(self.queues[0], _END)

    def _work(self, number: int, worker: Callable[[Any], Any]) -> None:
        incoming, outgoing = self.queues[number], self.queues[number + 1]
        while True:
            item = self._get(incoming)
            if item is _END:
                self._put(incoming, _END)  # for the other threads of this stage
                break
            if not self._put(outgoing, worker(item)):
                return
        with self.lock:
            # under the lock, so that exactly one thread sees itself as the last
            self.open[number] -= 1
            last = self.open[number] == 0
        if last:
            self._put(outgoing, _END)

    def _put(self, to: "queue.Queue[Any]", item: Any) -> bool:
        """Put an item; False if the pipeline was stopped meanwhile."""
        while not self.stopped.is_set():
            try:
                # a thread that waits without a timeout never sees that the pipeline was stopped
                to.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def _get(self, source: "queue.Queue[Any]") -> Any:
        """Take an item; the end if the pipeline was stopped meanwhile."""
        while not self.stopped.is_set():
            try:
                return source.get(timeout=0.2)
            except queue.Empty:
                continue
        return _END
