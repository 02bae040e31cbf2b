"""The settings of a project: read once, checked, frozen."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from outlast.config import address, auth, discovery, layout, third_party, toml_file, variables
from outlast.config.auth import JwtSettings
from outlast.config.dotenv_file import Environment
from outlast.config.errors import ConfigError
from outlast.config.inspection import HIGHEST_PORT, InspectMode, Inspector, inspected
from outlast.config.layout import Layout
from outlast.config.local_keys import LOCAL_JWT_SECRET
from outlast.config.overrides import Given, LedgerSettings, OwnFile
from outlast.config.toml_file import Section, WholeNumber
from outlast.core.balance import Scale
from outlast.core.language import Language
from outlast.core.limits import Limits
from outlast.core.policy import OneshotBackground, Policy
from outlast.core.printing import LogLimits

__all__ = ["ConfigError", "FunctionSettings", "JwtSettings", "LedgerSettings", "Project", "load"]

_PORT = WholeNumber(0, HIGHEST_PORT)
_INSPECTOR_PORT = 8083
"""The same as in Supabase's CLI."""
_RUNTIME_KEYS = ("enabled", "policy", "inspector_port", "deno_version", "secrets")
DENO_CONFIGS = ("deno.json", "deno.jsonc")
_TOLD_REASONS = 3
"""Of folders that are no functions: where there are none, any folder may have been named."""
_FUNCTION_KEYS = ("enabled", "verify_jwt", "entrypoint", "import_map", "static_files", "env")
"""Of config.toml: what counts here, or is known to Supabase's own tools."""


@dataclass(frozen=True)
class FunctionSettings:
    """Everything known of a function before its code runs. Paths are absolute."""

    name: str
    folder: Path
    """The function's own folder; for a single file, its parent."""
    entrypoint: Path
    language: Language
    verify_jwt: bool
    env: Mapping[str, str] = field(repr=False)
    """The function's whole environment, except ``SB_EXECUTION_ID``, which differs for each worker."""
    import_map: Path | None = None
    """Named in config.toml; without that and without a ``deno_config`` of its own, import_map.json beside the
    entrypoint, in the folder or in the functions folder."""
    deno_config: Path | None = None
    """deno.json or deno.jsonc: its own, named as ``import_map`` in config.toml, beside the entrypoint or in the folder;
    or else that of all functions, in the functions folder."""
    package_json: Path | None = None
    """Beside the entrypoint, in the folder or in the functions folder."""
    npmrc: Path | None = None
    """Beside the function's own ``deno_config``; without one, in the same places as ``package_json``."""
    static_files: tuple[Path, ...] = ()
    oneshot_background: OneshotBackground = OneshotBackground.CUT
    limits: Limits = field(default_factory=Limits)
    scale: Scale = field(default_factory=Scale)
    log: LogLimits = field(default_factory=LogLimits)
    inspector: Inspector | None = None
    """Where a debugger can be attached; None: nowhere."""


@dataclass(frozen=True)
class Project:
    """A folder of functions, ready to be served."""

    root: Path
    """The folder that holds ``supabase``, or the folder of functions itself."""
    functions_dir: Path
    state_dir: Path
    """For Outlast's own files; may not exist yet."""
    policy: Policy
    inspector_port: int
    """Of the first function that a debugger can be attached to."""
    functions: Mapping[str, FunctionSettings]
    """The enabled ones, by name."""
    jwt: JwtSettings
    ledger: LedgerSettings
    sources: tuple[Path, ...]
    """The files that all this was read from, existing or not: load again when one of them changes."""
    warnings: tuple[str, ...]
    """To be logged once."""

    @property
    def tokens_prove_nothing(self) -> bool:
        """Whether functions want a token, and the secret to make one with is public."""
        return self.jwt.secret == LOCAL_JWT_SECRET and any(each.verify_jwt for each in self.functions.values())


