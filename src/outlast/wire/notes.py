"""What a worker has said and the node may not have: in a file, for workers that cannot share memory, sans-I/O.

It serves what `outlast.wire.kept` serves, in another form, and for the lines that must not be lost alone. Each stands
between two copies of its number among all the lines that the worker has said. The node knows how many have reached it.
When all that it has said is sent, a worker begins the file anew, by writing over what is there: what follows was sent
long ago, and so was what it has written over in part, should it have died in the middle of a line.
"""

import re

FILE = "notes"
"""In the worker's folder."""
MAX_BYTES = 1024 * 1024
"""More than a worker notes at a time."""
_NOTE = re.compile(rb"^([0-9]{1,16}) (.*) \1$", re.MULTILINE)


def left_behind(notes: bytes, received: int) -> bytes:
    """The lines that are to come after the first ``received`` of all that a worker has said.

    The file is the worker's own, who may have written there what it liked.
    """
    return b"".join(note[2] + b"\n" for note in _NOTE.finditer(notes) if int(note[1]) >= received)
