"""System calls that Python has no name for."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.shmat.restype = ctypes.c_void_p
libc.syscall.restype = ctypes.c_long
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]

IS_X86 = os.uname().machine == "x86_64"
X86, ARM = 0, 1
NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fsopen": (430, 430),
    "get_robust_list": (274, 100),
    "io_uring_setup": (425, 425),
    "ioprio_get": (252, 31),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "sched_setattr": (314, 274),
    "userfaultfd": (323, 282),
}
"""On x86-64 and on 64-bit ARM."""


def checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def call(name: str, *arguments: object) -> int:
    """A system call by its name."""
    return by_number(NUMBERS[name][X86 if IS_X86 else ARM], *arguments)


def by_number(number: int, *arguments: object) -> int:
    return checked(libc.syscall(ctypes.c_long(number), *(_long(each) for each in arguments)))


def _long(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value
