"""What both fixtures, sync and async, have in common."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from outlast.testing import given
from outlast.testing.asking import Asking

__tracebackhide__ = True


class Served:
    """The served project."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    @property
    def url(self) -> str:
        """The URL of functions, without the function's name."""
        return self._asking.server.url

    @property
    def anon_key(self) -> str:
        """The key that callers send to functions that check tokens."""
        return self._asking.server.anon_key

    def settings(
        self,
        function: str | None = None,
        /,
        *,
        limits: Mapping[str, int] | None = None,
        scale: Mapping[str, int] | None = None,
        log: Mapping[str, int] | None = None,
        env: Mapping[str, str] | None = None,
        oneshot_background: str | None = None,
        policy: str | None = None,
    ) -> AbstractContextManager[None]:
        """Overrides the project's files within the block, for one function or for all.

        Args:
            limits, scale, log, oneshot_background: as in outlast.toml.
            env: environment variables.
            policy: only for all functions.

        Raises `Failure` for what cannot be set.
        """
        settings = given.settings(
            function, limits=limits, scale=scale, log=log, env=env, oneshot_background=oneshot_background, policy=policy
        )
        return self._asking.server.settings(settings)
