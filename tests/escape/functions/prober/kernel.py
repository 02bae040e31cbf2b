"""What the kernel offers to every process, and no function has a use for."""

import ctypes
import fcntl
import mmap
import os
import termios
from pathlib import Path

from attempt import PROBES, Foiled, Land, probe_in_a_child
from system import IS_X86, by_number, call, checked, libc

__all__ = ["PROBES"]

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
SIGCHLD = 17
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
KEYCTL_GET_KEYRING_ID = 0
KEY_SPEC_PROCESS_KEYRING = -2
BPF_MAP_CREATE, BPF_MAP_TYPE_ARRAY = 0, 2
PERF_TYPE_SOFTWARE = 1
UFFD_USER_MODE_ONLY = 1
ADDR_NO_RANDOMIZE = 0x0040000
SYSLOG_ACTION_READ_ALL = 3
MFD_CLOEXEC = 1
MAP_PRIVATE_ANONYMOUS = 0x22
READ_WRITE_EXECUTE = 7
O_RDONLY = 0
ENODEV, EINVAL = 19, 22
ADJ_SETOFFSET = 0x100


def new_namespace(flags: int) -> str:
    checked(libc.unshare(flags))
    return "made a new one"


@probe_in_a_child
def new_user_namespace(land: Land) -> str:
    """With it comes every capability, within."""
    return new_namespace(CLONE_NEWUSER)


@probe_in_a_child
def new_mount_namespace(land: Land) -> str:
    return new_namespace(CLONE_NEWNS)


@probe_in_a_child
def new_network_namespace(land: Land) -> str:
    return new_namespace(CLONE_NEWNET)


@probe_in_a_child
def new_process_namespace(land: Land) -> str:
    return new_namespace(CLONE_NEWPID)


@probe_in_a_child
def new_names_namespace(land: Land) -> str:
    return new_namespace(CLONE_NEWUTS)


@probe_in_a_child
def new_ipc_namespace(land: Land) -> str:
    return new_namespace(CLONE_NEWIPC)


@probe_in_a_child
def new_cgroup_namespace(land: Land) -> str:
    return new_namespace(CLONE_NEWCGROUP)