def load(
    target: Path,
    *,
    environ: Mapping[str, str],
    env_file: Path | None = None,
    policy: Policy | None = None,
    verify_jwt: bool = True,
    url: str = address.URL,
    database_url: str | None = None,
    inspect: InspectMode | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
) -> Project:
    """Reads the settings of the project that ``target`` names.

    ``target`` is a folder that holds ``supabase/functions``, that folder itself, any folder of functions, or
    one function file. ``environ`` is the environment of the process. ``policy`` overrides config.toml, and
    ``verify_jwt=False`` switches the check off for every function. ``url`` is where the gateway listens, and
    ``database_url`` the database for functions that are given no other. ``inspect``: whether and how debuggers
    can be attached. ``given``: settings that override all of these, in tables like those of outlast.toml, and also
    ``policy`` and ``env``.

    Raises ConfigError for whatever is wrong or missing; nothing is guessed.
    """
    try:
        project = _read(target, environ, env_file, url, database_url, given, policy)
    except OSError as error:
        # Any look at the disk can meet a folder without permission or a name that is too long.
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error
    functions = project.functions
    if not verify_jwt:
        functions = {name: replace(function, verify_jwt=False) for name, function in functions.items()}
    if inspect is not None:
        functions = inspected(functions, inspect, project.inspector_port)
    return replace(project, functions=MappingProxyType(functions))


