"""Tries out each layer in a child process, and prints the results as JSON by name: true, or the version of the layer,
or why it cannot be had. A script, run by `outlast.sandbox.layers`.
"""

import errno
import json
import os
import resource
import sys
from collections.abc import Callable

if __name__ == "__main__":
    sys.path.append(os.path.abspath(f"{__file__}/../../.."))  # noqa: PTH100, pathlib takes longer than all the rest

from outlast.sandbox import capabilities, kernel, landlock, mounts, seccomp, walls


class Missing(Exception):
    """The layer cannot be had; the text says why."""


def try_landlock() -> int:
    abi = landlock.version()
    if not abi:
        raise Missing("the kernel has no Landlock, or was not told to use it (lsm=landlock,... on its command line)")
    kernel.forbid_new_privileges()
    landlock.restrict([("/dev", landlock.READ)], listen_on=(), abi=abi)
    os.scandir("/dev")
    _must_fail(lambda: os.scandir("/"), errno.EACCES)
    return abi


def try_seccomp() -> bool:
    if not seccomp.works_here():
        raise Missing(f"the system calls of {os.uname().machine} are not known to Outlast")
    kernel.forbid_new_privileges()
    seccomp.install(seccomp.FOR_ALL)
    _must_fail(lambda: os.setpgid(0, 0), errno.EPERM)
    return True


def try_mounts() -> bool:
    try:
        mounts.make_read_only([])
    except PermissionError as error:
        raise Missing("neither CAP_SYS_ADMIN nor user namespaces are to be had") from error
    _must_fail(lambda: os.utime(__file__), errno.EROFS)
    return True


def try_no_new_privs() -> bool:
    kernel.forbid_new_privileges()
    return True


def try_rlimits() -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    return True


def try_capabilities() -> bool:
    capabilities.drop()
    if held := _held_capabilities():
        raise Missing(f"{held:x} are left")
    return True


def _held_capabilities() -> int:
    with open("/proc/self/status", "rb") as status:  # noqa: PTH123
        return int(next(line.split()[1] for line in status if line.startswith(b"CapPrm")), 16)


def _must_fail(call: Callable[[], object], number: int) -> None:
    try:
        call()
    except OSError as error:
        if error.errno == number:
            return
        raise
    raise Missing("it can be set up, but does not hold")


def attempt(layer: Callable[[], int]) -> int | str:
    """Tries a layer in a child process. Returns its result, or why it failed."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            outcome: int | str = layer()
        except Exception as error:
            outcome = str(error)
        os.write(w, json.dumps(outcome).encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as answer:
        said = answer.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(said) if said else f"trying it ended with {os.waitstatus_to_exitcode(status)}"


def main() -> None:
    tries: dict[str, Callable[[], int]] = {
        walls.LANDLOCK: try_landlock,
        walls.SECCOMP: try_seccomp,
        walls.MOUNTS: try_mounts,
        walls.PRIVILEGES: try_no_new_privs,
        walls.RLIMITS: try_rlimits,
    }
    if _held_capabilities():
        tries[walls.CAPABILITIES] = try_capabilities
    print(json.dumps({name: attempt(layer) for name, layer in tries.items()}))  # noqa: T201


if __name__ == "__main__":
    main()
