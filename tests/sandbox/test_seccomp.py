"""The filter of system calls: as a program, and in the kernel."""

import errno
import itertools
import re
import socket
from pathlib import Path

import pytest

from outlast.sandbox import seccomp, syscalls
from outlast.sandbox.seccomp import FOR_ALL, ONCE_LISTENING, Deny, Word

ALLOW = 0x7FFF_0000
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ARCHITECTURES = (*AUDIT_ARCH,)


def verdict(program: list[seccomp.Instruction], arch: int, number: int, *arguments: int) -> int:
    """What the kernel's interpreter would say: 0 to let it pass, or an error number. Loops cannot occur."""
    data = {0: number, 4: arch}
    for index, value in enumerate((*arguments, *[0] * (6 - len(arguments)))):
        data[16 + 8 * index] = value & 0xFFFF_FFFF
        data[20 + 8 * index] = value >> 32
    accumulator = at = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                accumulator = data[operand]
            case 0x54:
                accumulator &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return 0 if operand == ALLOW else operand & 0xFFFF
            case _:
                raise AssertionError(code)


def says(rules: tuple[Deny, ...], name: str, *arguments: int, machine: str = "x86_64") -> int:
    number = syscalls.number(name, machine)
    assert number is not None
    return verdict(seccomp.program(rules, machine), AUDIT_ARCH[machine], number, *arguments)


@pytest.mark.parametrize("machine", ARCHITECTURES)
class TestTheProgram:
    @pytest.mark.parametrize(
        ("name", "arguments", "error"),
        [
            ("ptrace", (), errno.EPERM),
            ("mount", (), errno.EPERM),
            ("clone3", (), errno.ENOSYS),
            ("io_uring_setup", (), errno.ENOSYS),
            ("memfd_create", (), errno.ENOSYS),
            ("clone", (0x00010000 | 0x100, 0), 0),
            ("clone", (0x10000000,), errno.EPERM),
            ("clone", (0x00020000 | 17,), errno.EPERM),
            ("socket", (2, 1 | 0o2000000 | 0o4000, 0), 0),
            ("socket", (10, 2, 17), 0),
            ("socket", (1, 1, 0), 0),
            ("socket", (16, 3, 0), errno.EPERM),
            ("socket", (17, 3, 0), errno.EPERM),
            ("socket", (38, 5, 0), errno.EPERM),
            ("socket", (40, 1, 0), errno.EPERM),
            ("socket", (2, 3, 1), errno.EPERM),
            ("socket", (2, 5, 0), errno.EPERM),
            ("socket", (2, 1, 262), errno.EPROTONOSUPPORT),
            ("socket", (2, 1, 132), errno.EPROTONOSUPPORT),
            ("socketpair", (1, 1 | 0o2000000 | 0o4000, 0), 0),
            ("socketpair", (16, 1, 0), errno.EPERM),
            ("socketpair", (30, 1, 0), errno.EPERM),
            ("prlimit64", (0, 7), 0),
            ("prlimit64", (4711, 7), errno.EPERM),
            ("setpriority", (0, 0, 5), 0),
            ("setpriority", (0, 4711, 5), errno.EPERM),
            ("setpriority", (1, 0, 5), errno.EPERM),
            ("setpriority", (2, 0, 5), errno.EPERM),
            ("prctl", (15, 0xDEAD), 0),
            ("prctl", (4, 0), 0),
            ("prctl", (4, 1), errno.EPERM),
            ("prctl", (0x59616D61, 1), errno.EPERM),
            ("personality", (0xFFFFFFFF,), 0),
            ("personality", (0x0040000,), errno.EPERM),
            ("ioctl", (0, 0x5401), 0),
            ("ioctl", (0, 0x5412), errno.EPERM),
            # The kernel looks at the lower half alone.
            ("ioctl", (0, 0x5412 | 1 << 32), errno.EPERM),
            ("fchmod", (3, 0o755), 0),
            ("fchmod", (3, 0o4755), errno.EPERM),
            ("fchmodat", (3, 0, 0o644), 0),
            ("fchmodat", (3, 0, 0o2755), errno.EPERM),
            ("mknodat", (3, 0, 0o010644), 0),
            ("mknodat", (3, 0, 0o060644), errno.EPERM),
        ],
    )
    def test_calls(self, machine: str, name: str, arguments: tuple[int, ...], error: int) -> None:
        assert says(FOR_ALL, name, *arguments, machine=machine) == error

    def test_what_it_does_not_name_passes(self, machine: str) -> None:
        named = {syscalls.number(rule.call, machine) for rule in FOR_ALL}
        program = seccomp.program(FOR_ALL, machine)
        for number in range(600):
            if number not in named:
                assert verdict(program, AUDIT_ARCH[machine], number, 1, 1, 1) == 0

    def test_programs_of_another_architecture(self, machine: str) -> None:
        program = seccomp.program(FOR_ALL, machine)
        # i386, and arm.
        for other in (0x40000003, 0x40000028):
            assert verdict(program, other, 20) == errno.ENOSYS

    def test_once_listening(self, machine: str) -> None:
        assert says(ONCE_LISTENING, "socket", 1, 1, 0, machine=machine) == errno.EPERM
        assert says(ONCE_LISTENING, "socket", 2, 1, 0, machine=machine) == 0
        assert says(ONCE_LISTENING, "listen", 3, 1, machine=machine) == errno.EPERM

    @pytest.mark.parametrize("flags", [0, 0o2000000 | 0o4000])
    def test_pairs_once_listening(self, machine: str, flags: int) -> None:
        passing = {
            kind for kind in range(16) if not says(ONCE_LISTENING, "socketpair", 1, kind | flags, machine=machine)
        }
        assert passing == {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}


def test_the_second_set_of_numbers() -> None:
    program = seccomp.program(FOR_ALL, "x86_64")
    assert verdict(program, AUDIT_ARCH["x86_64"], 0x4000_0000 + 521) == errno.ENOSYS


def test_words_and_rules_in_every_combination() -> None:
    words = [Word(0, (1, 2)), Word(1, (3, 4, 5), among=False), Word(2, (8,), mask=0xC)]
    rules = (Deny("socket", tuple(words)), Deny("socket", (Word(0, (9,)),), errno.ENOSYS))
    for a, b, c in itertools.product((0, 1, 2, 9), range(2, 7), (0, 4, 8, 9, 12)):
        all_hold = a in (1, 2) and b not in (3, 4, 5) and c & 0xC == 8
        expected = errno.EPERM if all_hold else errno.ENOSYS if a == 9 else 0
        assert says(rules, "socket", a, b, c) == expected, (a, b, c)


HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+) (\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+) (\d+)"),
}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    file, pattern = HEADERS[machine]
    if not file.exists():
        pytest.skip("no kernel headers here")
    known = {name: int(number) for name, number in re.findall(pattern, file.read_text())}
    ours = {name: syscalls.number(name, machine) for name in syscalls.NUMBERS}
    compared = {name: number for name, number in ours.items() if name in known}
    assert len(compared) > 80
    assert compared == {name: known[name] for name in compared}
