"""Loads the function's module."""

import _thread
import errno
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

from outlast.runtime.describe import describe

FALLBACK_NAME = "outlast_function"
_OWN_LOOP = re.compile("from a running event loop|loop is already running|another loop is running")
"""What asyncio and uvloop say."""
_ASGI_ARGUMENTS = 4
"""Of a class's ``__call__``: self, scope, receive, send."""
_PATCHERS = {"gevent.monkey", "eventlet.patcher"}
"""Other modules replace what starts a thread as well, such as debuggers, but do start one."""


def path_of(entrypoint: str) -> Path:
    """The path in a ``file:`` URL."""
    return Path(unquote(urlsplit(entrypoint).path))


def load(path: Path) -> ModuleType:
    """Evaluates the file as the module of its name, so that modules beside it can import it.

    It can import those modules, and the project's ``_shared`` folder as a package. Raises whatever the module raises.
    """
    _extend_path(path)
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else FALLBACK_NAME
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if not inspect.isbuiltin(_thread.start_new_thread) and not _PATCHERS.isdisjoint(sys.modules):
        raise RuntimeError(
            "gevent or eventlet has replaced threads (monkey.patch_all()): theirs would never run beside the event "
            "loop. Leave that out: threads are threads here"
        )
    return module


def _extend_path(path: Path) -> None:
    wanted = [path.parent, *(above for above in path.parents[1:3] if (above / "_shared").is_dir())]
    missing = [str(folder) for folder in wanted if str(folder) not in sys.path]
    sys.path[:0] = missing


def why_it_broke_off(path: Path, error: BaseException) -> str:
    """What is wrong with a module whose evaluation has raised this."""
    if isinstance(error, RuntimeError) and _OWN_LOOP.search(str(error)):
        problem = "runs an event loop of its own"
    elif isinstance(error, SystemExit):
        problem = "ends its own process"
    elif isinstance(error, OSError) and error.errno == errno.EACCES and error.filename is None:
        problem = "asks for what functions may not have, such as a port,"
    else:
        return describe(error)
    return (
        f"{'/'.join(path.parts[-2:])} {problem} while it is evaluated. Where that is to start a server "
        "(uvicorn.run(app), app.run(), asyncio.run(...)): Outlast serves what the module calls `app`, or gives to "
        f'serve(handler); put the call below `if __name__ == "__main__":`\n{describe(error)}'
    )


def why_it_cannot_serve(path: Path, module: ModuleType, app: object) -> str | None:
    """Why ``app`` (the module's attribute, or None) is not an ASGI application; None if it may be one."""
    where = "/".join(path.parts[-2:])
    if app is None:
        said = f"{where} serves nothing: call serve(handler), or define an ASGI application `app` (FastAPI, Starlette)"
        named = next((name for name, value in vars(module).items() if _is_application(value)), None)
        return said if named is None else f"{said}. Its application is called `{named}`: app = {named}"
    if not callable(app):
        return f"`app` in {where} is of type {type(app).__name__}, which is no ASGI application"
    if hasattr(app, "wsgi_app") or type(app).__name__ == "WSGIHandler" or _takes_two(app):
        return (
            f"`app` in {where} is a WSGI application: it needs an adapter, such as `a2wsgi`: "
            "app = a2wsgi.WSGIMiddleware(app)"
        )
    return None


def _is_application(value: object) -> bool:
    call = getattr(type(value), "__call__", None)  # noqa: B004, of its type
    # FastAPI's security schemes can be called, too, with a request alone.
    return inspect.iscoroutinefunction(call) and len(inspect.signature(call).parameters) == _ASGI_ARGUMENTS


def _takes_two(app: Callable[..., object]) -> bool:
    """Whether it takes two arguments, as WSGI applications do (PEP 3333), rather than the three of ASGI."""
    try:
        signature = inspect.signature(app)
        signature.bind(None, None)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(None, None, None)
    except TypeError:
        return True
    return False
