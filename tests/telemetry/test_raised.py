import pytest

from outlast.core.language import Language
from outlast.telemetry import raised

CHAIN = """Traceback (most recent call last):
  File "main.py", line 3, in work
    int("x")
ValueError: invalid literal

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "main.py", line 5, in work
    raise shop.errors.OutOfStock("no tea\\nat all")
shop.errors.OutOfStock: no tea
at all"""

GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "main.py", line 2, in <module>
  |     raise ExceptionGroup("two things", [...])
  | ExceptionGroup: two things (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: 2
    +------------------------------------"""


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (CHAIN, "shop.errors.OutOfStock", "no tea"),
        (GROUP, "ExceptionGroup", "two things (2 sub-exceptions)"),
        ("KeyError: 'tea'", "KeyError", "'tea'"),
        ("asyncio.exceptions.CancelledError", "asyncio.exceptions.CancelledError", ""),
        ("Weird [an error that cannot be printed]", "", "Weird [an error that cannot be printed]"),
        ("", "", ""),
    ],
)
def test_errors_of_python(text: str, kind: str, message: str) -> None:
    assert raised.read(Language.PYTHON, text) == (kind, message, text)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("TypeError: not a function\n    at order (file:///index.ts:3:9)", "TypeError", "not a function"),
        ("OutOfStock: no tea\n    at file:///index.ts:3:9 {\n  left: 0\n}", "OutOfStock", "no tea"),
        ("Error\n    at file:///index.ts:3:9", "Error", ""),
        ("AbortError: The signal has been aborted", "AbortError", "The signal has been aborted"),
        ("no tea", "", "no tea"),
        ("tea: none", "", "tea: none"),
        ("tea", "", "tea"),
        ("{ left: 0 }", "", "{ left: 0 }"),
    ],
)
def test_errors_of_javascript(text: str, kind: str, message: str) -> None:
    assert raised.read(Language.TYPESCRIPT, text) == (kind, message, text)


def test_what_is_not_known_is_left_out_of_the_event() -> None:
    assert raised.read(Language.TYPESCRIPT, "no tea").attributes == {
        "exception.message": "no tea",
        "exception.stacktrace": "no tea",
    }
