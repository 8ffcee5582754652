"""Worker threads or processes that make batches ahead of the training step."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import cv2

from mrcnn.data.sample_maker import WORKER_KINDS, Batch, SampleMaker
from mrcnn.errors import InputError

Step = tuple[int, int]  # epoch, step


class Prefetcher:
    """Make the batches of upcoming steps while the current one is being trained.

    Threads start instantly and hand over batches without a copy, but the Python half of the work holds the GIL, so they
    scale to about 2x. Processes scale further, at 2 to 4 ms per image for the transfer; they suit many cores and a slow
    `load_mask` in Python. They are spawned, not forked, because forking a process that runs TensorFlow can hang.
    """

    def __init__(self, maker: SampleMaker, workers: int, kind: str) -> None:
        """Set up without starting a worker.

        Args:
            maker: makes the batches.
            workers: 1 or more.
            kind: "thread" or "process".

        Raises:
            InputError: the kind is unknown, or there is no worker.
        """
        if kind not in WORKER_KINDS or workers < 1:
            raise InputError(f"got {workers} workers of kind {kind!r}; use 1 or more of kind 'thread' or 'process'")
        self.maker, self.workers, self.kind = maker, workers, kind
        self._pool: Executor | None = None
        self._futures: dict[Step, Future] = {}
        self._lock = threading.Lock()

    def get(self, step: Step, coming: Sequence[Step] = ()) -> Batch:
        """Return the batch of a step, start those in `coming`, and drop batches that are no longer requested.

        Raises:
            InputError: as the maker raises it; the dataset cannot be sent to a process; or a process was killed.
        """
        with self._lock:
            if self._pool is None:
                self._pool = self._start()
            wanted = [step, *coming]
            for old in set(self._futures) - set(wanted):
                self._futures.pop(old).cancel()
            try:
                for one in wanted:
                    if one not in self._futures:
                        self._futures[one] = self._submit(self._pool, one)
                future = self._futures.pop(step)
            except BrokenProcessPool as error:
                raise self._broken() from error
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise self._broken() from error
        except CancelledError:
            raise InputError("the loader was closed while waiting for a batch") from None

    def close(self) -> None:
        """Stop the workers without waiting for unfinished batches. A later `get` starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._futures.clear()
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> Executor:
        if self.kind == "thread":
            return ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        try:
            message = pickle.dumps(self.maker)
        except Exception as error:  # pickle raises many kinds for what it cannot pickle
            raise InputError(
                f"the dataset cannot be sent to worker processes ({type(error).__name__}: {error}); define its classes "
                "in a module, or use worker threads"
            ) from error
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=_begin_worker, initargs=(message,))

    def _submit(self, pool: Executor, step: Step) -> Future:
        return pool.submit(self.maker.batch, *step) if self.kind == "thread" else pool.submit(_make, *step)

    def _broken(self) -> InputError:
        self.close()
        return InputError(
            "a worker process of the loader ended: it ran out of memory, was killed, or could not import the dataset's "
            "module (see its message above). Use fewer workers or worker threads; a script that trains with worker "
            "processes needs `if __name__ == '__main__':`"
        )


_maker: SampleMaker | None = None  # set in worker processes only


def _begin_worker(message: bytes) -> None:
    global _maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # the workers are the parallelism
    _maker = pickle.loads(message)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            parent.join()
        os._exit(1)


def _make(epoch: int, step: int) -> Batch:
    assert _maker is not None
    return _maker.batch(epoch, step)
