"""Processes that are somebody else's: signals, memory, descriptors, priorities. What is left of one's own."""

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from attempt import PROBES, Foiled, Land, probe, probe_in_a_child
from system import call, checked, libc

__all__ = ["PROBES"]

PTRACE_SEIZE = 0x4206
KCMP_FILES = 2
IOPRIO_WHO_PROCESS = 1
BEST_EFFORT_LOWEST = (2 << 13) | 7
MADV_COLD = 20
LIFELINE = 3
VERSION_2_WITH_DAC_OVERRIDE = struct.pack("<5I", 0x0200_0001, 1 << 1, 0, 0, 0)
MPOL_ONE_NODE = 1


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


# Signals.


@probe
def signal_node(land: Land) -> str:
    os.kill(land.node_pid, 0)
    return "may send it signals"


@probe
def signal_starter_of_workers(land: Land) -> str:
    os.kill(os.getppid(), 0)
    return "may send it signals"


@probe
def signal_neighbour(land: Land) -> str:
    os.kill(land.victim["pid"], signal.SIGCONT)
    return "sent"


@probe
def terminate_neighbour(land: Land) -> str:
    os.kill(land.victim["pid"], signal.SIGTERM)
    return "sent"


@probe
def terminate_bystander(land: Land) -> str:
    os.kill(land.bystander_pid, signal.SIGTERM)
    return "sent"


@probe
def signal_group_of_neighbour(land: Land) -> str:
    os.killpg(land.victim["pid"], signal.SIGCONT)
    return "sent"


@probe
def signal_thread_of_neighbour(land: Land) -> str:
    checked(libc.tgkill(land.victim["pid"], land.victim["pid"], signal.SIGCONT))
    return "sent"


@probe
def signal_neighbour_by_descriptor(land: Land) -> str:
    descriptor = os.pidfd_open(land.victim["pid"])
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGCONT)
    finally:
        os.close(descriptor)
    return "sent"


@probe
def terminate_bystander_by_the_kernel(land: Land) -> str:
    """Instead of SIGIO, and to the owner of a descriptor, which anybody can be made (fcntl(2), F_SETOWN)."""
    here, there = socket.socketpair()
    with here, there:
        flags = fcntl.fcntl(here, fcntl.F_GETFL)
        fcntl.fcntl(here, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(here, fcntl.F_SETOWN, land.bystander_pid)
        fcntl.fcntl(here, fcntl.F_SETFL, flags | os.O_ASYNC)
        there.send(b"x")
    return "asked for it"


# Memory, descriptors, limits.


@probe_in_a_child
def trace_neighbour(land: Land) -> str:
    checked(libc.ptrace(PTRACE_SEIZE, land.victim["pid"], None, None))
    return "traced"


@probe_in_a_child
def trace_bystander(land: Land) -> str:
    checked(libc.ptrace(PTRACE_SEIZE, land.bystander_pid, None, None))
    return "traced"


@probe_in_a_child
def read_memory_of_neighbour(land: Land) -> str:
    buffer = ctypes.create_string_buffer(14)
    mine = Vector(ctypes.addressof(buffer), 14)
    theirs = Vector(land.victim["address"], 14)
    checked(libc.process_vm_readv(land.victim["pid"], ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0))
    return f"read {buffer.raw!r}"


@probe_in_a_child
def write_memory_of_neighbour(land: Land) -> str:
    buffer = ctypes.create_string_buffer(b"kept")
    mine = Vector(ctypes.addressof(buffer), 4)
    theirs = Vector(land.victim["address"], 4)
    checked(libc.process_vm_writev(land.victim["pid"], ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0))
    return "written"


@probe_in_a_child
def take_descriptor_of_neighbour(land: Land) -> str:
    descriptor = os.pidfd_open(land.victim["pid"])
    return f"its standard output is now my {call('pidfd_getfd', descriptor, 1, 0)}"


@probe_in_a_child
def compare_with_neighbour(land: Land) -> str:
    return str(call("kcmp", os.getpid(), land.victim["pid"], KCMP_FILES, 0, 0))


@probe_in_a_child
def advise_memory_of_neighbour(land: Land) -> str:
    descriptor = os.pidfd_open(land.victim["pid"])
    page = land.victim["address"] & ~0xFFF
    vector = Vector(page, 0x1000)
    return str(call("process_madvise", descriptor, ctypes.byref(vector), 1, MADV_COLD, 0))


@probe_in_a_child
def move_memory_of_neighbour(land: Land) -> str:
    mask = ctypes.c_ulong(MPOL_ONE_NODE)
    return str(call("migrate_pages", land.victim["pid"], 64, ctypes.byref(mask), ctypes.byref(mask)))


@probe_in_a_child
def read_lock_list_of_neighbour(land: Land) -> str:
    head, size = ctypes.c_void_p(), ctypes.c_size_t()
    call("get_robust_list", land.victim["pid"], ctypes.byref(head), ctypes.byref(size))
    return f"at {head.value}"


@probe_in_a_child
def read_limits_of_neighbour(land: Land) -> str:
    return str(resource.prlimit(land.victim["pid"], resource.RLIMIT_NOFILE))


@probe_in_a_child
def set_limits_of_neighbour(land: Land) -> str:
    soft, hard = land.limits
    resource.prlimit(land.victim["pid"], resource.RLIMIT_NOFILE, (soft, hard))
    return "set"


@probe_in_a_child
def set_priority_of_neighbour(land: Land) -> str:
    os.setpriority(os.PRIO_PROCESS, land.victim["pid"], 1)
    return "set"


@probe_in_a_child
def set_disk_priority_of_neighbour(land: Land) -> str:
    call("ioprio_set", IOPRIO_WHO_PROCESS, land.victim["pid"], BEST_EFFORT_LOWEST)
    return "set"


@probe_in_a_child
def set_scheduler_of_neighbour(land: Land) -> str:
    os.sched_setscheduler(land.victim["pid"], os.SCHED_BATCH, os.sched_param(0))
    return "set"


@probe_in_a_child
def set_processors_of_neighbour(land: Land) -> str:
    os.sched_setaffinity(land.victim["pid"], os.sched_getaffinity(0))
    return "set"


@probe_in_a_child
def set_scheduling_attributes_of_neighbour(land: Land) -> str:
    # Size, policy, flags, niceness, and times that only other policies have.
    attributes = ctypes.create_string_buffer(struct.pack("=IIQiI", 48, os.SCHED_BATCH, 0, 1, 0), 48)
    call("sched_setattr", land.victim["pid"], ctypes.byref(attributes), 0)
    return "set"


# Oneself: more than one was given.


@probe_in_a_child
def raise_limit_of_files(land: Land) -> str:
    """To what the node has."""
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(land.node_limits))
    return "raised"


