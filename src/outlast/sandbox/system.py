"""The parts of the system that programs need to work at all: libraries, names, time zones, certificates."""

import functools
import os
from collections.abc import Iterable, Mapping

_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr", "/nix/store", "/gnu/store")
_PROGRAMS = ("/bin", "/sbin", *_LIBRARIES)

_ETC = (
    # Libraries and where they are.
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "ld-musl-x86_64.path", "ld-musl-aarch64.path"),
    # Names of machines, services, users.
    *("hosts", "host.conf", "hostname", "resolv.conf", "nsswitch.conf", "gai.conf", "services", "protocols"),
    *("networks", "passwd", "group"),
    # Certificates and what goes with them; the folders with private keys are beside these.
    *("ssl/certs", "ssl/cert.pem", "ssl/ca-bundle.pem", "ssl/openssl.cnf", "ca-certificates", "crypto-policies"),
    *("pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted"),
    # Time, files, the system's name.
    *("localtime", "timezone", "mime.types", "os-release", "fonts", "alternatives", "krb5.conf"),
)
_PROC = (
    # Parts of the process's own; others would show the sockets of the whole machine.
    *(f"self/{name}" for name in ("cgroup", "cmdline", "environ", "fd", "limits", "maps", "mountinfo")),
    *(f"self/{name}" for name in ("stat", "statm", "status")),
    *("cpuinfo", "meminfo", "stat", "loadavg", "uptime", "sys/kernel/osrelease", "sys/vm/overcommit_memory"),
)
_SYS = ("devices/system/cpu", "devices/system/node", "fs/cgroup", "kernel/mm/transparent_hugepage")

_FACTS = (
    *(f"/etc/{name}" for name in _ETC),
    *(f"/proc/{name}" for name in _PROC),
    *(f"/sys/{name}" for name in _SYS),
    # The targets of resolv.conf, in case it is replaced while a worker lives.
    *("/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
)
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that name other certificates to trust."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

RLIMITS = {"CORE": 0, "NOFILE": 4096, "FSIZE": 2**30}


@functools.cache
def libraries() -> list[str]:
    """Folders to be read by programs that run no others."""
    return _there(_LIBRARIES)


@functools.cache
def programs() -> list[str]:
    """Folders with programs to be run, and their libraries."""
    return _there(_PROGRAMS)


@functools.cache
def facts() -> list[str]:
    """Files to be read: settings and state of the system that are no secret."""
    return [path for path in _FACTS if os.path.isfile(path)]  # noqa: PTH113


@functools.cache
def more_facts() -> list[str]:
    """The same, in folders."""
    return [path for path in _FACTS if os.path.isdir(path)]  # noqa: PTH112


def named(env: Mapping[str, str], *variables: str) -> list[str]:
    """What these variables name, and those for certificates, as far as they are set."""
    return [env[name] for name in (*variables, *_CERTIFICATES) if name in env]


def _there(paths: Iterable[str]) -> list[str]:
    """The existing ones, without those beneath another one, such as /lib in /usr: each rule costs time at every
    start."""
    real = sorted({os.path.realpath(path) for path in paths if os.path.isdir(path)})  # noqa: PTH112
    return [path for path in real if not any(path.startswith(f"{other}/") for other in real)]