@probe_in_a_child
def clone_into_user_namespace(land: Land) -> str:
    if call("clone", CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()
    return "made a new one"


@probe_in_a_child
def clone3_into_user_namespace(land: Land) -> str:
    arguments = ctypes.create_string_buffer(64)
    ctypes.memmove(arguments, CLONE_NEWUSER.to_bytes(8, "little"), 8)
    ctypes.memmove(ctypes.addressof(arguments) + 32, SIGCHLD.to_bytes(8, "little"), 8)
    if call("clone3", ctypes.byref(arguments), 64) == 0:
        os._exit(0)
    os.wait()
    return "made a new one"


@probe_in_a_child
def enter_namespaces_of_node(land: Land) -> str:
    descriptor = os.pidfd_open(land.node_pid)
    checked(libc.setns(descriptor, CLONE_NEWUTS))
    return "entered"


@probe_in_a_child
def mount_folder(land: Land) -> str:
    """In a mount namespace of its own, so that nobody else sees it."""
    checked(libc.unshare(CLONE_NEWNS))
    checked(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    checked(libc.mount(b"/", os.fsencode(land.hideout), None, MS_BIND, None))
    return "mounted"


@probe_in_a_child
def mount_in_place(land: Land) -> str:
    """Nothing is there to be mounted, which a kernel that listens finds out."""
    try:
        checked(libc.mount(b"none", os.fsencode(land.hideout), b"no-such-file-system", 0, None))
    except OSError as error:
        if error.errno == ENODEV:
            return "no such file system"
        raise
    return "mounted"


@probe_in_a_child
def prepare_mount(land: Land) -> str:
    return str(call("fsopen", b"tmpfs", 0))


@probe_in_a_child
def unmount_folder(land: Land) -> str:
    try:
        checked(libc.umount2(os.fsencode(land.hideout), 0))
    except OSError as error:
        if error.errno == EINVAL:
            return "it is no mount point"
        raise
    return "unmounted"


@probe_in_a_child
def change_root(land: Land) -> str:
    os.chroot("/")
    return "changed"


@probe_in_a_child
def change_root_in_user_namespace(land: Land) -> str:
    checked(libc.unshare(CLONE_NEWUSER))
    os.chroot("/")
    return "changed"


@probe_in_a_child
def set_host_name(land: Land) -> str:
    """To what it is."""
    name = os.uname().nodename.encode()
    checked(libc.sethostname(name, len(name)))
    return "set"


@probe_in_a_child
def set_clock(land: Land) -> str:
    """By nothing (adjtimex(2), ADJ_SETOFFSET)."""
    nothing = ctypes.create_string_buffer(ADJ_SETOFFSET.to_bytes(4, "little"), 512)
    return str(checked(libc.adjtimex(nothing)))


@probe_in_a_child
def read_kernel_messages(land: Land) -> str:
    buffer = ctypes.create_string_buffer(4096)
    return f"{checked(libc.klogctl(SYSLOG_ACTION_READ_ALL, buffer, 4096))} bytes"


@probe_in_a_child
def load_bpf_map(land: Land) -> str:
    attributes = ctypes.create_string_buffer(128)
    for index, value in enumerate((BPF_MAP_TYPE_ARRAY, 4, 4, 1)):
        ctypes.memmove(ctypes.addressof(attributes) + 4 * index, value.to_bytes(4, "little"), 4)
    return str(call("bpf", BPF_MAP_CREATE, ctypes.byref(attributes), 128))


@probe_in_a_child
def read_keyring(land: Land) -> str:
    return str(call("keyctl", KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1, 0, 0))


@probe_in_a_child
def add_key(land: Land) -> str:
    return str(call("add_key", b"user", b"escaped", b"escaped", 7, KEY_SPEC_PROCESS_KEYRING))


@probe_in_a_child
def count_performance(land: Land) -> str:
    attributes = ctypes.create_string_buffer(128)
    ctypes.memmove(attributes, PERF_TYPE_SOFTWARE.to_bytes(4, "little") + (128).to_bytes(4, "little"), 8)
    return str(call("perf_event_open", ctypes.byref(attributes), 0, -1, -1, 0))


@probe_in_a_child
def handle_page_faults(land: Land) -> str:
    return str(call("userfaultfd", UFFD_USER_MODE_ONLY))


@probe_in_a_child
def handle_page_faults_by_device(land: Land) -> str:
    os.close(os.open("/dev/userfaultfd", os.O_RDWR))
    return "opened"


@probe_in_a_child
def submit_by_ring(land: Land) -> str:
    """io_uring opens files and connects sockets without the system calls for it."""
    parameters = ctypes.create_string_buffer(120)
    return str(call("io_uring_setup", 1, ctypes.byref(parameters)))


@probe_in_a_child
def switch_off_address_randomization(land: Land) -> str:
    return str(checked(libc.personality(ADDR_NO_RANDOMIZE)))


@probe_in_a_child
def run_program_without_a_file(land: Land) -> str:
    """A program that is nowhere on disk, so that no rule on paths speaks of it."""
    descriptor = os.memfd_create("program", MFD_CLOEXEC)
    with Path("/bin/true").open("rb") as program:
        os.sendfile(descriptor, program.fileno(), 0, 1 << 24)
    if (pid := os.fork()) == 0:
        try:
            os.execve(descriptor, ["true"], {})
        except OSError as error:
            os._exit(error.errno or 1)
    _, status = os.waitpid(pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, os.strerror(code))
    return "ran"


@probe_in_a_child
def call_as_32_bit(land: Land) -> str:
    """The numbers of system calls are others there: a filter that looks at numbers alone is fooled."""
    if not IS_X86:
        raise OSError(38, "not this machine's")
    # mov eax, 310 (unshare); mov ebx, CLONE_NEWUTS; int 0x80; ret
    code = (
        b"\xb8" + (310).to_bytes(4, "little") + b"\x53\xbb" + CLONE_NEWUTS.to_bytes(4, "little") + b"\xcd\x80\x5b\xc3"
    )
    page = libc.mmap(None, mmap.PAGESIZE, READ_WRITE_EXECUTE, MAP_PRIVATE_ANONYMOUS, -1, 0)
    ctypes.memmove(page, code, len(code))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(page)()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return "made a new namespace"


@probe_in_a_child
def call_as_x32(land: Land) -> str:
    if not IS_X86:
        raise OSError(38, "not this machine's")
    by_number(0x40000000 | 272, CLONE_NEWUTS)
    return "made a new namespace"


@probe_in_a_child
def type_into_terminal(land: Land) -> str:
    """TIOCSTI: what is put there, whoever reads from the terminal takes for typed."""
    os.setsid()
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
    return "typed"


@probe_in_a_child
def read_shared_memory(land: Land) -> str:
    """System V IPC: segments have numbers, not paths."""
    segment = checked(libc.shmget(land.ipc_key, 0, 0))
    at = libc.shmat(segment, None, 0o10000)
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return f"read {ctypes.string_at(at, 14)!r}"


@probe_in_a_child
def use_semaphores_of_others(land: Land) -> str:
    return str(checked(libc.semget(land.ipc_key, 1, 0)))


@probe_in_a_child
def use_messages_of_others(land: Land) -> str:
    return str(checked(libc.msgget(land.ipc_key, 0)))


@probe_in_a_child
def open_message_queue(land: Land) -> str:
    queue = checked(libc.mq_open(land.message_queue.encode(), O_RDONLY))
    os.close(queue)
    return "opened"


@probe_in_a_child
def open_virtual_machine(land: Land) -> str:
    os.close(os.open("/dev/kvm", os.O_RDWR))
    return "opened"


@probe_in_a_child
def make_control_group(land: Land) -> str:
    folder = Path("/sys/fs/cgroup", f"escaped-{os.getpid()}")
    try:
        folder.mkdir()
        folder.rmdir()
    except FileNotFoundError as error:
        raise Foiled(f"OSError: ENOSYS: {error}") from error
    return "made"
