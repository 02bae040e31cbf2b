"""What a Python function tries, and what stops it."""

import pytest
from tests.escape import probing
from tests.escape.land import Land
from tests.escape.probing import Capability

LANGUAGE = "python"

SUITE = probing.Suite(
    probing.python_probes(),
    needs={
        "read-etc-shadow": Capability.DAC_OVERRIDE,
        "read-file-of-another-user": Capability.DAC_OVERRIDE,
        "read-by-file-handle": Capability.DAC_OVERRIDE,
        "read-disk": Capability.DAC_OVERRIDE,
        "read-kernel-log": Capability.SYSLOG,
        "read-kernel-messages": Capability.SYSLOG,
        "make-device": Capability.MKNOD,
        "watch-file-system": Capability.SYS_ADMIN,
        "write-setting-of-kernel": Capability.DAC_OVERRIDE,
        "new-mount-namespace": Capability.SYS_ADMIN,
        "new-network-namespace": Capability.SYS_ADMIN,
        "new-process-namespace": Capability.SYS_ADMIN,
        "new-names-namespace": Capability.SYS_ADMIN,
        "new-ipc-namespace": Capability.SYS_ADMIN,
        "new-cgroup-namespace": Capability.SYS_ADMIN,
        "enter-namespaces-of-node": Capability.SYS_ADMIN,
        "mount-folder": Capability.SYS_ADMIN,
        "mount-in-place": Capability.SYS_ADMIN,
        "prepare-mount": Capability.SYS_ADMIN,
        "unmount-folder": Capability.SYS_ADMIN,
        "change-root": Capability.SYS_CHROOT,
        "set-host-name": Capability.SYS_ADMIN,
        "set-clock": Capability.SYS_TIME,
        "load-bpf-map": Capability.SYS_ADMIN,
        "call-as-32-bit": Capability.SYS_ADMIN,
        "handle-page-faults-by-device": Capability.DAC_OVERRIDE,
        "open-virtual-machine": Capability.DAC_OVERRIDE,
        "make-control-group": Capability.DAC_OVERRIDE,
        "open-raw-socket": Capability.NET_RAW,
        "open-raw-socket-of-ipv6": Capability.NET_RAW,
        "open-packet-socket": Capability.NET_RAW,
        "advise-memory-of-neighbour": Capability.SYS_NICE,
        "raise-own-priority": Capability.SYS_NICE,
        "run-in-real-time": Capability.SYS_NICE,
        "become-another-user": Capability.SETUID,
        "become-another-group": Capability.SETGID,
        "become-another-user-by-program": Capability.CHOWN,
        "give-file-away": Capability.CHOWN,
        "give-program-capabilities": Capability.SETFCAP,
        "gain-capabilities-by-program": Capability.CHOWN,
    },
    not_everywhere={
        "read-disk": "a disk that may be opened",
        "write-interpreter": "a Python that this user may change",
        "write-outlast-itself": "an installation that this user may change",
        "write-packages": "packages that this user may change",
        "make-control-group": "a hierarchy of control groups that may be written to",
        "new-user-namespace": "namespaces for everybody",
        "clone-into-user-namespace": "namespaces for everybody",
        "clone3-into-user-namespace": "namespaces for everybody",
        "change-root-in-user-namespace": "namespaces for everybody",
        "count-performance": "performance counters for everybody",
        "submit-by-ring": "io_uring",
        "call-as-32-bit": "programs of 32 bits",
        "call-as-x32": "x32",
        "handle-page-faults": "userfaultfd for everybody",
        "handle-page-faults-by-device": "/dev/userfaultfd",
        "open-virtual-machine": "/dev/kvm",
        "open-kernel-cipher": "AF_ALG",
        "open-socket-to-hypervisor": "AF_VSOCK",
        "listen-on-mptcp": "MPTCP",
        "type-into-terminal": "TIOCSTI",
        "dump-core": "core dumps in files, or the right to raise a limit",
        "allow-core-dumps": "a limit for core dumps above 0",
    },
    ends_bystander={"terminate-bystander", "terminate-bystander-by-the-kernel"},
    stays_open={
        "change-to-folder-outside",
        "let-go-of-lifeline",
        "listen-on-udp",
        "stat-secret-file",
    },
    held_by={
        "change-attributes-outside": "mounts",
        "change-mode-outside": "mounts",
        "change-times-outside": "mounts",
        "listen-on-tcp-by-number": "landlock-4",
        "signal-node": "landlock-6",
        "signal-starter-of-workers": "landlock-6",
        "signal-neighbour": "landlock-6",
        "signal-neighbour-by-descriptor": "landlock-6",
        "signal-group-of-neighbour": "landlock-6",
        "signal-thread-of-neighbour": "landlock-6",
        "terminate-neighbour": "landlock-6",
        "terminate-bystander": "landlock-6",
        "terminate-bystander-by-the-kernel": "landlock-6",
    },
)


@pytest.mark.parametrize("probe", SUITE.names)
async def test_python_function_cannot(probe: str, unconfined: Land, confined: Land) -> None:
    await SUITE.comes_through(probe, unconfined)
    await SUITE.is_held(probe, confined)


async def test_all_python_probes_are_made(confined: Land) -> None:
    assert await confined.probes() == sorted(SUITE.names)
    assert len(SUITE.names) - len(SUITE.named_in_docs) >= 30
