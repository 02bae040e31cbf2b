"""What ``load`` makes of config.toml, outlast.toml, .env, the environment and the command line."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import pytest

from outlast.config import local_keys
from outlast.config.inspection import InspectMode, Inspector
from outlast.config.settings import ConfigError, FunctionSettings, JwtSettings
from outlast.core.balance import Scale
from outlast.core.errors import OutlastError
from outlast.core.language import Language
from outlast.core.limits import Limits
from outlast.core.policy import Policy

SERVE = "Deno.serve(() => new Response('ok'))\n"
LOCAL_SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"
# The keys that `supabase status` shows for every local project.
ANON_KEY = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJzdXBhYmFzZS1kZW1vIiwicm9sZSI6ImFub24iLCJleHAiOjE5ODM4MTI5"
    "OTZ9.CRXP1A7WOeoJeXxjNni43kdQwgnWNReilDMblYTn_I0"
)
SERVICE_ROLE_KEY = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJzdXBhYmFzZS1kZW1vIiwicm9sZSI6InNlcnZpY2Vfcm9sZSIsImV4cCI6"
    "MTk4MzgxMjk5Nn0.EGIM96RAZx35lJzdJsyH-qQwv8Hdp7fsn3W0YpN81IU"
)
NOT_A_PORT = "is not a whole number from 0 to 65535"
NOT_A_POLICY = "is not one of per_worker, per_request, oneshot"
WRONG_VALUES = [
    (
        "edge_runtime",
        "enabled = false",
        "is false: edge functions are switched off; set it to true to serve them",
    ),
    ("edge_runtime", "enabled = 'yes'", "'yes' is not true or false"),
    ("edge_runtime", "policy = 'per_wroker'", f"'per_wroker' {NOT_A_POLICY}"),
    ("edge_runtime", "policy = 1", f"1 {NOT_A_POLICY}"),
    ("edge_runtime", "inspector_port = '80'", f"'80' {NOT_A_PORT}"),
    ("edge_runtime", "inspector_port = true", f"true {NOT_A_PORT}"),
    ("edge_runtime", "inspector_port = 65536", f"65536 {NOT_A_PORT}"),
    ("edge_runtime", "inspector_port = -1", f"-1 {NOT_A_PORT}"),
    ("edge_runtime", "secrets = 'A'", "'A' is not a table"),
    ("edge_runtime.secrets", "PIN = 1234", "must be a string"),
    (
        "edge_runtime.secrets",
        'A = "b\\u0000"',
        "cannot be an environment variable: it has an = in its name or a NUL in it",
    ),
    ("functions", "hello = true", "true is not a table"),
    ("functions.hello", "verify_jwt = 'yes'", "'yes' is not true or false"),
    ("functions.hello", "verify_jwt = 0", "0 is not true or false"),
    ("functions.hello", "enabled = {}", "a table is not true or false"),
    ("functions.hello", "entrypoint = 1.5", "1.5 is not a string"),
    ("functions.hello", "import_map = []", "an array is not a string"),
    ("functions.hello", "static_files = 'a'", "'a' is not an array of strings"),
    ("functions.hello", "static_files = [\n1]", "1 in this array is not a string"),
    ("functions.hello", "env = 'A=1'", "'A=1' is not a table"),
    ("auth", "jwt_secret = 'short'", "is shorter than 16 characters; set a longer one"),
    ("auth", "jwt_secret = 1234", "must be a string"),
    ("auth", "anon_key = 1234", "must be a string"),
    ("auth", "secret_key = ['hidden']", "must be a string"),
    ("auth", 'anon_key = "b\\u0000"', "cannot be an environment variable: it has an = in its name or a NUL in it"),
    ("auth", "signing_keys_path = 1", "1 is not a string"),
    ("auth", "enabled = 1", "1 is not true or false"),
    ("auth", "third_party = 'clerk'", "'clerk' is not a table"),
    ("auth.third_party.clerk", "enabled = 'yes'", "'yes' is not true or false"),
]


def own(env: Mapping[str, str]) -> dict[str, str]:
    """What a function's environment holds beside the three defaults."""
    return {name: value for name, value in env.items() if not name.startswith("SUPABASE_")}


