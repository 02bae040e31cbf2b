"""Seccomp (seccomp(2)): the system calls that no function has a use for, and that lead out of a sandbox."""

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from outlast.sandbox import kernel, syscalls

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SET_MODE_FILTER = 1
_ALL_THREADS = 1
_X32 = 0x4000_0000
"""Set in the numbers of a second set of system calls on x86-64."""

MAX_ROW = 3

_RET_ALLOW = 0x7FFF_0000
_RET_ERRNO = 0x0005_0000

# Instructions, see linux/bpf_common.h.
_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""

CLONE_NEW = 0x7E02_0000
"""Any new namespace, by clone(2)."""
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET = 1, 2, 5
PROTOCOLS = (0, 6, 17)
"""The usual one, TCP, UDP. Landlock looks at TCP alone: others, such as MPTCP, would get past it."""
PR_SET_DUMPABLE, PR_SET_PTRACER = 4, 0x59616D61
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
SETUID_OR_SETGID = 0o6000
S_IFMT, S_IFCHR, S_IFBLK = 0o170000, 0o020000, 0o060000
PERSONALITY_QUERY = 0xFFFF_FFFF


class Word(NamedTuple):
    """What is asked of the lower half of an argument: whether it, or what the mask leaves of it, is among values."""

    argument: int
    values: tuple[int, ...]
    among: bool = True
    mask: int = 0xFFFF_FFFF


class Deny(NamedTuple):
    """A call that is refused if all of ``words`` hold, and thus always where there are none."""

    call: str
    words: tuple[Word, ...] = ()
    error: int = errno.EPERM


def _calls(names: str, error: int = errno.EPERM) -> Iterator[Deny]:
    return (Deny(name, error=error) for name in names.split())


def _on_others(names: str, argument: int) -> Iterator[Deny]:
    """Zero is the caller itself; whatever else might be another process."""
    return (Deny(name, (Word(argument, (0,), among=False),)) for name in names.split())


FOR_ALL: tuple[Deny, ...] = (
    # Sockets for anything but the internet and the worker's own folder.
    Deny("socket", (Word(0, (AF_UNIX, AF_INET, AF_INET6), among=False),)),
    Deny("socket", (Word(1, (SOCK_STREAM, SOCK_DGRAM), among=False, mask=0xF),)),
    Deny("socket", (Word(2, PROTOCOLS, among=False),), errno.EPROTONOSUPPORT),
    Deny("socketpair", (Word(0, (AF_UNIX,), among=False),)),
    # Namespaces. glibc takes ENOSYS of clone3, whose flags a filter cannot see, for a reason to call clone.
    Deny("clone", (Word(0, (0,), among=False, mask=CLONE_NEW),)),
    Deny("clone3", error=errno.ENOSYS),
    *_calls(
        "unshare setns mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount"
    ),
    *_calls("fspick mount_setattr statmount listmount"),
    # Other processes.
    *_calls("ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise process_mrelease"),
    *_calls("migrate_pages move_pages"),
    *_on_others("prlimit64 sched_setaffinity sched_setscheduler sched_setparam sched_setattr", 0),
    Deny("setpriority", (Word(0, (0,), among=False),)),
    *_on_others("setpriority ioprio_set", 1),
    Deny("prctl", (Word(0, (PR_SET_PTRACER,)),)),
    Deny("prctl", (Word(0, (PR_SET_DUMPABLE,)), Word(1, (0,), among=False))),
    # A worker leads a process group, and ends with all that is in it: nothing may step out.
    *_calls("setsid setpgid"),
    # What processes of one user share, whatever files they may reach.
    *_calls("shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl semtimedop mq_open mq_unlink"),
    # Files, past Landlock: by handle, devices, what changes in others' folders, programs without a file.
    *_calls("open_by_handle_at name_to_handle_at inotify_add_watch fanotify_init fanotify_mark"),
    *_calls("memfd_create memfd_secret", errno.ENOSYS),
    *(Deny("mknod", (Word(1, (kind,), mask=S_IFMT),)) for kind in (S_IFCHR, S_IFBLK)),
    *(Deny("mknodat", (Word(2, (kind,), mask=S_IFMT),)) for kind in (S_IFCHR, S_IFBLK)),
    *(Deny(name, (Word(1, (0,), among=False, mask=SETUID_OR_SETGID),)) for name in ("chmod", "fchmod")),
    *(Deny(name, (Word(2, (0,), among=False, mask=SETUID_OR_SETGID),)) for name in ("fchmodat", "fchmodat2")),
    # What most attacks on the kernel itself begin with. libuv does without io_uring when it hears ENOSYS.
    *_calls("bpf keyctl add_key request_key perf_event_open userfaultfd modify_ldt lookup_dcookie nfsservctl"),
    *_calls("io_uring_setup io_uring_enter io_uring_register", errno.ENOSYS),
    Deny("personality", (Word(0, (0, PERSONALITY_QUERY), among=False),)),
    Deny("ioctl", (Word(1, (TIOCSTI, TIOCLINUX)),)),
    # The machine.
    *_calls("kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct"),
    *_calls("settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname quotactl quotactl_fd"),
    *_calls("iopl ioperm vhangup syslog"),
)

