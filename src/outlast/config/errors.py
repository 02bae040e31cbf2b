"""The one error of reading settings."""

from pathlib import Path

from outlast.core.errors import OutlastError


class ConfigError(OutlastError):
    """The settings cannot be used; the text begins with the file and, where known, its line and key.

    Example: ``supabase/config.toml:12: edge_runtime.policy: 'per_wroker' is not one of per_worker, ...``.
    """

    def __init__(self, text: str, *, files: tuple[Path, ...] = ()) -> None:
        super().__init__(text)
        self.files = files
        """Existing or not: those that may make it good, beside the one that the text begins with."""
