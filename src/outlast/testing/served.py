"""What there is in every test, with and without an event loop."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from outlast.testing import given
from outlast.testing.asking import Asking

__tracebackhide__ = True


class Served:
    """The project that is served."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    @property
    def url(self) -> str:
        """Where functions are called, up to the function's name."""
        return self._asking.server.url

    @property
    def anon_key(self) -> str:
        """What callers show to functions that verify their callers."""
        return self._asking.server.anon_key

    def settings(
        self,
        function: str | None = None,
        /,
        *,
        limits: Mapping[str, int] | None = None,
        scale: Mapping[str, int] | None = None,
        env: Mapping[str, str] | None = None,
        oneshot_background: str | None = None,
        policy: str | None = None,
    ) -> AbstractContextManager[None]:
        """For one function, or for all: they win over the project's files within the block.

        Args:
            limits, scale, oneshot_background: as in outlast.toml.
            env: variables.
            policy: for all functions alone.

        Raises `Failure` for what cannot be set.
        """
        settings = given.settings(
            function, limits=limits, scale=scale, env=env, oneshot_background=oneshot_background, policy=policy
        )
        return self._asking.server.settings(settings)
