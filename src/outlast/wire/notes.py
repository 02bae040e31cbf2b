"""What a worker has said and the node may not have: in a file, for workers that cannot share memory, sans-I/O.

It serves what `outlast.wire.kept` serves, in another form. The file begins with a line of its own: how many bytes the
worker had said before. Behind that stands, in one piece, what it has said since, and not all of which was sent. The
worker empties the file when all of it was, so that there is no moment at which it could die with the file wrong.
"""

FILE = "notes"
"""In the worker's folder."""
MAX_BYTES = 1024 * 1024
"""More than a worker notes at a time."""


def left_behind(notes: bytes, received: int) -> bytes:
    """What is to come after the first ``received`` bytes of all that a worker has said.

    The file is the worker's own, who may have written there what it liked.
    """
    before, _, said = notes.partition(b"\n")
    if len(before) > 19 or not before.isdigit() or received < int(before):
        return b""
    return said[received - int(before) :]