def test_a_project_without_any_settings(project: Any) -> None:
    loaded = project.load()
    supabase = project.root / "supabase"
    assert loaded.functions == {
        "hello": FunctionSettings(
            name="hello",
            folder=supabase / "functions/hello",
            entrypoint=supabase / "functions/hello/index.ts",
            language=Language.TYPESCRIPT,
            verify_jwt=True,
            env={
                "SUPABASE_URL": "http://127.0.0.1:54321",
                "SUPABASE_ANON_KEY": ANON_KEY,
                "SUPABASE_SERVICE_ROLE_KEY": SERVICE_ROLE_KEY,
                "SUPABASE_PUBLISHABLE_KEYS": '{"default":"sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH"}',
                "SUPABASE_SECRET_KEYS": '{"default":"sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"}',
                "SUPABASE_JWKS": local_keys.key_set(),
                "SUPABASE_FUNCTION_SLUG": "hello",
            },
        )
    }
    assert loaded.policy is Policy.PER_WORKER
    assert loaded.inspector_port == 8083
    api_keys = {"sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH", "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"}
    assert loaded.jwt == JwtSettings(
        LOCAL_SECRET, jwks=local_keys.key_set(), jwks_url=None, api_keys=frozenset(api_keys)
    )
    assert loaded.sources == (
        supabase / "config.toml",
        supabase / "outlast.toml",
        supabase / "functions/.env",
        supabase / "functions/hello/.env",
    )
    assert loaded.warnings == ()


def test_settings_are_frozen_and_comparable(project: Any) -> None:
    first, second = project.load(), project.load()
    assert first == second
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.policy = Policy.ONESHOT
    with pytest.raises(TypeError):
        first.functions["hello"].env["A"] = "b"
    with pytest.raises(TypeError):
        first.functions["other"] = first.functions["hello"]
    project.write({"supabase/functions/.env": "A=1"})
    assert project.load() != first


def test_no_secret_shows_in_a_repr(project: Any) -> None:
    project.write({"supabase/functions/.env": "TOKEN=hunter2"})
    text = repr(project.load(environ={"SUPABASE_JWT_SECRET": "swordfish-swordfish"}))
    assert "entrypoint" in text
    assert "hunter2" not in text
    assert "swordfish" not in text


def test_a_config_error_is_the_projects_own() -> None:
    assert issubclass(ConfigError, OutlastError)


