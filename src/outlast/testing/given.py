"""Settings by which tests override the project's files, in the form of `PUT /v1/settings`."""

from collections.abc import Iterable, Mapping
from typing import Any

from outlast.testing.errors import Failure

__tracebackhide__ = True

Settings = Mapping[str, Any]
OF_ALL = ("limits", "scale", "log", "env", "oneshot_background", "policy")


def settings(function: str | None = None, /, **values: Any) -> Settings:
    """Settings for one function, or for all. Raises `Failure` for what cannot be set."""
    said = {name: value for name, value in values.items() if value is not None}
    if function is not None and "policy" in said:
        raise Failure(f"policy is for all functions: it cannot be set for {function!r} alone")
    for name in said:
        if name not in OF_ALL:
            raise Failure(f"there is no setting {name!r}; there are: {', '.join(OF_ALL)}")
    return said if function is None or not said else {"functions": {function: said}}


def together(given: Iterable[Settings]) -> dict[str, Any]:
    """Merges settings; later ones override earlier ones."""
    found: dict[str, Any] = {}
    for one in given:
        for name, value in one.items():
            found[name] = together([found.get(name, {}), value]) if isinstance(value, Mapping) else value
    return found
