"""Errors whose text has their stack, as functions report them."""

TRACEBACKS = ("Traceback (", "  + Exception Group Traceback (")
"""How the stack of a Python error begins."""
_OF_GROUP = "  | "


def gist(error: str) -> str:
    """The one line of an error with its stack that says what the error is."""
    lines = error.strip("\n").splitlines() or [""]
    # Python puts it after the stack. Where one error led to another, the last one is what it came to.
    headings = [index for index, line in enumerate(lines) if line.startswith(TRACEBACKS)]
    rest = lines[headings[-1] + 1 :] if headings else lines
    return next((line for line in (line.removeprefix(_OF_GROUP) for line in rest) if line[:1].strip()), lines[0])
