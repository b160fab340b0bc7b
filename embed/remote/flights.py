"""Requests under way: a bounded number at once, and each one's outcome as soon as it is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

G = TypeVar("G")
R = TypeVar("R")


class Flights(Generic[G, R]):
    """Does `act` for each of `work`, at most `at_once` at a time, on threads of its own.

    `first` puts more in front of what is left. When one fails, nothing new is begun; what is under way then still
    comes, because it is paid for, and the failure is raised last.
    """

    def __init__(self, work: Iterable[G], act: Callable[[G], R], at_once: int) -> None:
        self._work, self._act, self._at_once = iter(work), act, at_once
        self._ahead: deque[G] = deque()
        self._under_way: set[Future[R]] = set()
        self._failed: BaseException | None = None
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="endpoint")

    def first(self, *more: G) -> None:
        """Do these next."""
        self._ahead.extendleft(reversed(more))

    def outcomes(self) -> Iterator[R]:
        """Each outcome once, in the order in which they come. Raises what the first one that failed raised."""
        while self._begin():
            for future in wait(self._under_way, return_when=FIRST_COMPLETED).done:
                self._under_way.discard(future)  # one by one: whoever stops here has the others from `rest`
                error = future.exception()
                if error is None:
                    yield future.result()
                else:
                    self._failed = self._failed or error
        if self._failed is not None:
            raise self._failed

    def rest(self) -> Iterator[R]:
        """Begin nothing new; what is under way and comes to a good end."""
        for future in wait(self._under_way).done:
            if future.exception() is None:
                yield future.result()
        self._under_way = set()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self) -> bool:
        """Fill up with work; whether anything is under way."""
        while self._failed is None and len(self._under_way) < self._at_once:
            if self._ahead:
                one = self._ahead.popleft()
            else:
                try:
                    one = next(self._work)
                except StopIteration:
                    break
            self._under_way.add(self._pool.submit(self._act, one))
        return bool(self._under_way)
