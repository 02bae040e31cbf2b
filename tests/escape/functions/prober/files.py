"""Files that are somebody else's, by every road that leads to them."""

import ctypes
import importlib.util
import os
import site
import stat
import subprocess
import tempfile
from pathlib import Path

from attempt import PROBES, Foiled, Land, probe
from system import checked, libc

import outlast

__all__ = ["PROBES"]

AT_FDCWD = -100
IN_CREATE = 0x100
FAN_CREATE = 0x100
FAN_REPORT_DIR_FID = 0xC00
FAN_MARK_ADD = 0x1
FAN_ONDIR = 0x40000000


def own(name: str) -> Path:
    """A path in the worker's own temporary folder, where there is nothing yet."""
    path = Path(tempfile.gettempdir(), name)
    path.unlink(missing_ok=True)
    return path


def read(path: str | Path, wanted: str) -> str:
    text = Path(path).read_bytes().decode(errors="replace")
    if wanted not in text:
        raise Foiled(f"{path} says {text[:200]!r}")
    return f"read {path}"


def names(folder: str | Path) -> str:
    return " ".join(path.name for path in Path(folder).iterdir())


def write(path: str | Path) -> str:
    """Makes a new file there, and takes it away again."""
    place = Path(path) / f"escaped-{os.getpid()}"
    place.write_text("escaped")
    place.unlink()
    return f"wrote {place}"


def append(path: str | Path) -> str:
    """Opens a file for writing, and leaves it as it is."""
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    return f"can append to {path}"


# Reading.


@probe
def read_secret_file(land: Land) -> str:
    return read(land.secret, "the secret")


@probe
def read_etc_shadow(land: Land) -> str:
    return read("/etc/shadow", "root:")


@probe
def read_environment_of_node(land: Land) -> str:
    return read(f"/proc/{land.node_pid}/environ", "SECRET_OF_THE_NODE")


@probe
def read_environment_of_neighbour(land: Land) -> str:
    # What it says is empty where the worker has not executed a program.
    environment = Path(f"/proc/{land.victim['pid']}/environ")
    return f"read {environment.read_bytes()!r}"


@probe
def read_environment_of_parent(land: Land) -> str:
    environment = Path(f"/proc/{os.getppid()}/environ")
    return f"read {environment.read_bytes()!r}"


@probe
def read_command_line_of_node(land: Land) -> str:
    return read(f"/proc/{land.node_pid}/cmdline", "outlast")


@probe
def read_memory_map_of_neighbour(land: Land) -> str:
    return read(f"/proc/{land.victim['pid']}/maps", "r-xp")


@probe
def read_memory_file_of_neighbour(land: Land) -> str:
    with Path(f"/proc/{land.victim['pid']}/mem").open("rb", 0) as memory:
        memory.seek(land.victim["address"])
        return f"read {memory.read(14)!r}"


@probe
def list_open_files_of_node(land: Land) -> str:
    return names(f"/proc/{land.node_pid}/fd")


@probe
def read_through_root_of_node(land: Land) -> str:
    return read(f"/proc/{land.node_pid}/root{land.secret}", "the secret")


@probe
def read_through_own_root(land: Land) -> str:
    return read(f"/proc/self/root{land.secret}", "the secret")


@probe
def read_through_folders_up(land: Land) -> str:
    return read("/".join([os.curdir, *([os.pardir] * 40)]) + land.secret, "the secret")


@probe
def read_source_of_neighbour(land: Land) -> str:
    return read(f"{land.functions}/victim/main.py", "what the prober is after")


