"""The functions of the same names for functions-framework, which has no way to leave a task behind but a thread."""

import threading
import time

from flask import Request


def burn() -> None:
    time.sleep(0.015)
    until = time.thread_time() + 0.020
    while time.thread_time() < until:
        pass


def later(_: Request) -> str:
    threading.Thread(target=time.sleep, args=(0.010,)).start()
    return "ok"


def burning(_: Request) -> str:
    threading.Thread(target=burn).start()
    return "ok"
