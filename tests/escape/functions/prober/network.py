"""Sockets. Calls to others over the network are what functions are for, and not tried here."""

import ctypes
import socket
import tempfile
from pathlib import Path

from attempt import PROBES, Foiled, Land, probe
from system import IS_X86, by_number

__all__ = ["PROBES"]

IPPROTO_MPTCP = 262
NETLINK_ROUTE, NETLINK_KOBJECT_UEVENT = 0, 15
RTM_GETLINK = 18
NLM_F_REQUEST_DUMP = 0x301
ETH_P_ALL = 0x0300
SOCKET_AND_BIND = ((41, 49), (198, 200))


def ask(path: str, request: bytes = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(path)
        client.sendall(request)
        answer = client.recv(4096)
    if not answer:
        raise Foiled("it says nothing")
    return f"it answers {answer[:40]!r}"


def own_socket(name: str) -> str:
    path = Path(tempfile.gettempdir(), name)
    path.unlink(missing_ok=True)
    return str(path)


@probe
def request_at_socket_of_neighbour(land: Land) -> str:
    """Past the gateway, its checks and its records."""
    return ask(f"{land.victim['folder']}/http.sock")


@probe
def connect_to_socket_of_neighbour_found(land: Land) -> str:
    """Without being told where it is, as every probe of this kind would have to."""
    own_folder = Path(tempfile.gettempdir()).parent
    other = next(
        path for path in [each / "http.sock" for each in own_folder.parent.iterdir()] if path.parent != own_folder
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(other))
    return f"connected to {other}"


@probe
def connect_to_control_socket_of_neighbour(land: Land) -> str:
    """To speak for another worker."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(f"{land.victim['folder']}/control.sock")
    return "connected"


@probe
def connect_to_unix_socket_outside(land: Land) -> str:
    """As a database or a container engine has one."""
    return ask(land.unix_socket)


@probe
def send_to_unix_socket_outside(land: Land) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"escaped", land.datagram_socket)
    return "sent"


@probe
def send_from_pair_to_unix_socket_outside(land: Land) -> str:
    """The peer that a datagram socket has is only where it sends by default."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        here.sendto(b"escaped", land.datagram_socket)
    return "sent"


@probe
def connect_pair_to_unix_socket_outside(land: Land) -> str:
    """The kernel makes datagram sockets of raw ones, where they are unix sockets."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)
    with here, there:
        here.connect(land.datagram_socket)
        here.send(b"escaped")
    return "sent"


@probe
def connect_to_abstract_socket(land: Land) -> str:
    return ask(f"\0{land.abstract_socket}")


@probe
def send_to_abstract_socket(land: Land) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"escaped", f"\0{land.abstract_datagram_socket}")
    return "sent"


@probe
def listen_on_abstract_socket(land: Land) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"\0escaped-{land.abstract_socket}")
        server.listen()
    return "listened"


@probe
def listen_on_unix_socket_outside(land: Land) -> str:
    path = Path(land.hideout, "escaped.sock")
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
    path.unlink()
    return "bound"


@probe
def listen_in_folder_of_neighbour(land: Land) -> str:
    path = Path(land.victim["folder"], "node.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
    path.unlink()
    return "bound"


@probe
def listen_on_tcp(land: Land) -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"listened on {server.getsockname()}"


@probe
def listen_on_tcp_without_bind(land: Land) -> str:
    """listen(2) takes a free port where bind(2) has not been called."""
    with socket.socket() as server:
        server.listen()
        return f"listened on {server.getsockname()}"


@probe
def listen_on_mptcp(land: Land) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        return f"listened on {server.getsockname()}"


@probe
def listen_on_udp(land: Land) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        return f"listened on {server.getsockname()}"


@probe
def open_raw_socket(land: Land) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return "opened"


@probe
def open_raw_socket_of_ipv6(land: Land) -> str:
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6):
        return "opened"


@probe
def open_packet_socket(land: Land) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ETH_P_ALL):
        return "opened"


@probe
def ask_kernel_over_netlink(land: Land) -> str:
    """Routes, addresses and, for root, their change."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as netlink:
        netlink.settimeout(5)
        netlink.bind((0, 0))
        header = (32).to_bytes(4, "little") + RTM_GETLINK.to_bytes(2, "little")
        header += NLM_F_REQUEST_DUMP.to_bytes(2, "little") + bytes(8)
        netlink.send(header + bytes(16))
        return f"{len(netlink.recv(1 << 16))} bytes of interfaces"


@probe
def listen_to_kernel_events(land: Land) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as netlink:
        netlink.bind((0, 1))
        return "bound"


@probe
def open_kernel_cipher(land: Land) -> str:
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET):
        return "opened"


@probe
def open_socket_to_hypervisor(land: Land) -> str:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM):
        return "opened"


@probe
def listen_on_tcp_by_number(land: Land) -> str:
    """Past whatever the C library may have in place of them."""
    (create, bind) = SOCKET_AND_BIND[0 if IS_X86 else 1]
    descriptor = by_number(create, socket.AF_INET, socket.SOCK_STREAM, 0)
    with socket.socket(fileno=descriptor) as server:
        address = socket.AF_INET.to_bytes(2, "little") + bytes(2) + socket.inet_aton("127.0.0.1") + bytes(8)
        by_number(bind, descriptor, ctypes.create_string_buffer(address, 16), 16)
        return f"bound to {server.getsockname()}"
