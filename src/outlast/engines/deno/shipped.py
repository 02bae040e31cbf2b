"""What is installed with Outlast for TypeScript functions: Deno, and the TypeScript of Outlast's own."""

import functools
import os
import struct
from pathlib import Path

from deno import find_deno_bin

DENO = find_deno_bin()
GUEST = Path(__file__).with_name("guest")
PLAIN = {"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"}
"""For the environment of each Deno."""

_PT_INTERP = 3


@functools.cache
def loader() -> list[str]:
    """The program that the kernel runs to load Deno: the interpreter named in its ELF header (elf(5))."""
    with Path(DENO).open("rb") as program:
        header = program.read(64)
        if header[:5] != b"\x7fELF\x02":
            return []
        (at,) = struct.unpack_from("=Q", header, 32)
        size, count = struct.unpack_from("=HH", header, 54)
        for index in range(count):
            entry = os.pread(program.fileno(), size, at + index * size)
            kind, _, offset, _, _, length = struct.unpack_from("=IIQQQQ", entry)
            if kind == _PT_INTERP:
                return [os.fsdecode(os.pread(program.fileno(), length, offset).rstrip(b"\0"))]
    return []
