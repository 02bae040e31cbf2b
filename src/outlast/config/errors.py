"""The one error of reading settings."""

from outlast.core.errors import OutlastError


class ConfigError(OutlastError):
    """The settings cannot be used; the text begins with the file and, where known, its line and key.

    Example: ``supabase/config.toml:12: edge_runtime.policy: 'per_wroker' is not one of per_worker, ...``.
    """
