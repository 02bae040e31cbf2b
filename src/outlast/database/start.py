"""Runs one of PostgreSQL's programs as PostgreSQL wants to be run: not as root, and not longer than the node.

A program of its own, started by path; it knows nothing but the standard library. Arguments: the process id of the node,
the folder that the program shall own, and the command.
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x1000_0000
PR_SET_PDEATHSIG = 1


def main(node: int, folder: Path, command: list[str]) -> None:
    os.setsid()
    if os.geteuid() == 0:
        cease_to_be_root(folder)
    elif not has_name(os.geteuid()):
        take_name(os.geteuid())
    if sys.platform == "linux":
        # Last, because a change of the user clears it. SIGINT is PostgreSQL's "fast shutdown".
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() not in (node, 0):
            sys.exit("the node is gone")
    os.execv(command[0], command)  # noqa: S606


def cease_to_be_root(folder: Path) -> None:
    """PostgreSQL refuses to run as root, and looks no further than at the number of the user.

    In a user namespace (user_namespaces(7)) root can have another number and stay the owner of its files, without any
    of root's capabilities. Where there are no such namespaces it becomes nobody, who then owns the folder, but has to
    get there: through a folder that is root's alone nobody can.
    """
    nobody = pwd.getpwnam("nobody")
    try:
        enter_namespace(nobody.pw_uid, nobody.pw_gid)
    except OSError:
        own(folder, nobody.pw_uid, nobody.pw_gid)
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)


def has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def take_name(uid: int) -> None:
    """initdb insists on one, which the user of a container need not have. In a user namespace it is nobody's."""
    try:
        nobody = pwd.getpwnam("nobody")
        enter_namespace(nobody.pw_uid, nobody.pw_gid)
    except (KeyError, OSError):
        sys.stdout.write(
            f"user {uid} has no entry in /etc/passwd, which PostgreSQL needs, nor may it have another number in a user "
            f"namespace: add the entry (in a Dockerfile: RUN useradd --uid {uid} outlast), or use --database URL.\n"
        )
        sys.stdout.flush()


def enter_namespace(uid: int, gid: int) -> None:
    """This process's user and group become these, for itself alone.

    Raises OSError where the system, or the container, does not allow it.
    """
    before, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespaces")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {before} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {group} 1")


def own(folder: Path, uid: int, gid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
