"""Where the runtime reports what happens: to the node inside a worker, to `logging` anywhere else."""

import logging
from collections.abc import Callable

from outlast.runtime.context import request_id
from outlast.wire import messages

_logger = logging.getLogger("outlast")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _pass_to_logging(message: messages.FromWorker) -> None:
    match message:
        case messages.Logged():
            _logger.log(_LEVELS[message.level], message.text)
        case messages.TaskSettled() if message.outcome != "fulfilled":
            _logger.error("background task %s was %s: %s", message.task, message.outcome, message.error)
        case messages.Uncaught():
            _logger.error("uncaught: %s", message.error)


def _no_flush() -> None:
    pass


send: Callable[[messages.FromWorker], None] = _pass_to_logging
flush: Callable[[], None] = _no_flush
"""When it returns, nothing that was sent before can be lost any more."""


def log(level: messages.Level, text: str) -> None:
    """A line in the log, of the request that this code belongs to."""
    send(messages.Logged(level, text, request_id.get()))


def connect(to_node: Callable[[messages.FromWorker], None], flush_to_node: Callable[[], None]) -> None:
    """From now on reports go to the node."""
    global send, flush
    send, flush = to_node, flush_to_node
