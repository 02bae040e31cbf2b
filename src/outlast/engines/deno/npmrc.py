"""What a .npmrc says of registries. Its tokens are left to Deno."""

import re
from collections.abc import Iterator, Mapping

_REGISTRY = re.compile(r"^[ \t]*(?:@[^:=\s]+:)?registry[ \t]*=.*", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


def registries(npmrc: bytes, env: Mapping[str, str]) -> list[str]:
    """The lines that name registries, with the values of variables as far as ``env`` has them."""
    return [_VARIABLE.sub(lambda found: env.get(found[1], found[0]), line) for line in _lines(npmrc)]


def variables(npmrc: bytes) -> frozenset[str]:
    """The variables that these lines name: without them Deno does not even start."""
    return frozenset(name for line in _lines(npmrc) for name in _VARIABLE.findall(line))


def _lines(npmrc: bytes) -> Iterator[str]:
    return (found[0].strip() for found in _REGISTRY.finditer(npmrc.decode("utf-8", "replace")))