ONCE_LISTENING: tuple[Deny, ...] = (
    # A worker has the two unix sockets it needs, and listens on one of them. Landlock lets pass connections to any
    # unix socket that has a path, before Linux 7.1, and listening on a TCP socket that was never bound to a port.
    Deny("socket", (Word(0, (AF_UNIX,)),)),
    # A socket for datagrams has a peer only by default: each of a pair can send to any path, or be connected anew.
    # Of a raw one the kernel makes one for datagrams (unix_create() in net/unix/af_unix.c).
    Deny("socketpair", (Word(1, (SOCK_STREAM, SOCK_SEQPACKET), among=False, mask=0xF),)),
    *_calls("listen"),
)


def works_here() -> bool:
    """Whether the numbers of this architecture's system calls are known."""
    return os.uname().machine in _AUDIT_ARCH and ctypes.sizeof(ctypes.c_void_p) == 8


def install(rules: tuple[Deny, ...]) -> None:
    """Refuses these calls to this process, all of its threads, and whatever it starts. Raises OSError.

    Takes no_new_privs or CAP_SYS_ADMIN.
    """
    program = assemble(rules)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    blocked = kernel.syscall("seccomp", _SET_MODE_FILTER, _ALL_THREADS, fprog)
    if blocked:
        raise OSError(errno.EBUSY, f"thread {blocked} has another filter")


@functools.cache
def assemble(rules: tuple[Deny, ...]) -> bytes:
    """The filter for this machine."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program(rules, os.uname().machine))


def program(rules: Iterable[Deny], machine: str) -> list[Instruction]:
    """The filter for an architecture."""
    out: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        # 32-bit programs have numbers of their own, of which nothing is known here.
        (_IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        out += [(_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS)]
    by_number: dict[int, list[Deny]] = {}
    for rule in rules:
        if (number := syscalls.number(rule.call, machine)) is not None:
            by_number.setdefault(number, []).append(rule)
    return [*out, *_tree([(number, [*_block(same)]) for number, same in sorted(by_number.items())])]


def _tree(cases: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Finds the case for the number by halves; where there is none, the call passes. Ends in a verdict on every way.

    Not one after the other, because the kernel runs the filter for every number there is when it is installed.
    """
    if len(cases) > MAX_ROW:
        middle = len(cases) // 2
        lower, upper = _tree(cases[:middle]), _tree(cases[middle:])
        return [(_IF_AT_LEAST, 0, 1, cases[middle][0]), (_JUMP, 0, 0, len(lower)), *lower, *upper]
    out: list[Instruction] = []
    for number, block in cases:
        out += [(_IF_EQUAL, 1, 0, number), (_JUMP, 0, 0, len(block)), *block]
    return [*out, (_RETURN, 0, 0, _RET_ALLOW)]


def _block(rules: Iterable[Deny]) -> Iterator[Instruction]:
    """The verdict on one call, by its arguments: its number is no longer in the accumulator then."""
    for rule in rules:
        verdict: list[Instruction] = [(_RETURN, 0, 0, _RET_ERRNO | rule.error)]
        for word in reversed(rule.words):
            verdict = [*_test(word, past=len(verdict)), *verdict]
        yield from verdict
        if not rule.words:
            return
    yield (_RETURN, 0, 0, _RET_ALLOW)


def _test(word: Word, past: int) -> Iterator[Instruction]:
    """Goes on with the next instruction if the word holds, and else past so many."""
    # The lower half comes first: both architectures are little-endian.
    yield (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * word.argument)
    if word.mask != 0xFFFF_FFFF:
        yield (_AND, 0, 0, word.mask)
    for left, value in zip(range(len(word.values) - 1, -1, -1), word.values, strict=True):
        hit = left if word.among else left + past
        miss = 0 if left or not word.among else past
        yield (_IF_EQUAL, hit, miss, value)