class TestConfigToml:
    def test_every_key(self, project: Any) -> None:
        project.write(
            {
                "supabase/functions/open/index.ts": SERVE,
                "supabase/functions/off/index.ts": SERVE,
                "supabase/config.toml": (
                    "project_id = 'x'\n[db]\nport = 54322\n"
                    "[edge_runtime]\nenabled = true\npolicy = 'oneshot'\ninspector_port = 8083\n"
                    "deno_version = 2\n"
                    "[functions.open]\nverify_jwt = false\nnew_key = 1\n"
                    "[functions.off]\nenabled = false\n"
                ),
            }
        )
        loaded = project.load()
        assert loaded.policy is Policy.ONESHOT
        assert loaded.inspector_port == 8083
        assert {name: f.verify_jwt for name, f in loaded.functions.items()} == {"hello": True, "open": False}
        assert loaded.warnings == ()

    def test_a_slip_is_told_and_other_tools_keys_are_not(self, project: Any) -> None:
        text = (
            "project_id = 'shop'\n[edge_runtime]\ndeno_version = 2\npolcy = 'oneshot'\n"
            "[functions.hello]\nverfiy_jwt = false\nmax_size = 1\n[function.hello]\nenabled = false\n"
        )
        project.write({"supabase/config.toml": text})
        slips = {8: ("function", "functions"), 4: ("edge_runtime.polcy", "policy")}
        slips[6] = ("functions.hello.verfiy_jwt", "verify_jwt")
        assert project.load().warnings == tuple(
            f"supabase/config.toml:{line}: {key}: is ignored: Outlast knows no such key; did you mean {meant}?"
            for line, (key, meant) in slips.items()
        )

    def test_the_command_line_wins(self, project: Any) -> None:
        project.write({"supabase/config.toml": "edge_runtime.policy='oneshot'\n[functions.hello]\nverify_jwt = true\n"})
        loaded = project.load(policy=Policy.PER_REQUEST, verify_jwt=False)
        assert loaded.policy is Policy.PER_REQUEST
        assert not loaded.functions["hello"].verify_jwt

    def test_inspector_port_0_is_the_usual_one(self, project: Any) -> None:
        project.write({"supabase/config.toml": "edge_runtime.inspector_port = 0\n"})
        assert project.load().inspector_port == 8083

    def test_a_debugger_is_nobodys_business_until_it_is_asked_for(self, project: Any) -> None:
        project.write({"supabase/config.toml": "edge_runtime.inspector_port = 8083\n"})
        [function] = project.load().functions.values()
        assert (function.inspector, function.scale, function.limits) == (None, Scale(), Limits())

    def test_each_function_has_a_port_for_its_debugger_and_no_limit_ends_it_meanwhile(self, project: Any) -> None:
        project.write(
            {
                "supabase/functions/alpha/index.ts": SERVE,
                "supabase/functions/beta/main.py": "",
                "supabase/config.toml": "edge_runtime.inspector_port = 9000\n",
            }
        )
        functions = project.load(inspect=InspectMode.WAIT).functions
        assert functions["alpha"].inspector == Inspector(InspectMode.WAIT, 9000)
        assert functions["hello"].inspector == Inspector(InspectMode.WAIT, 9001)
        assert (functions["beta"].inspector, functions["beta"].limits) == (None, Limits())
        inspected = functions["hello"]
        assert (inspected.scale.max_workers, inspected.scale.standby) == (1, 0)
        limits = inspected.limits
        assert (limits.wall_clock_ms, limits.cpu_soft_ms, limits.cpu_hard_ms, limits.boot_timeout_ms) == (0, 0, 0, 0)
        assert (limits.request_idle_ms, limits.idle_timeout_ms, limits.memory_mb) == (0, 0, Limits().memory_mb)

    def test_more_functions_than_ports(self, project: Any) -> None:
        project.write(
            {
                "supabase/functions/alpha/index.ts": SERVE,
                "supabase/config.toml": "edge_runtime.inspector_port = 65535\n",
            }
        )
        functions = project.load(inspect=InspectMode.RUN).functions
        assert [functions[name].inspector is None for name in ("alpha", "hello")] == [False, True]

    @pytest.mark.parametrize(("section", "line", "problem"), WRONG_VALUES)
    def test_wrong_values(self, project: Any, section: str, line: str, problem: str) -> None:
        project.write({"supabase/config.toml": f"# a comment\n[{section}]\n{line}\n"})
        key = line.split("=")[0].strip()
        assert project.error() == f"supabase/config.toml:3: {section}.{key}: {problem}"

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("edge_runtime = 1", "1: edge_runtime: 1 is not a table"),
            ("\nfunctions = []", "2: functions: an array is not a table"),
            ("functions = {hello = {env = {A = 1}}}", "1: functions.hello.env.A: must be a string"),
            (
                "[edge_runtime.secrets]\n'A=B' = 'c'",
                '2: edge_runtime.secrets."A=B": cannot be an environment variable: '
                "it has an = in its name or a NUL in it",
            ),
            ("a = 1\nb = ?\n", "2: is not valid TOML: Invalid value"),
            ("a = 1\n[b]\n[b]\n", "3: is not valid TOML: Cannot declare ('b',) twice"),
            ("a = 1\n\nb = '''", "3: is not valid TOML: Expected \"'''\""),
        ],
    )
    def test_wrong_documents(self, project: Any, text: str, error: str) -> None:
        project.write({"supabase/config.toml": text})
        assert project.error() == f"supabase/config.toml:{error}"

    @pytest.mark.parametrize(
        "text",
        [f"a = {'9' * 5_000}", f"a = {'[' * 5_000}", '[auth]\nsigning_keys_path = "\\u0000"'],
        ids=["a number", "arrays", "a path"],
    )
    def test_what_no_one_would_write(self, project: Any, text: str) -> None:
        """It ends no node that runs, as an error of another class would."""
        project.write({"supabase/config.toml": text})
        assert re.match(
            r"supabase/config.toml:[12]: (is not valid TOML|auth.signing_keys_path: .*cannot be read): ",
            project.error(),
        )

    def test_a_broken_encoding(self, project: Any) -> None:
        (project.root / "supabase/config.toml").write_bytes(b"a = '\xff'")
        assert project.error() == "supabase/config.toml: is not UTF-8 text; save it as UTF-8"

    def test_windows_text_files(self, project: Any) -> None:
        (project.root / "supabase/config.toml").write_bytes(
            b"\xef\xbb\xbf[edge_runtime]\r\npolicy = 'oneshot'\r\nenabled = 1\r\n"
        )
        assert project.error() == "supabase/config.toml:3: edge_runtime.enabled: 1 is not true or false"


