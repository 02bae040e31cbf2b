"""What the admin API needs from the node."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from outlast.ledger.ledger import Ledger
from outlast.supervisor.fleet import Fleet
from outlast.telemetry.counts import Counts
from outlast.telemetry.logs import Log


@dataclass(frozen=True)
class Node:
    fleet: Fleet
    ledger: Ledger
    log: Log
    counts: Counts
    reload: Callable[[], None]
    """Reads the settings again. Raises OutlastError if they are wrong; then the old ones stay."""
    settings: Callable[[], Mapping[str, object]]
    """The settings given at run time."""
    give: Callable[[Mapping[str, object]], None]
    """Sets settings that override the files until the node ends. Raises OutlastError; then the old ones stay."""
    url: str
    admin_url: str
    started: datetime
    anon_key: Callable[[], str]
    """The key that callers may send to functions that check tokens; public by design."""
