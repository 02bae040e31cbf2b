"""What the function's own code has begun, but neither ended nor given to `EdgeRuntime.wait_until`."""

import asyncio
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Iterator

from outlast.runtime.describe import is_users_code
from outlast.runtime.tasks import plain_name

END_WITHIN_S = 0.02


def names() -> list[str]:
    """Call it in the event loop, when no background task is open."""
    return sorted({*_of_tasks(), *_of_threads()})


def _of_tasks() -> Iterator[str]:
    left = (task for task in asyncio.all_tasks() if not task.cancelling())
    for coroutine in (task.get_coro() for task in left):
        if inspect.iscoroutine(coroutine) and is_users_code(coroutine.cr_code.co_filename):
            yield plain_name(coroutine)


def _of_threads() -> Iterator[str]:
    """Python itself would wait for them at its end. Those of a pool count as long as they have something to do."""
    running = sys._current_frames()
    until = time.monotonic() + END_WITHIN_S
    for thread in threading.enumerate():
        frame = running.get(thread.ident or 0)
        if frame is None or thread.daemon or thread is threading.main_thread():
            continue
        if isinstance(thread, threading.Timer):
            if not thread.finished.is_set():
                yield plain_name(thread.function)
            continue
        codes = (inner.f_code for inner, _ in traceback.walk_stack(frame))
        own = [code.co_qualname for code in codes if is_users_code(code.co_filename)]
        if own:
            # It may have been told to end just now.
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                yield own[-1].rpartition("<locals>.")[2]