@probe
def import_module_of_neighbour(land: Land) -> str:
    spec = importlib.util.spec_from_file_location("neighbour", f"{land.functions}/victim/private.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return f"imported {module.SECRET!r}"


@probe
def read_env_file(land: Land) -> str:
    return read(f"{land.functions}/.env", "GIVEN_TO_ALL")


@probe
def read_config_of_project(land: Land) -> str:
    return read(f"{land.project}/supabase/config.toml", "[functions.victim.env]")


@probe
def read_state_of_project(land: Land) -> str:
    return read(land.state_file, "state")


@probe
def read_temporary_file_of_neighbour(land: Land) -> str:
    return read(land.victim["file"], "kept in a file")


@probe
def read_file_of_another_user(land: Land) -> str:
    return read(f"{land.functions}/prober/of-another-user.txt", "of another user")


@probe
def list_run_folder(land: Land) -> str:
    return names(Path(land.victim["folder"]).parent)


@probe
def list_folder_of_neighbour(land: Land) -> str:
    return names(land.victim["folder"])


@probe
def list_functions(land: Land) -> str:
    return names(land.functions)


@probe
def list_system_temporary_folder(land: Land) -> str:
    return names("/tmp")


@probe
def list_home(land: Land) -> str:
    return names(land.home)


@probe
def list_processes(land: Land) -> str:
    found = [name for name in names("/proc").split() if name.isdigit() and int(name) != os.getpid()]
    if str(land.node_pid) not in found:
        raise Foiled(f"PermissionError: of other processes there are {found}")
    return f"{len(found)} other processes"


@probe
def read_table_of_unix_sockets(land: Land) -> str:
    return read("/proc/net/unix", land.victim["folder"])


@probe
def read_table_of_mounts(land: Land) -> str:
    return read(f"/proc/{land.node_pid}/mountinfo", " / ")


@probe
def read_through_symbolic_link(land: Land) -> str:
    link = own("symbolic")
    link.symlink_to(land.secret)
    return read(link, "the secret")


@probe
def read_through_hard_link(land: Land) -> str:
    link = own("hard")
    os.link(land.secret, link)
    return read(link, "the secret")


@probe
def read_through_link_in_own_folder(land: Land) -> str:
    """Whoever may write a function's files may not for that reason read all others."""
    return read(Path(__file__).with_name("link.txt"), "the secret")


@probe
def read_by_program(land: Land) -> str:
    ended = subprocess.run(["/bin/cat", land.secret], capture_output=True, text=True)
    if ended.returncode:
        raise Foiled(ended.stderr)
    return ended.stdout


@probe
def read_by_moving(land: Land) -> str:
    moved = own("moved")
    source = Path(land.hideout, "to-be-moved.txt")
    source.rename(moved)
    text = read(moved, "movable")
    moved.rename(source)
    return text


@probe
def read_by_file_handle(land: Land) -> str:
    """open_by_handle_at(2) looks at no folder on its way."""

    class Handle(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_char * 128))

    handle, mount = Handle(size=128), ctypes.c_int()
    libc_name = libc.name_to_handle_at
    checked(libc_name(AT_FDCWD, land.secret.encode(), ctypes.byref(handle), ctypes.byref(mount), 0))
    anchor = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        descriptor = checked(libc.open_by_handle_at(anchor, ctypes.byref(handle), os.O_RDONLY))
    finally:
        os.close(anchor)
    with os.fdopen(descriptor) as file:
        return f"read {file.read()!r}"


@probe
def read_disk(land: Land) -> str:
    """Where all files are, and no permissions."""
    with Path(land.disk).open("rb", 0) as disk:
        return f"read {len(disk.read(512))} bytes"


@probe
def make_device(land: Land) -> str:
    """The kernel's memory, or any disk, is a number away."""
    device = own("null")
    os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    device.unlink()
    return "made"


@probe
def read_kernel_log(land: Land) -> str:
    os.close(os.open("/dev/kmsg", os.O_RDONLY))
    return "opened /dev/kmsg"


@probe
def stat_secret_file(land: Land) -> str:
    return f"{Path(land.secret).stat().st_size} bytes"


@probe
def change_to_folder_outside(land: Land) -> str:
    before = Path.cwd()
    os.chdir(land.hideout)
    os.chdir(before)
    return "was there"


@probe
def resolve_link_outside(land: Land) -> str:
    return str(Path(f"/proc/{land.node_pid}/exe").readlink())


@probe
def watch_folder_of_neighbour(land: Land) -> str:
    descriptor = checked(libc.inotify_init1(os.O_CLOEXEC))
    try:
        checked(libc.inotify_add_watch(descriptor, land.victim["folder"].encode(), IN_CREATE))
    finally:
        os.close(descriptor)
    return "would be told of every new file"


@probe
def watch_file_system(land: Land) -> str:
    descriptor = checked(libc.fanotify_init(FAN_REPORT_DIR_FID, os.O_RDONLY))
    try:
        folder = os.fsencode(land.hideout)
        mask = ctypes.c_uint64(FAN_CREATE | FAN_ONDIR)
        checked(libc.fanotify_mark(descriptor, FAN_MARK_ADD, mask, AT_FDCWD, folder))
    finally:
        os.close(descriptor)
    return "would be told of every new file"


# Writing.


@probe
def write_own_source(land: Land) -> str:
    return append(Path(__file__))


@probe
def write_own_folder(land: Land) -> str:
    return write(f"{land.functions}/prober")


@probe
def write_shared_source(land: Land) -> str:
    return append(f"{land.functions}/_shared/data.txt")


