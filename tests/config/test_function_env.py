"""What a function finds in its environment, and what callers' tokens are checked against."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest

from outlast.config.settings import JwtSettings

SERVE = "Deno.serve(() => new Response('ok'))\n"
LOCAL_SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"
LOCAL_API_KEYS = frozenset(
    ["sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH", "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"]
)
RESERVED = (
    "is skipped: of the names that begin SUPABASE_ only SUPABASE_URL, SUPABASE_ANON_KEY, "
    "SUPABASE_SERVICE_ROLE_KEY, SUPABASE_PUBLISHABLE_KEYS, SUPABASE_SECRET_KEYS, SUPABASE_JWKS, "
    "SUPABASE_DB_URL can be set"
)


def own(env: Mapping[str, str]) -> dict[str, str]:
    """What a function's environment holds beside the defaults."""
    return {name: value for name, value in env.items() if not name.startswith("SUPABASE_")}


class TestFunctionEnvironment:
    def test_which_source_wins(self, project: Any) -> None:
        project.write(
            {
                "supabase/functions/other/index.ts": SERVE,
                "supabase/config.toml": (
                    "[edge_runtime.secrets]\na = 'secret'\nB = 'secret'\nC = 'secret'\n"
                    "[functions.hello]\nenv = {c = 'own'}\n"
                ),
                "supabase/functions/.env": "B=file\nC=file\n",
            }
        )
        functions = project.load(environ={"A": "process", "PATH": "/bin", "HOME": "/root"}).functions
        assert own(functions["hello"].env) == {"A": "secret", "B": "file", "C": "own"}
        assert own(functions["other"].env) == {"A": "secret", "B": "file", "C": "file"}

    def test_env_file_replaces_the_functions_folders_own(self, project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        project.write({"supabase/functions/.env": "A=1", "conf/prod.env": "B=2"})
        monkeypatch.chdir(project.root / "conf")
        loaded = project.load(env_file=Path("prod.env"))
        assert own(loaded.functions["hello"].env) == {"B": "2"}
        assert loaded.sources[-1] == project.root / "conf/prod.env"

    def test_an_env_file_that_is_missing(self, project: Any) -> None:
        assert project.error(env_file=project.root / "no.env") == (
            "no.env: there is no such file; name a file that exists or leave out --env-file"
        )

    def test_an_env_file_with_a_mistake(self, project: Any) -> None:
        project.write({"supabase/functions/.env": "A=1\nB\n"})
        assert project.error() == "supabase/functions/.env:2: is not of the form NAME=value"

    def test_the_user_may_set_these_supabase_names_only(self, project: Any) -> None:
        project.write(
            {
                "supabase/functions/.env": (
                    "SUPABASE_URL=http://mine\nSUPABASE_ANON_KEY=a\nSUPABASE_SERVICE_ROLE_KEY=s\n"
                    'SUPABASE_PUBLISHABLE_KEYS={}\nSUPABASE_SECRET_KEYS=\'{"web":"k"}\'\n'
                    "SUPABASE_JWKS={}\n"
                    "SUPABASE_DB_URL=postgres://mine\nSUPABASE_JWT_SECRET=mine\n"
                ),
                "supabase/config.toml": (
                    "[edge_runtime.secrets]\nsupabase_x = 'x'\n[functions.hello.env]\nSUPABASE_Y = 'y'\n"
                ),
            }
        )
        loaded = project.load()
        assert loaded.functions["hello"].env == {
            "SUPABASE_URL": "http://mine",
            "SUPABASE_ANON_KEY": "a",
            "SUPABASE_SERVICE_ROLE_KEY": "s",
            "SUPABASE_PUBLISHABLE_KEYS": "{}",
            "SUPABASE_SECRET_KEYS": '{"web":"k"}',
            "SUPABASE_JWKS": "{}",
            "SUPABASE_DB_URL": "postgres://mine",
        }
        assert loaded.warnings == (
            f"supabase/config.toml:2: edge_runtime.secrets.supabase_x: {RESERVED}",
            f"supabase/functions/.env:8: SUPABASE_JWT_SECRET: {RESERVED}",
            f"supabase/config.toml:4: functions.hello.env.SUPABASE_Y: {RESERVED}",
        )
        assert loaded.jwt.secret == LOCAL_SECRET

    def test_the_nodes_environment_can_name_another_project(self, project: Any) -> None:
        environ = {
            "SUPABASE_URL": "https://abc.supabase.co",
            "SUPABASE_ANON_KEY": "anon",
            "SUPABASE_SERVICE_ROLE_KEY": "service",
            "SUPABASE_PUBLISHABLE_KEYS": '{"default":"public"}',
            "SUPABASE_SECRET_KEYS": '{"default":"secret"}',
            "SUPABASE_DB_URL": "postgres://there",
        }
        secret = {"SUPABASE_JWT_SECRET": "s" * 32}
        assert project.load(environ=environ | secret, url="http://x").functions["hello"].env == environ

    def test_the_url_of_the_gateway(self, project: Any) -> None:
        env = project.load(url="http://127.0.0.1:9999", environ={"SUPABASE_URL": ""}).functions["hello"].env
        assert env["SUPABASE_URL"] == "http://127.0.0.1:9999"
        assert "SUPABASE_DB_URL" not in env


class TestJwt:
    def test_the_keys_are_signed_with_the_secret_in_force(self, project: Any) -> None:
        project.write({"supabase/config.toml": f"[auth]\njwt_secret = '{'t' * 32}'\n"})
        loaded = project.load()
        assert loaded.jwt.secret == "t" * 32
        env = loaded.functions["hello"].env
        for name, role in (("SUPABASE_ANON_KEY", "anon"), ("SUPABASE_SERVICE_ROLE_KEY", "service_role")):
            claims = pyjwt.decode(env[name], "t" * 32, algorithms=["HS256"])
            assert claims == {"iss": "supabase-demo", "role": role, "exp": 1983812996}

    def test_the_environment_wins_over_config_toml(self, project: Any) -> None:
        project.write({"supabase/config.toml": "[auth]\njwt_secret = 'env(NOT_SET)'\n"})
        assert project.load(environ={"SUPABASE_JWT_SECRET": "e" * 32}).jwt.secret == "e" * 32

    def test_a_secret_that_is_not_set_never_falls_back_to_the_public_one(self, project: Any) -> None:
        project.write({"supabase/config.toml": "[auth]\njwt_secret = 'env(MINE)'\n"})
        assert project.load(environ={"MINE": "m" * 32}).jwt.secret == "m" * 32
        assert project.error() == (
            "supabase/config.toml:2: auth.jwt_secret: env(MINE) is not set; "
            "set MINE in the environment or in supabase/.env"
        )

    def test_a_short_secret_in_the_environment(self, project: Any) -> None:
        assert project.error(environ={"SUPABASE_JWT_SECRET": "short"}) == (
            "SUPABASE_JWT_SECRET: is shorter than 16 characters; set a longer one"
        )

    def test_jwks(self, project: Any) -> None:
        environ = {"SUPABASE_JWKS": '{"keys": []}', "SUPABASE_URL": "https://abc.supabase.co/"}
        assert project.load(environ=environ).jwt == JwtSettings(
            secret=LOCAL_SECRET,
            jwks='{"keys": []}',
            jwks_url="https://abc.supabase.co/auth/v1/.well-known/jwks.json",
            api_keys=LOCAL_API_KEYS,
        )

    def test_jwks_that_are_not_json(self, project: Any) -> None:
        assert project.error(environ={"SUPABASE_JWKS": "{keys"}) == 'SUPABASE_JWKS: is not JSON like {"keys":[…]}'


class TestApiKeys:
    def test_those_of_the_functions_count(self, project: Any) -> None:
        project.write(
            {
                "supabase/config.toml": """[edge_runtime.secrets]\nSUPABASE_SECRET_KEYS = '{"a":"sb_a","b":"sb_b"}'""",
                "supabase/functions/.env": """SUPABASE_PUBLISHABLE_KEYS='{"default":"sb_c"}'\n""",
            }
        )
        assert project.load().jwt.api_keys == {"sb_a", "sb_b", "sb_c"}

    def test_the_public_ones_go_with_the_public_secret_alone(self, project: Any) -> None:
        assert project.load().jwt.api_keys == LOCAL_API_KEYS
        loaded = project.load(environ={"SUPABASE_JWT_SECRET": "s" * 32})
        assert loaded.jwt.api_keys == frozenset()
        assert set(loaded.functions["hello"].env) == {
            *("SUPABASE_URL", "SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
        }

    @pytest.mark.parametrize("text", ["sb_a", '["sb_a"]', '{"default":1}'])
    def test_what_is_no_object_of_keys(self, project: Any, text: str) -> None:
        assert project.error(environ={"SUPABASE_SECRET_KEYS": text}) == (
            'SUPABASE_SECRET_KEYS: is not JSON like {"default":"sb_…"}'
        )


class TestKeySetOfFunctions:
    def of(self, project: Any, **environ: str) -> Any:
        return json.loads(project.load(environ=environ).functions["hello"].env.get("SUPABASE_JWKS", "null"))

    def test_of_a_local_project(self, project: Any) -> None:
        found = self.of(project)
        assert found == self.of(project, SUPABASE_URL="http://localhost:54321")
        [public, secret] = found["keys"]
        token = pyjwt.encode({"role": "authenticated"}, LOCAL_SECRET, algorithm="HS256")
        assert pyjwt.decode(token, pyjwt.PyJWK(secret, "HS256"), algorithms=["HS256"]) == {"role": "authenticated"}
        assert pyjwt.PyJWK(public).key_id == "b81269f1-21d8-4f2e-b719-c2240a840d90"
        assert "d" not in public

    @pytest.mark.parametrize(
        "environ", [{"SUPABASE_URL": "https://abc.supabase.co"}, {"SUPABASE_JWT_SECRET": "s" * 32}]
    )
    def test_not_where_it_would_let_strangers_in(self, project: Any, environ: dict[str, str]) -> None:
        assert self.of(project, **environ) is None

    def test_a_url_in_env_names_another_project_as_well(self, project: Any) -> None:
        project.write({"supabase/functions/.env": "SUPABASE_URL=https://abc.supabase.co\n"})
        assert self.of(project) is None

    def test_of_the_nodes_own_set_only_what_is_public(self, project: Any) -> None:
        public = {"kty": "EC", "kid": "k", "alg": "ES256", "crv": "P-256", "x": "x", "y": "y"}
        given = [public | {"d": "secret", "key_ops": ["sign"]}, {"kty": "oct", "k": "secret"}]
        assert self.of(project, SUPABASE_JWKS=json.dumps({"keys": given})) == {"keys": [public]}
