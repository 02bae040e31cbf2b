"""outlast.toml and the settings that override it at run time, for all functions and for single ones."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from outlast.config import variables
from outlast.config.errors import ConfigError
from outlast.config.toml_file import Section, WholeNumber
from outlast.core.balance import Scale
from outlast.core.limits import Limits
from outlast.core.policy import OneshotBackground, Policy
from outlast.core.printing import LogLimits
from outlast.core.records import DEFAULT_RETENTION, Retention

_MS = WholeNumber(1, 2_592_000_000, note="30 days", zero="no limit")
_COUNT = WholeNumber(1, 1_000)

_LIMITS = {
    "wall_clock_ms": _MS,
    "cpu_soft_ms": _MS,
    "cpu_hard_ms": _MS,
    # A worker by itself: about 30 MiB in Python, 40 to 46 in Deno, of which nine tenths of the least limit leave it 57.
    "memory_mb": WholeNumber(
        64, 1_048_576, note="1 TiB", zero="no limit", why="a worker takes up to 50 MiB before it does anything"
    ),
    "request_idle_ms": _MS,
    "idle_timeout_ms": _MS,
    "unload_grace_ms": _MS,
    "boot_timeout_ms": _MS,
}
_SCALE = {
    "max_workers": _COUNT,
    "concurrency": WholeNumber(1, 1_000_000),
    "standby": WholeNumber(0, 1_000),
    "max_backlog": WholeNumber(1, 1_000_000, why="the first request waits, too, until there is a worker"),
}
_LOG = {
    "lines_per_s": WholeNumber(1, 1_000_000, zero="no limit"),
    "burst_lines": WholeNumber(1, 100_000_000),
}

_LEDGER = {
    "retain_days": WholeNumber(1, 36_500, note="a hundred years", zero="no limit"),
    "retain_tasks": WholeNumber(1, 10**12, zero="no limit"),
    "retain_requests": WholeNumber(1, 10**12, zero="no limit"),
    "requests_per_s": WholeNumber(0, 1_000_000),
}


@dataclass(frozen=True)
class LedgerSettings:
    retention: Retention = DEFAULT_RETENTION
    requests_per_s: int = 100
    """How many successful requests a second are recorded at most; failed ones always are."""


@dataclass(frozen=True)
class Overrides:
    """What outlast.toml and the settings given at run time say of one function."""

    oneshot_background: OneshotBackground
    limits: Limits
    scale: Scale
    log: LogLimits


_OF_ONE = ("oneshot_background", "limits", "scale", "log")


@dataclass(frozen=True)
class Given:
    """Settings given at run time, which override all files until the node ends or they are withdrawn.

    They have the tables of outlast.toml, and also ``policy`` and ``env``.
    """

    root: Section
    functions: Section

    @classmethod
    def read(cls, root: Section) -> "Given":
        """Raises ConfigError for an unknown key, and for variables that cannot be set."""
        root.only(("policy", "env", *_OF_ONE, "functions"))
        given = cls(root, root.table("functions"))
        for name, section in given.functions.tables():
            section.only(("env", *_OF_ONE))
            given.env_of(name)
        given.env_of(None)
        return given

    @property
    def policy(self) -> Policy | None:
        return self.root.choice("policy", Policy)

    def env_of(self, name: str | None) -> Mapping[str, str]:
        """The variables for all functions, and for this one."""
        values: dict[str, str] = {}
        for section in self.sections(name):
            found = variables.of_section(section.table("env"))
            if found.warnings:
                raise ConfigError(found.warnings[0])
            values |= found.values
        return values

    def sections(self, name: str | None) -> list[Section]:
        return [self.root] if name is None else [self.root, self.functions.table(name)]


@dataclass(frozen=True)
class OwnFile:
    """All of outlast.toml, checked, and the settings given at run time."""

    root: Section
    functions: Section
    given: Given

    @classmethod
    def read(cls, root: Section, given: Given) -> "OwnFile":
        """Raises ConfigError for a wrong value in any section, also in that of a function that is not served."""
        root.only((*_OF_ONE, "ledger", "functions"))
        file = cls(root, root.table("functions"), given)
        # An error in the values for all functions must name those, not the function that happens to come first.
        _overrides(root)
        for _, section in file.functions.tables():
            section.only(_OF_ONE)
            _overrides(root, section)
        _overrides(root, given.root)
        for name in {*file.functions, *given.functions}:
            file.for_function(name)
        return file

    @property
    def ledger(self) -> LedgerSettings:
        given = _merged([self.root.table("ledger")], _LEDGER)
        requests_per_s = given.pop("requests_per_s", LedgerSettings.requests_per_s)
        kept = {key.removeprefix("retain_"): value for key, value in given.items()}
        return LedgerSettings(Retention(**kept), requests_per_s)

    def refuse_unknown_functions(self, known: Collection[str]) -> None:
        for section in (self.functions, self.given.functions):
            for name in section:
                if name not in known:
                    there_are = ", ".join(sorted(known)) or "none"
                    raise section.error(name, f"there is no such function; there are: {there_are}")

    def for_function(self, name: str) -> Overrides:
        return _overrides(self.root, self.functions.table(name), *self.given.sections(name))


def _overrides(*sections: Section) -> Overrides:
    """Merges the sections; later ones override earlier ones."""
    background = OneshotBackground.CUT
    for section in sections:
        background = section.choice("oneshot_background", OneshotBackground) or background
    return Overrides(
        background,
        _limits([section.table("limits") for section in sections]),
        Scale(**_merged([section.table("scale") for section in sections], _SCALE)),
        LogLimits(**_merged([section.table("log") for section in sections], _LOG)),
    )


def _merged(sections: list[Section], known: Mapping[str, WholeNumber]) -> dict[str, int]:
    found = {}
    for section in sections:
        section.only(known)
        for key, allowed in known.items():
            value = section.number(key, allowed, default=None)
            if value is not None:
                found[key] = value
    return found


def _limits(sections: list[Section]) -> Limits:
    given = _merged(sections, _LIMITS)
    hard = given.get("cpu_hard_ms", Limits.cpu_hard_ms)
    if hard and "cpu_soft_ms" not in given:
        # A default must not contradict a limit that was set.
        given["cpu_soft_ms"] = max(1, min(Limits.cpu_soft_ms, hard // 2))
    elif 0 < hard < given.get("cpu_soft_ms", 0):
        raise _soft_above_hard(sections, given["cpu_soft_ms"], hard)
    return Limits(**given)


def _soft_above_hard(sections: list[Section], soft: int, hard: int) -> ConfigError:
    """Blames the key in the narrowest section: what that inherits may well be right for others."""
    softs = [section for section in sections if "cpu_soft_ms" in section]
    hards = [section for section in sections if "cpu_hard_ms" in section]
    remedy = "a worker gets no new requests from the soft limit on, and is ended at the hard one"
    if hards and sections.index(hards[-1]) > sections.index(softs[-1]):
        problem = f"{hard} is less than cpu_soft_ms, {soft} ({softs[-1].where('cpu_soft_ms')})"
        return hards[-1].error("cpu_hard_ms", f"{problem}; {remedy}: set cpu_soft_ms here, too")
    if hards and hards[-1] is softs[-1]:
        return softs[-1].error("cpu_soft_ms", f"{soft} is more than cpu_hard_ms, {hard}; {remedy}")
    where = hards[-1].where("cpu_hard_ms") if hards else "by default"
    problem = f"{soft} is more than cpu_hard_ms, {hard} ({where})"
    return softs[-1].error("cpu_soft_ms", f"{problem}; {remedy}: set cpu_hard_ms here, too")
