"""What of the system itself programs need to work at all: libraries, names, time zones, certificates."""

LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr", "/opt", "/nix/store", "/gnu/store", "/snap")
PROGRAMS = ("/bin", "/sbin", *LIBRARIES)

_ETC = (
    # Libraries and where they are.
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "ld-musl-x86_64.path", "ld-musl-aarch64.path"),
    # Names of machines, services, users.
    *("hosts", "host.conf", "hostname", "resolv.conf", "nsswitch.conf", "gai.conf", "services", "protocols"),
    *("networks", "passwd", "group"),
    # Certificates and what goes with them; the folders with private keys are beside these.
    *("ssl/certs", "ssl/cert.pem", "ssl/ca-bundle.pem", "ssl/openssl.cnf", "ca-certificates", "crypto-policies"),
    *("pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted", "static"),
    # Time, files, the system's name.
    *("localtime", "timezone", "mime.types", "os-release", "fonts", "alternatives", "krb5.conf"),
)
_PROC = (
    # The process itself; there are no others to be seen.
    "self",
    *("cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems"),
    *("sys/kernel/osrelease", "sys/kernel/hostname", "sys/kernel/ostype", "sys/kernel/version"),
    *("sys/kernel/cap_last_cap", "sys/kernel/pid_max", "sys/kernel/random/boot_id", "sys/kernel/random/uuid"),
    *("sys/vm/overcommit_memory", "sys/vm/max_map_count", "sys/net/core/somaxconn"),
)
_SYS = ("devices/system/cpu", "devices/system/node", "fs/cgroup", "kernel/mm/transparent_hugepage")

FACTS = (
    *(f"/etc/{name}" for name in _ETC),
    *(f"/proc/{name}" for name in _PROC),
    *(f"/sys/{name}" for name in _SYS),
    # Where resolv.conf leads to, should it be replaced while a worker lives.
    *("/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
)
"""To be read."""
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Of a function's environment; they name what it trusts instead."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

RLIMITS = {"CORE": 0, "NOFILE": 4096, "FSIZE": 2**30}