class TestEnvReferences:
    """``env(NAME)`` in a value."""

    CONFIG = (
        "[edge_runtime]\nenabled = 'env(ON)'\npolicy = 'env(POLICY)'\ninspector_port = 'env(PORT)'\n"
        "[functions.hello]\nverify_jwt = 'env(VERIFY)'\n"
    )

    def test_every_type_of_value(self, project: Any) -> None:
        project.write({"supabase/config.toml": self.CONFIG})
        loaded = project.load(environ={"ON": "True", "POLICY": "oneshot", "PORT": "9229", "VERIFY": "0"})
        assert (loaded.policy, loaded.inspector_port) == (Policy.ONESHOT, 9229)
        assert not loaded.functions["hello"].verify_jwt

    def test_the_files_that_supabase_reads(self, project: Any) -> None:
        project.write(
            {
                "supabase/config.toml": self.CONFIG,
                "supabase/.env": "POLICY=per_request\nON=true\n",
                ".env.local": "PORT=1\nPOLICY=oneshot\n",
                "supabase/functions/.env": "VERIFY=true\n",
            }
        )
        loaded = project.load(environ={"VERIFY": "false"})
        assert (loaded.policy, loaded.inspector_port) == (Policy.PER_REQUEST, 1)
        assert not loaded.functions["hello"].verify_jwt
        assert project.root / "supabase/.env" in loaded.sources
        assert project.root / ".env.local" in loaded.sources
        assert project.root / ".env.development" in loaded.sources

    def test_files_that_nothing_refers_to_are_not_read(self, project: Any) -> None:
        project.write({".env": "this is not a .env file", "supabase/.env": "neither is this"})
        assert project.root / ".env" not in project.load().sources

    @pytest.mark.parametrize(
        ("environ", "error"),
        [
            (
                {"ON": "1"},
                "3: edge_runtime.policy: env(POLICY) is not set; set POLICY in the environment or in supabase/.env",
            ),
            ({"ON": "yes"}, "2: edge_runtime.enabled: 'yes' is not true or false"),
            (
                {"ON": "1", "POLICY": "oneshot", "PORT": "٣", "VERIFY": "1"},
                "4: edge_runtime.inspector_port: '٣' is not a whole number from 0 to 65535",
            ),
            (
                {"ON": "1", "POLICY": "x"},
                "3: edge_runtime.policy: 'x' is not one of per_worker, per_request, oneshot",
            ),
        ],
    )
    def test_wrong_values(self, project: Any, environ: dict[str, str], error: str) -> None:
        defaults = {"POLICY": "oneshot", "PORT": "1", "VERIFY": "1"} if "POLICY" in environ else {"PORT": "1"}
        project.write({"supabase/config.toml": self.CONFIG})
        assert project.error(environ={**defaults, "VERIFY": "1", **environ}) == f"supabase/config.toml:{error}"

    def test_a_secret_that_is_not_set_is_skipped(self, project: Any) -> None:
        project.write(
            {
                "supabase/config.toml": (
                    "[edge_runtime.secrets]\nthere = 'env(THERE)'\ngone = 'env(GONE)'\n"
                    "[functions.hello.env]\nEMPTY = 'env(EMPTY)'\n"
                )
            }
        )
        loaded = project.load(environ={"THERE": "here", "EMPTY": ""})
        assert own(loaded.functions["hello"].env) == {"THERE": "here"}
        assert loaded.warnings == (
            "supabase/config.toml:3: edge_runtime.secrets.gone: is skipped: "
            "the variable that env(GONE) reads is not set",
            "supabase/config.toml:5: functions.hello.env.EMPTY: is skipped: "
            "the variable that env(EMPTY) reads is not set",
        )
