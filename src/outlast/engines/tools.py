"""The part of the node's environment for programs that fetch and build packages.

They do not get all of it: a function's settings can name a variable and a server to send it to (`.npmrc` can), and what
a package runs while it is built sees every variable.
"""

from collections.abc import Mapping

_NAMES = frozenset(
    [
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC"),
        *("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("CC", "CXX", "AR", "LD", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "PKG_CONFIG_PATH"),
        *("SDKROOT", "MACOSX_DEPLOYMENT_TARGET"),
    ]
)
_PREFIXES = ("LC_", "XDG_", "SSL_", "DENO_", "NPM_", "JSR_", "UV_", "PIP_", "CARGO_", "RUSTUP_", "NIX_", "GIT_")
"""They include, and must include, the variables with credentials for registries and indexes."""


def environment(of_node: Mapping[str, str]) -> dict[str, str]:
    """The variables to pass on. Case does not matter, as it does not for proxies and npm."""
    return {
        name: value for name, value in of_node.items() if name.upper() in _NAMES or name.upper().startswith(_PREFIXES)
    }