@probe_in_a_child
def allow_core_dumps(land: Land) -> str:
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    return "allowed"


@probe_in_a_child
def dump_core(land: Land) -> str:
    """Its memory, with all secrets, in a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    os.chdir(tempfile.gettempdir())
    if (pid := os.fork()) == 0:
        os.kill(os.getpid(), signal.SIGQUIT)
    _, status = os.waitpid(pid, 0)
    if not os.WCOREDUMP(status):
        raise Foiled("PermissionError: no core was dumped")
    return "dumped"


@probe_in_a_child
def raise_own_priority(land: Land) -> str:
    return str(os.nice(-1))


@probe_in_a_child
def run_in_real_time(land: Land) -> str:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "set"


@probe_in_a_child
def leave_process_group(land: Land) -> str:
    """What is in no worker's group does not end with it."""
    os.setsid()
    return "left"


@probe_in_a_child
def let_go_of_lifeline(land: Land) -> str:
    """Set to whom it is set, which might as well be nobody: then nothing ends this worker with its node."""
    fcntl.fcntl(LIFELINE, fcntl.F_SETOWN, -os.getpgrp())
    return "could be set"


@probe_in_a_child
def become_another_user(land: Land) -> str:
    os.setuid(os.getuid() + 1)
    return f"became {os.getuid()}"


@probe_in_a_child
def become_another_group(land: Land) -> str:
    os.setgroups([os.getgid() + 1])
    return f"became {os.getgroups()}"


@probe
def become_another_user_by_program(land: Land) -> str:
    """A program with the set-user-id bit; this one changes to nobody, others to root."""
    ended = subprocess.run([f"{land.functions}/prober/changes-user", "-u"], capture_output=True, check=True, text=True)
    if int(ended.stdout) == os.geteuid():
        raise Foiled("PermissionError: it runs as before")
    return f"runs as {ended.stdout}"


@probe
def give_file_away(land: Land) -> str:
    file = Path(tempfile.gettempdir(), "given-away")
    file.touch()
    os.chown(file, os.getuid() + 1, os.getgid() + 1)
    return "given away"


@probe
def give_program_capabilities(land: Land) -> str:
    file = Path(tempfile.gettempdir(), "capable")
    file.touch()
    os.setxattr(file, "security.capability", VERSION_2_WITH_DAC_OVERRIDE)
    return "given"


@probe
def gain_capabilities_by_program(land: Land) -> str:
    """execve(2) gives a program that root runs all of root's capabilities."""
    file = Path(tempfile.gettempdir(), "given-away-by-program")
    file.touch()
    ended = subprocess.run(["/bin/chown", str(os.getuid() + 1), str(file)], capture_output=True, text=True)
    if ended.returncode:
        raise Foiled(ended.stderr)
    return "ran chown"
