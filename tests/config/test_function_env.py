"""What a function finds in its environment, and what callers' tokens are checked against."""

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from outlast.config.settings import JwtSettings
from outlast.config.third_party import Issuer

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


def base64url(number: int) -> str:
    """As few bytes as it takes."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


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

    def test_a_function_s_own_file_goes_before_that_of_all(self, project: Any) -> None:
        project.write(
            {
                "supabase/functions/other/index.ts": SERVE,
                "supabase/config.toml": "[functions.hello.env]\nC = 'own'\n",
                "supabase/functions/.env": "A=all\nB=all\nC=all\n",
                "supabase/functions/hello/.env": "B=file\nC=file\nSUPABASE_FUNCTION_SLUG=mine\n",
            }
        )
        loaded = project.load()
        assert own(loaded.functions["hello"].env) == {"A": "all", "B": "file", "C": "own"}
        assert own(loaded.functions["other"].env) == {"A": "all", "B": "all", "C": "all"}
        assert loaded.warnings == (f"supabase/functions/hello/.env:3: SUPABASE_FUNCTION_SLUG: {RESERVED}",)
        assert {project.root / f"supabase/functions/{name}/.env" for name in loaded.functions} < {*loaded.sources}

    def test_an_env_file_replaces_the_functions_own_ones_too(self, project: Any) -> None:
        project.write({"supabase/functions/hello/.env": "A=1", "prod.env": "B=2"})
        loaded = project.load(env_file=project.root / "prod.env")
        assert own(loaded.functions["hello"].env) == {"B": "2"}

    def test_a_function_s_own_file_with_a_mistake(self, project: Any) -> None:
        project.write({"supabase/functions/hello/.env": "A=1\nB\n"})
        assert project.error() == "supabase/functions/hello/.env:2: is not of the form NAME=value"

    def test_a_function_finds_its_own_name(self, project: Any) -> None:
        assert project.load().functions["hello"].env["SUPABASE_FUNCTION_SLUG"] == "hello"

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
            "SUPABASE_FUNCTION_SLUG": "hello",
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
        env = project.load(environ=environ | secret, url="http://x").functions["hello"].env
        assert env == environ | {"SUPABASE_FUNCTION_SLUG": "hello"}

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

    def test_api_keys_of_config_toml(self, project: Any) -> None:
        project.write(
            {
                "supabase/config.toml": (
                    "[auth]\nanon_key = 'a'\nservice_role_key = 'env(SERVICE)'\n"
                    "publishable_key = 'sb_publishable_mine'\nsecret_key = 'env(SECRET)'\n"
                ),
                "supabase/.env": "SERVICE=s\n",
            }
        )
        loaded = project.load(environ={"SECRET": 'sb_secret_"mine"'})
        env = loaded.functions["hello"].env
        assert env["SUPABASE_ANON_KEY"] == "a"
        assert env["SUPABASE_SERVICE_ROLE_KEY"] == "s"
        assert json.loads(env["SUPABASE_PUBLISHABLE_KEYS"]) == {"default": "sb_publishable_mine"}
        assert json.loads(env["SUPABASE_SECRET_KEYS"]) == {"default": 'sb_secret_"mine"'}
        assert loaded.jwt.api_keys == {"sb_publishable_mine", 'sb_secret_"mine"'}

    def test_empty_api_keys_are_not_given(self, project: Any) -> None:
        defaults = project.load()
        empty = "".join(f"{key} = ''\n" for key in ("anon_key", "service_role_key", "publishable_key", "secret_key"))
        project.write({"supabase/config.toml": f"[auth]\n{empty}"})
        assert project.load() == defaults

    def test_an_api_key_of_ones_own_counts_with_any_secret(self, project: Any) -> None:
        project.write({"supabase/config.toml": f"[auth]\njwt_secret = '{'t' * 32}'\npublishable_key = 'sb_mine'\n"})
        loaded = project.load()
        assert loaded.jwt.api_keys == {"sb_mine"}
        assert "SUPABASE_SECRET_KEYS" not in loaded.functions["hello"].env

    def test_the_environment_wins_over_the_api_keys_of_config_toml(self, project: Any) -> None:
        keys = {"anon_key": "ANON_KEY", "service_role_key": "SERVICE_ROLE_KEY"}
        keys |= {"publishable_key": "PUBLISHABLE_KEYS", "secret_key": "SECRET_KEYS"}
        for key, name in keys.items():
            project.write({"supabase/config.toml": f"[auth]\n{key} = 'env(NOT_SET)'\n"})
            environ = {f"SUPABASE_{name}": '{"default":"sb_x"}'}
            assert project.load(environ=environ).functions["hello"].env[f"SUPABASE_{name}"] == '{"default":"sb_x"}'

    @pytest.mark.parametrize("key", ["anon_key", "service_role_key", "publishable_key", "secret_key"])
    def test_an_api_key_whose_variable_is_not_set(self, project: Any, key: str) -> None:
        defaults = project.load()
        project.write({"supabase/config.toml": f"[auth]\n{key} = 'env(NOT_SET)'\n"})
        loaded = project.load()
        assert (loaded.functions, loaded.jwt) == (defaults.functions, defaults.jwt)
        assert loaded.warnings == (
            f"supabase/config.toml:2: auth.{key}: is skipped: the variable that env(NOT_SET) reads is not set",
        )

    @pytest.mark.parametrize("key", ["publishable_key", "secret_key"])
    def test_an_api_key_that_the_gateway_would_take_for_a_token(self, project: Any, key: str) -> None:
        project.write({"supabase/config.toml": f"[auth]\n{key} = 'env(KEY)'\n"})
        error = project.error(environ={"KEY": "hidden"})
        assert error.startswith(f"supabase/config.toml:2: auth.{key}: does not begin with sb_")
        assert "hidden" not in error

    def test_a_slip_in_the_name_of_a_key_and_keys_that_are_none_of_ours(self, project: Any) -> None:
        of_supabase = """
            site_url additional_redirect_urls jwt_expiry jwt_issuer enable_refresh_token_rotation enable_manual_linking
            refresh_token_reuse_interval enable_signup enable_anonymous_sign_ins minimum_password_length external_url
            password_requirements rate_limit captcha hook mfa sessions email sms external web3 oauth_server passkey
        """
        config = "".join(f"{key} = 1\n" for key in of_supabase.split())
        project.write({"supabase/config.toml": f"[auth]\nsigning_key_path = './signing_keys.json'\n{config}"})
        assert project.load().warnings == (
            "supabase/config.toml:2: auth.signing_key_path: is ignored: Outlast knows no such key; "
            "did you mean signing_keys_path?",
        )

    def test_a_key_set_with_private_keys_is_not_shown(self, project: Any) -> None:
        environ = {"SUPABASE_JWKS": '{"keys":[{"kty":"oct","k":"hidden"}]}'}
        assert "hidden" not in repr(project.load(environ=environ))

    def test_jwks_that_are_not_json(self, project: Any) -> None:
        assert project.error(environ={"SUPABASE_JWKS": "{keys"}) == 'SUPABASE_JWKS: is not JSON like {"keys":[…]}'


EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, **members: object) -> dict[str, Any]:
    """As `supabase gen signing-key` writes it."""
    alg = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    numbers = pyjwt.get_algorithm_by_name(alg).to_jwk(key, as_dict=True)
    return {**numbers, "use": "sig", "key_ops": ["sign", "verify"], "alg": alg, "ext": True, **members}


class TestSigningKeys:
    CONFIG = "[auth]\nsigning_keys_path = './signing_keys.json'\n"

    def write(self, project: Any, *keys: dict[str, Any], config: str = CONFIG) -> Path:
        project.write({"supabase/config.toml": config, "supabase/signing_keys.json": json.dumps(keys)})
        return project.root / "supabase/signing_keys.json"

    @pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["ES256", "RS256"])
    def test_the_first_signs_and_all_verify(self, project: Any, key: Any) -> None:
        other = private(ec.generate_private_key(ec.SECP256R1()), kid="standby")
        path = self.write(project, private(key, kid="first"), other)
        loaded = project.load()
        env = loaded.functions["hello"].env
        assert loaded.jwt.jwks == env["SUPABASE_JWKS"]
        [public, standby] = json.loads(env["SUPABASE_JWKS"])["keys"]
        assert standby.keys() == {"kty", "kid", "use", "alg", "crv", "x", "y"}
        assert public["kid"] == "first"
        for name, role in (("SUPABASE_ANON_KEY", "anon"), ("SUPABASE_SERVICE_ROLE_KEY", "service_role")):
            token = pyjwt.decode_complete(env[name], pyjwt.PyJWK(public), algorithms=["ES256", "RS256"])
            assert token["header"]["kid"] == "first"
            assert token["payload"].pop("exp") > time.time() + 9 * 365 * 86_400
            assert token["payload"] == {"iss": "supabase-demo", "role": role}
        assert loaded.jwt.secret == LOCAL_SECRET, "HS256 tokens count as well"
        assert path in loaded.sources

    def test_nothing_private_gets_out(self, project: Any) -> None:
        keys = private(EC_KEY), private(RSA_KEY)
        self.write(project, *keys)
        loaded = project.load()
        said = f"{loaded!r} {loaded.jwt.jwks} {dict(loaded.functions['hello'].env)}"
        secrets = [key[member] for key in keys for member in ("d", "p", "q", "dp", "dq", "qi") if member in key]
        assert not [secret for secret in secrets if secret in said]
        assert loaded.functions["hello"].env["SUPABASE_ANON_KEY"] not in repr(loaded)

    def test_the_same_keys_sign_the_same_so_that_no_function_is_reloaded(self, project: Any) -> None:
        self.write(project, private(EC_KEY))
        before = project.load()
        assert project.load() == before
        self.write(project, private(ec.generate_private_key(ec.SECP256R1())))
        assert project.load() != before

    def test_numbers_without_their_leading_zeros(self, project: Any) -> None:
        number = next(
            n
            for n in range(1, 10_000)
            if ec.derive_private_key(n, ec.SECP256R1()).public_key().public_numbers().x >> 248 == 0
        )
        key = ec.derive_private_key(number, ec.SECP256R1())
        short = private(key, kid="k", d=base64url(number), x=base64url(key.public_key().public_numbers().x))
        assert len(short["x"]) < len(short["y"])
        self.write(project, short)
        env = project.load().functions["hello"].env
        [public] = json.loads(env["SUPABASE_JWKS"])["keys"]
        assert pyjwt.decode(env["SUPABASE_ANON_KEY"], pyjwt.PyJWK(public), algorithms=["ES256"])["role"] == "anon"

    def test_an_rsa_key_needs_no_more_than_its_exponents(self, project: Any) -> None:
        whole = private(RSA_KEY)
        self.write(project, {name: whole[name] for name in ("kty", "n", "e", "d", "p", "q")})
        assert pyjwt.get_unverified_header(project.load().functions["hello"].env["SUPABASE_ANON_KEY"])["alg"] == "RS256"

    def test_no_keys_are_as_good_as_no_file(self, project: Any) -> None:
        defaults = project.load()
        path = self.write(project)
        loaded = project.load()
        assert (loaded.functions, loaded.jwt) == (defaults.functions, defaults.jwt)
        assert path in loaded.sources

    def test_what_is_given_goes_before_what_is_signed(self, project: Any) -> None:
        self.write(project, private(EC_KEY), config=f"{self.CONFIG}anon_key = 'mine'\n")
        env = project.load().functions["hello"].env
        assert env["SUPABASE_ANON_KEY"] == "mine"
        assert pyjwt.get_unverified_header(env["SUPABASE_SERVICE_ROLE_KEY"])["alg"] == "ES256"

    def test_a_key_set_in_the_environment_takes_their_place(self, project: Any) -> None:
        project.write({"supabase/config.toml": self.CONFIG})
        loaded = project.load(environ={"SUPABASE_JWKS": '{"keys":[]}'})
        assert loaded.jwt.jwks == loaded.functions["hello"].env["SUPABASE_JWKS"] == '{"keys":[]}'
        assert pyjwt.decode(loaded.functions["hello"].env["SUPABASE_ANON_KEY"], LOCAL_SECRET, algorithms=["HS256"])

    @pytest.mark.parametrize("config", ["[auth]\nsigning_keys_path = ''\n", f"{CONFIG}enabled = false\n"])
    def test_none_where_they_are_switched_off(self, project: Any, config: str) -> None:
        defaults = project.load()
        project.write({"supabase/config.toml": config})
        assert project.load() == defaults

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (None, "there is no such file; it must be a JSON array of private keys"),
            ("-----BEGIN hidden", "is not a JSON array of private keys"),
            ('{"keys":["hidden"]}', "is not a JSON array of private keys"),
            ('[{"kty":"EC"},"hidden"]', "is not a JSON array of private keys"),
            ([{"kty": "oct", "k": "hidden"}], "key 1 of 1 serves neither ES256"),
            ([private(EC_KEY), private(EC_KEY, crv="P-384")], "key 2 of 2 serves neither ES256"),
            ([private(EC_KEY, alg="RS256")], "key 1 of 1 serves neither ES256"),
            ([private(EC_KEY, use="enc")], "key 1 of 1 is not for signatures"),
            ([private(EC_KEY, d="hidden")], "key 1 of 1 is no ES256 key: its numbers are incomplete or"),
            ([private(EC_KEY, x=None)], "key 1 of 1 is no ES256 key: its numbers are incomplete or"),
            ([private(EC_KEY, d=private(RSA_KEY)["d"])], "key 1 of 1 is no ES256 key: its numbers are incomplete or"),
            ([private(RSA_KEY, d="hidden")], "key 1 of 1 is no RS256 key: its numbers are incomplete or"),
            ([private(RSA_KEY, n=None)], "key 1 of 1 is no RS256 key: its numbers are incomplete or"),
            ([private(rsa.generate_private_key(65537, 1024))], "key 1 of 1 is too short"),
            ([private(EC_KEY, d=None)], "key 1 of 1 is public, but it is the one to sign with"),
        ],
    )
    def test_a_file_that_cannot_be_used(self, project: Any, text: Any, problem: str) -> None:
        project.write({"supabase/config.toml": self.CONFIG})
        if text is not None:
            project.write({"supabase/signing_keys.json": text if isinstance(text, str) else json.dumps(text)})
        error = project.error()
        assert error.startswith(
            f"supabase/config.toml:2: auth.signing_keys_path: supabase/signing_keys.json: {problem}"
        )
        assert "hidden" not in error
        assert private(EC_KEY)["d"] not in error


class TestThirdParty:
    @pytest.mark.parametrize(
        ("provider", "values", "url"),
        [
            ("firebase", {"project_id": "mine"}, "https://securetoken.google.com/mine"),
            ("auth0", {"tenant": "mine"}, "https://mine.auth0.com"),
            ("auth0", {"tenant": "mine", "tenant_region": "us"}, "https://mine.us.auth0.com"),
            (
                "aws_cognito",
                {"user_pool_id": "us-east-1_x", "user_pool_region": "us-east-1"},
                "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_x",
            ),
            ("clerk", {"domain": "env(DOMAIN)"}, "https://clerk.mine.com"),
            (
                "workos",
                {"issuer_url": "http://127.0.0.1:9999/user_management/x/"},
                "http://127.0.0.1:9999/user_management/x",
            ),
        ],
    )
    def test_who_it_is(self, project: Any, provider: str, values: dict[str, str], url: str) -> None:
        lines = "".join(f"{key} = '{value}'\n" for key, value in values.items())
        config = f"[auth.third_party.{provider}]\nenabled = true\n{lines}"
        for more in ("[auth]\nenabled = false\n", "[auth.third_party.other]\nenabled = true\n"):
            project.write({"supabase/config.toml": config + more})
            issuer = project.load(environ={"DOMAIN": "clerk.mine.com"}).jwt.issuer
            assert issuer == Issuer(url, shares_keys=provider == "firebase")
        project.write({"supabase/config.toml": config.replace("true", "false").replace("DOMAIN", "NOT_SET")})
        assert project.load().jwt.issuer is None

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            ("firebase = {enabled = true}", "firebase.project_id: is not set, and firebase is enabled; set it or"),
            ("auth0 = {enabled = true, tenant = ''}", "auth0.tenant: is not set, and auth0 is enabled"),
            (
                "aws_cognito = {enabled = true, user_pool_id = 'x'}",
                "aws_cognito.user_pool_region: is not set, and aws_cognito is enabled",
            ),
            ("clerk = {enabled = true, domain = 'https://x'}", "clerk.domain: 'https://x' is not a name of letters"),
            ("workos = {enabled = true, issuer_url = 'x'}", "workos.issuer_url: 'x' is not an http or https address"),
            (
                "clerk = {enabled = true, domain = 'env(NOT_SET)'}",
                "clerk.domain: env(NOT_SET) is not set; set NOT_SET in the environment",
            ),
            (
                "clerk = {enabled = true}\nauth0 = {enabled = true}",
                "clerk.enabled: is true, and so is that of auth0; enable one of them",
            ),
        ],
    )
    def test_settings_that_name_nobody(self, project: Any, lines: str, problem: str) -> None:
        project.write({"supabase/config.toml": f"[auth.third_party]\n{lines}\n"})
        assert project.error().startswith(f"supabase/config.toml:2: auth.third_party.{problem}")

    def test_a_slip_in_the_name(self, project: Any) -> None:
        project.write({"supabase/config.toml": "[auth.third_party.cognito]\nenabled = true\n"})
        assert project.load().warnings == (
            "supabase/config.toml:1: auth.third_party.cognito: is ignored: Outlast knows no such key; "
            "did you mean aws_cognito?",
        )


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
            *("SUPABASE_URL", "SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_FUNCTION_SLUG"),
        }

    @pytest.mark.parametrize("text", ["sb_a", '["sb_a"]', '{"default":1}'])
    def test_what_is_no_object_of_keys(self, project: Any, text: str) -> None:
        assert project.error(environ={"SUPABASE_SECRET_KEYS": text}) == (
            'SUPABASE_SECRET_KEYS: is not JSON like {"default":"sb_…"}'
        )


class TestKeySetOfFunctions:
    def of(self, project: Any, **environ: str) -> Any:
        """The same that callers' tokens are checked against."""
        loaded = project.load(environ=environ)
        found = loaded.functions["hello"].env.get("SUPABASE_JWKS")
        assert found == loaded.jwt.jwks
        return json.loads(found or "null")

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
        loaded = project.load(environ={"SUPABASE_JWKS": json.dumps({"keys": given})})
        assert json.loads(loaded.functions["hello"].env["SUPABASE_JWKS"]) == {"keys": [public]}

    def test_one_of_env_is_for_functions_alone(self, project: Any) -> None:
        local = project.load().jwt.jwks
        project.write({"supabase/functions/.env": "SUPABASE_JWKS={}\n"})
        loaded = project.load()
        assert (loaded.functions["hello"].env["SUPABASE_JWKS"], loaded.jwt.jwks) == ("{}", local)