def _read(
    target: Path,
    environ: Mapping[str, str],
    env_file: Path | None,
    url: str,
    database_url: str | None,
    given_values: Mapping[str, object],
    policy: Policy | None,
) -> Project:
    where = layout.locate(target)
    folders = tuple(dict.fromkeys((where.settings_dir, where.root)))
    environment = Environment(environ, folders, where.shown)
    config_path, own_path = where.settings_dir / "config.toml", where.settings_dir / "outlast.toml"
    env_path = Path(os.path.abspath(env_file)) if env_file is not None else None  # noqa: PTH100
    config = toml_file.read(config_path, where.shown(config_path), environment)
    own = toml_file.read(own_path, where.shown(own_path), environment)

    runtime = config.table("edge_runtime")
    if not runtime.flag("enabled", default=True):
        raise runtime.error("enabled", "is false: edge functions are switched off; set it to true to serve them")
    keys = auth.read(config.table("auth"), environ, where)

    sections = config.table("functions")
    disabled = frozenset(name for name, section in sections.tables() if not section.flag("enabled", default=True))
    candidates = discovery.discover(where, sections, disabled)
    secrets = variables.of_section(runtime.table("secrets"))
    from_file = variables.of_file(where, env_path)
    warnings = [*_misspelt(config), *keys.variables.warnings, *candidates.warnings]
    warnings += [*secrets.warnings, *from_file.warnings]
    env = variables.defaults(environ, keys.variables.values, url=url, database_url=database_url)
    env |= {**secrets.values, **from_file.values}
    key_set = variables.local_key_set(env, jwt_secret=keys.jwt.secret)
    if key_set is not None:
        env.setdefault("SUPABASE_JWKS", key_set)
    jwt = replace(keys.jwt, jwks=keys.jwt.jwks or key_set, api_keys=variables.api_keys(env))

    given = Given.read(toml_file.given(given_values, "settings", environment))
    own_file = OwnFile.read(own, given)
    if where.only_file is None:
        own_file.refuse_unknown_functions({*candidates.found, *disabled})
    dotenvs = {} if env_path else {name: where.functions_dir / name / ".env" for name in candidates.found}
    functions = {
        name: _function(where, candidate, sections.table(name), own_file, env, dotenvs.get(name), warnings)
        for name, candidate in candidates.found.items()
    }
    from_config = runtime.choice("policy", Policy) or Policy.PER_WORKER
    if not functions and not disabled:
        raise _nothing_to_serve(where, warnings)

    return Project(
        root=where.root,
        functions_dir=where.functions_dir,
        state_dir=where.root / layout.STATE,
        policy=given.policy or policy or from_config,
        inspector_port=runtime.number("inspector_port", _PORT, default=_INSPECTOR_PORT) or _INSPECTOR_PORT,
        functions=MappingProxyType(functions),
        jwt=jwt,
        ledger=own_file.ledger,
        sources=(
            config_path,
            own_path,
            env_path or where.functions_dir / ".env",
            *dotenvs.values(),
            *keys.sources,
            *environment.consulted,
        ),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _misspelt(config: Section) -> Iterator[str]:
    """Other keys of config.toml belong to other tools, but one that is nearly the same is most likely a slip."""
    yield from config.misspelt(("edge_runtime", "functions"))
    yield from config.table("edge_runtime").misspelt(_RUNTIME_KEYS)
    yield from config.table("auth").misspelt(auth.KEYS, auth.KEYS_OF_OTHERS)
    yield from config.table("auth").table("third_party").misspelt([*third_party.PROVIDERS])
    for _, section in config.table("functions").tables():
        yield from section.misspelt(_FUNCTION_KEYS)


def _function(
    where: Layout,
    candidate: discovery.Candidate,
    section: Section,
    own_file: OwnFile,
    env: Mapping[str, str],
    dotenv: Path | None,
    warnings: list[str],
) -> FunctionSettings:
    folders = (candidate.entrypoint.parent, candidate.folder)
    around = (*folders, where.functions_dir)
    own_config = _deno_config(folders)
    import_map = discovery.existing_file(where, section, "import_map")
    if import_map is None and own_config is None:
        import_map = _first_file(folder / "import_map.json" for folder in around)
    elif import_map is not None and import_map.name in DENO_CONFIGS:
        # Supabase's CLI writes this into the settings of each function that it makes.
        own_config, import_map = import_map, None
    own = variables.of_function(section, where, dotenv)
    warnings += own.warnings
    overrides = own_file.for_function(candidate.name)
    given = own_file.given.env_of(candidate.name)
    return FunctionSettings(
        name=candidate.name,
        folder=candidate.folder,
        entrypoint=candidate.entrypoint,
        language=candidate.language,
        verify_jwt=section.flag("verify_jwt", default=True),
        env=MappingProxyType({**env, **own.values, **given, "SUPABASE_FUNCTION_SLUG": candidate.name}),
        import_map=import_map,
        deno_config=own_config or _deno_config([where.functions_dir]),
        package_json=_first_file(folder / "package.json" for folder in around),
        npmrc=_first_file(folder / ".npmrc" for folder in (around if own_config is None else [own_config.parent])),
        static_files=_static_files(where, section, warnings),
        oneshot_background=overrides.oneshot_background,
        limits=overrides.limits,
        scale=overrides.scale,
        log=overrides.log,
    )


def _deno_config(folders: Iterable[Path]) -> Path | None:
    return _first_file(folder / name for folder in folders for name in DENO_CONFIGS)


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _static_files(where: Layout, section: Section, warnings: list[str]) -> tuple[Path, ...]:
    found: dict[Path, None] = {}
    for pattern in section.texts("static_files"):
        # Path.glob takes neither absolute patterns nor ones with `..`, and Supabase's CLI takes both.
        matches = glob.glob(pattern, root_dir=where.settings_dir, recursive=True, include_hidden=True)  # noqa: PTH207
        if not matches:
            warnings.append(f"{section.where('static_files')}: no file matches {pattern!r}")
        for match in sorted(matches):
            found[where.path(match)] = None
    return tuple(found)


def _nothing_to_serve(where: Layout, warnings: list[str]) -> ConfigError:
    rest = len(warnings) - _TOLD_REASONS
    more = f"; and {rest} more" if rest > 0 else ""
    reasons = f" ({'; '.join(warnings[:_TOLD_REASONS])}{more})" if warnings else ""
    folder = where.functions_dir
    example = where.shown((folder if folder != where.root else folder / "supabase/functions") / "hello/index.ts")
    if not folder.is_dir():
        problem = "there is no such folder"
    elif (lonely := discovery.lonely_entrypoint(folder)) is not None:
        return ConfigError(
            f"{where.shown(folder)}: holds no folder with a function; to serve {lonely.name} name that file"
        )
    elif folder == where.root:
        problem = "holds neither supabase/functions nor a folder with a function"
    else:
        problem = "holds no folder with a function"
    remedy = f"put a function at {example}, as `outlast new hello --lang ts` does"
    return ConfigError(f"{where.shown(folder)}: {problem}; {remedy}{reasons}")
