"""Has what runs in a pool's thread belong to the request that gave it to the pool.

`asyncio.to_thread` sees to that itself; `loop.run_in_executor` and `ThreadPoolExecutor.submit` do not.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from outlast.runtime.context import request_id

T = TypeVar("T")


def install() -> None:
    submit = ThreadPoolExecutor.submit

    def submit_for_request(
        self: ThreadPoolExecutor, work: Callable[..., T], /, *args: Any, **options: Any
    ) -> Future[T]:
        # Its id alone: a copy of the whole context would hide what the pool's initializer has set in the thread's own.
        return submit(self, _run, request_id.get(), work, *args, **options)

    ThreadPoolExecutor.submit = submit_for_request  # type: ignore[method-assign, assignment]


def _run(id_: str, work: Callable[..., T], /, *args: Any, **options: Any) -> T:
    token = request_id.set(id_)
    try:
        return work(*args, **options)
    finally:
        request_id.reset(token)