@probe
def write_source_of_neighbour(land: Land) -> str:
    return append(f"{land.functions}/victim/main.py")


@probe
def write_folder_of_neighbour(land: Land) -> str:
    return write(f"{land.functions}/victim")


@probe
def write_new_function(land: Land) -> str:
    folder = Path(land.functions, ".planted")
    folder.mkdir()
    folder.rmdir()
    return f"made {folder}"


@probe
def write_env_file(land: Land) -> str:
    return append(f"{land.functions}/.env")


@probe
def write_config_of_project(land: Land) -> str:
    return append(f"{land.project}/supabase/config.toml")


@probe
def write_state_of_project(land: Land) -> str:
    return append(land.state_file)


@probe
def write_packages(land: Land) -> str:
    return write(site.getsitepackages()[0])


@probe
def write_outlast_itself(land: Land) -> str:
    return append(outlast.__file__)


@probe
def write_interpreter(land: Land) -> str:
    return write(Path(os.__file__).parent)


@probe
def write_deno_dir(land: Land) -> str:
    return write(land.deno_dir)


@probe
def write_system_temporary_folder(land: Land) -> str:
    return write("/tmp")


@probe
def write_home(land: Land) -> str:
    return write(land.home)


@probe
def write_shared_memory_folder(land: Land) -> str:
    return write("/dev/shm")


@probe
def write_run_folder(land: Land) -> str:
    return write(Path(land.victim["folder"]).parent)


@probe
def write_temporary_folder_of_neighbour(land: Land) -> str:
    return write(Path(land.victim["folder"], "tmp"))


@probe
def write_outside(land: Land) -> str:
    return write(land.hideout)


@probe
def write_through_symbolic_link(land: Land) -> str:
    link = own("symbolic-folder")
    link.symlink_to(land.hideout)
    return write(link)


@probe
def truncate_outside(land: Land) -> str:
    os.truncate(Path(land.hideout, "to-be-cut.txt"), 0)
    return "cut it"


@probe
def remove_outside(land: Land) -> str:
    Path(land.hideout, "to-be-removed.txt").unlink()
    return "removed it"


@probe
def make_folder_outside(land: Land) -> str:
    folder = Path(land.hideout, f"folder-{os.getpid()}")
    folder.mkdir()
    return f"made {folder}"


@probe
def make_link_outside(land: Land) -> str:
    link = Path(land.hideout, f"link-{os.getpid()}")
    link.symlink_to("/etc/passwd")
    return f"made {link}"


@probe
def lead_node_astray(land: Land) -> str:
    """The node connects to what it finds in a worker's folder, and may connect to more than the worker may."""
    link = Path(tempfile.gettempdir()).with_name("node.sock")
    link.symlink_to(land.unix_socket)
    link.unlink()
    return f"made {link}"


@probe
def lead_node_astray_by_moving(land: Land) -> str:
    made, link = own("astray"), Path(tempfile.gettempdir()).with_name("node.sock")
    made.symlink_to(land.unix_socket)
    made.rename(link)
    link.unlink()
    return f"made {link}"


@probe
def move_file_outside(land: Land) -> str:
    source = own("mine")
    source.write_text("mine")
    return str(source.rename(Path(land.hideout, f"mine-{os.getpid()}")))


@probe
def make_pipe_outside(land: Land) -> str:
    pipe = Path(land.hideout, f"pipe-{os.getpid()}")
    os.mkfifo(pipe)
    return f"made {pipe}"


@probe
def change_mode_outside(land: Land) -> str:
    Path(land.hideout, "to-be-changed.txt").chmod(0o640)
    return "changed it"


@probe
def change_times_outside(land: Land) -> str:
    os.utime(Path(land.hideout, "to-be-changed.txt"), (0, 0))
    return "changed them"


@probe
def change_attributes_outside(land: Land) -> str:
    os.setxattr(Path(land.hideout, "to-be-changed.txt"), "user.escaped", b"yes")
    return "changed them"


@probe
def write_setting_of_kernel(land: Land) -> str:
    return append("/proc/sys/kernel/hostname")


@probe
def write_process_file_of_neighbour(land: Land) -> str:
    return append(f"/proc/{land.victim['pid']}/oom_score_adj")


@probe
def write_memory_file_of_neighbour(land: Land) -> str:
    with Path(f"/proc/{land.victim['pid']}/mem").open("r+b", 0) as memory:
        memory.seek(land.victim["address"])
        return f"wrote {memory.write(b'kept')} bytes"
