"""The JWT check, with real keys, real signatures and a real HTTP server for the remote key set."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from tests.support import key_server as support
from tests.support.key_server import KeyServer

from outlast.gateway import auth, keys, remote_keys
from outlast.gateway.auth import MALFORMED, MISSING, Denial, JwtVerifier, Pending

SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"
NOW = 1_800_000_000.0
INVALID_BODY = b'{"msg":"Invalid JWT"}'
TOO_DEEP = "[" * 20_000 + "]" * 20_000
"""No decoder follows so far."""
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Issuer:
    """Stands where the network is: answers with its current key set and counts how often it was asked."""

    def __init__(self, *entries: dict[str, object]) -> None:
        self.entries = list(entries)
        self.asked = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def fetch(self, url: str) -> bytes:
        assert url == "https://issuer.test/jwks.json"
        self.asked += 1
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return json.dumps({"keys": self.entries}).encode()

    def verifier(self, clock: Clock, **more: object) -> JwtVerifier:
        return JwtVerifier(jwks_url="https://issuer.test/jwks.json", fetch=self.fetch, clock=clock, **more)


def jwk(key: object, kid: str | None, **members: object) -> dict[str, object]:
    algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    public = key.public_key()
    identity = {} if kid is None else {"kid": kid}
    return {**algorithm.to_jwk(public, as_dict=True), **identity, **members}


def key_set(*entries: dict[str, object]) -> str:
    return json.dumps({"keys": entries})


def bearer(
    key: object = SECRET, alg: str = "HS256", claims: dict[str, object] | None = None, **header: object
) -> bytes:
    """An Authorization header with a token that is good until an hour from NOW."""
    payload = json.dumps({"role": "anon", "exp": NOW + 3600} if claims is None else claims).encode()
    return b"Bearer " + jwt.PyJWS().encode(payload, key, alg, header).encode()


TOKEN = bearer(EC_KEY, "ES256", kid="e")
"""Whoever has `EC_KEY` as "e" accepts it."""


def handmade(header: object, payload: object, sign: Callable[[bytes], bytes]) -> bytes:
    """A token that PyJWT would not make."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)]
    message = b".".join(parts)
    return b"Bearer " + message + b"." + base64.urlsafe_b64encode(sign(message)).rstrip(b"=")


def hmac_sha256(key: bytes) -> Callable[[bytes], bytes]:
    return lambda message: hmac.new(key, message, hashlib.sha256).digest()


def assert_invalid(verdict: object, reason: str) -> None:
    assert isinstance(verdict, Denial)
    assert (verdict.status, verdict.body) == (401, INVALID_BODY)
    assert reason in verdict.reason


async def settled(verdict: Denial | Pending | None) -> Denial | None:
    assert isinstance(verdict, Pending)
    return await verdict.resolve()


# -- the header ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, b""])
def test_missing_header(header: bytes | None) -> None:
    verdict = JwtVerifier(secret=SECRET).check(header)
    assert verdict is MISSING
    assert verdict.body == b'{"msg":"Error: Missing authorization header"}'
    assert (verdict.status, verdict.challenge) == (401, b"Bearer")


@pytest.mark.parametrize(
    "header",
    [
        b"Basic dXNlcjpwYXNz",
        b"Bearer",
        b"Bearer ",
        b"Bearer a b",
        b"Bearer a,b",
        b"Token x",
        b"Bearerx",
        b" ",
    ],
)
def test_header_of_another_form(header: bytes) -> None:
    verdict = JwtVerifier(secret=SECRET).check(header)
    assert verdict is MALFORMED
    assert verdict.body == b"""{"msg":"Error: Auth header is not 'Bearer {token}'"}"""
    assert verdict.challenge == b'Bearer error="invalid_request"'


def test_every_body_is_the_json_that_the_contract_names() -> None:
    invalid = JwtVerifier(secret=SECRET).check(b"Bearer x")
    assert isinstance(invalid, Denial)
    assert [json.loads(denial.body) for denial in (MISSING, MALFORMED, invalid)] == [
        {"msg": "Error: Missing authorization header"},
        {"msg": "Error: Auth header is not 'Bearer {token}'"},
        {"msg": "Invalid JWT"},
    ]


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER ", b"Bearer   "])
def test_scheme_is_case_insensitive(scheme: bytes) -> None:
    token = bearer().removeprefix(b"Bearer ")
    assert JwtVerifier(secret=SECRET, clock=Clock()).check(scheme + token) is None


@pytest.mark.parametrize(
    "token",
    [
        b"x",
        b"a.b",
        b"a.b.c",
        b"a.b.c.d",
        b"..",
        b"e30.e30.",
        b"e30.e30.e30",
        b"W10.e30.e30",
        b"\xff.\xff.\xff",
    ],
)
def test_text_that_is_no_token(token: bytes) -> None:
    assert_invalid(JwtVerifier(secret=SECRET).check(b"Bearer " + token), "the token")


def test_a_header_that_is_nested_without_end() -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","x":' + TOO_DEEP[:20_000].encode())
    verdict = JwtVerifier(secret=SECRET).check(b"Bearer " + header.rstrip(b"=") + b".e30.AAAA")
    assert_invalid(verdict, "the token cannot be read: maximum recursion depth exceeded")


def test_claims_that_are_nested_without_end() -> None:
    payload = b'{"x":%b}' % TOO_DEEP.encode()
    token = b"Bearer " + jwt.PyJWS().encode(payload, SECRET, "HS256").encode()
    assert_invalid(JwtVerifier(secret=SECRET).check(token), "claims cannot be read: maximum recursion depth exceeded")


def test_text_that_is_not_utf_8() -> None:
    not_text = b'{"alg":"HS256","iss":"\xff"}'
    header = base64.urlsafe_b64encode(not_text.replace(b"HS256", b"\xff")).rstrip(b"=")
    verdict = JwtVerifier(secret=SECRET).check(b"Bearer " + header + b".e30.AAAA")
    assert_invalid(verdict, "the token cannot be read: 'utf-8' codec can't decode")
    token = b"Bearer " + jwt.PyJWS().encode(not_text, SECRET, "HS256").encode()
    assert_invalid(JwtVerifier(secret=SECRET).check(token), "claims cannot be read: 'utf-8' codec can't decode")


@given(st.binary(max_size=200) | st.text(alphabet="eyJhbGciOi.-_=", max_size=200).map(str.encode))
def test_any_bytes_get_an_answer(noise: bytes) -> None:
    verifier = JwtVerifier(secret=SECRET, jwks=key_set(jwk(EC_KEY, "k"), jwk(RSA_KEY, "r")))
    assert isinstance(verifier.check(noise), Denial)
    assert isinstance(verifier.check(b"Bearer " + noise), Denial)


@given(st.sampled_from(["HS256", "ES256", "RS256"]), st.binary(min_size=1, max_size=300))
def test_any_signature_bytes_get_an_answer(alg: str, signature: bytes) -> None:
    verifier = JwtVerifier(secret=SECRET, jwks=key_set(jwk(EC_KEY, "k"), jwk(RSA_KEY, "r")))
    assert_invalid(verifier.check(handmade({"alg": alg}, {}, lambda _: signature)), "signature is wrong")


# -- API keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([], None),
        ([(b"authorization", b"")], None),
        ([(b"authorization", b"Bearer a.b.c"), (b"apikey", b"sb_publishable_x")], b"Bearer a.b.c"),
        ([(b"authorization", b"Basic eDp5"), (b"apikey", b"sb_publishable_x")], b"Basic eDp5"),
        ([(b"apikey", b"sb_publishable_x")], b"Bearer sb_publishable_x"),
        ([(b"authorization", b"Bearer sb_x"), (b"apikey", b"sb_y")], b"Bearer sb_y"),
        ([(b"authorization", b"Bearer sb_x"), (b"apikey", b"a.b.c")], b"Bearer a.b.c"),
        ([(b"authorization", b"Bearer sb_x")], b"Bearer sb_x"),
        ([(b"authorization", b"Bearer sb_x"), (b"apikey", b"")], b"Bearer sb_x"),
        ([(b"apikey", b"sb_x"), (b"apikey", b"sb_y")], b"Bearer sb_x, sb_y"),
    ],
)
def test_what_a_request_has_to_show(fields: list[tuple[bytes, bytes]], found: bytes | None) -> None:
    assert auth.credential(tuple(fields)) == found


def test_known_api_keys_pass() -> None:
    verifier = JwtVerifier(secret=SECRET, api_keys=["sb_publishable_mine", "sb_secret_mine"])
    assert verifier.check(b"Bearer sb_publishable_mine") is None
    assert verifier.check(b"bearer  sb_secret_mine ") is None
    for other in (b"sb_publishable_min", b"sb_publishable_mine2", b"sb_", b"SB_SECRET_MINE"):
        assert isinstance(verifier.check(b"Bearer " + other), Denial)


def test_an_unknown_api_key_is_named_as_such() -> None:
    verdict = JwtVerifier(secret=SECRET).check(b"Bearer sb_publishable_other")
    assert isinstance(verdict, Denial)
    assert (verdict.status, json.loads(verdict.body)) == (401, {"msg": "Unknown API key"})
    assert "SUPABASE_PUBLISHABLE_KEYS" in verdict.reason


# -- algorithms and keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "alg", "kid"), [(SECRET, "HS256", None), (EC_KEY, "ES256", "e"), (RSA_KEY, "RS256", "r")]
)
def test_the_three_algorithms_pass(key: object, alg: str, kid: str | None) -> None:
    verifier = JwtVerifier(secret=SECRET, jwks=key_set(jwk(EC_KEY, "e"), jwk(RSA_KEY, "r")), clock=Clock())
    header = {} if kid is None else {"kid": kid}
    assert verifier.check(bearer(key, alg, **header)) is None


def test_the_local_default_key_of_supabase_passes() -> None:
    claims = {"iss": "supabase-demo", "role": "anon", "exp": 1983812996}
    assert JwtVerifier(secret=SECRET, clock=Clock()).check(bearer(claims=claims)) is None


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("alg", ["HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES512", "EdDSA"])
def test_other_algorithms_are_refused_even_with_a_known_key(alg: str) -> None:
    signers = {"H": SECRET, "R": RSA_KEY, "P": RSA_KEY}
    if alg[0] in signers:
        header = bearer(signers[alg[0]], alg, kid="r")
    else:
        header = handmade({"alg": alg, "kid": "e"}, {"exp": NOW + 3600}, hmac_sha256(SECRET.encode()))
    verifier = JwtVerifier(secret=SECRET, jwks=key_set(jwk(EC_KEY, "e"), jwk(RSA_KEY, "r")), clock=Clock())
    assert_invalid(verifier.check(header), f"algorithm '{alg}' is not one of HS256, ES256, RS256")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", "hs256", "Hs256"])
def test_alg_none_and_odd_spellings_are_refused(alg: str) -> None:
    verifier = JwtVerifier(secret=SECRET, clock=Clock())
    signed = handmade({"alg": alg}, {"exp": NOW + 3600}, hmac_sha256(SECRET.encode()))
    assert_invalid(verifier.check(signed), "is not one of")
    assert_invalid(verifier.check(signed.rsplit(b".", 1)[0] + b"."), "three base64url parts")


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY])
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_public_key_is_never_taken_for_a_secret(key: object, secret: str | None) -> None:
    verifier = JwtVerifier(secret=secret, jwks=key_set(jwk(key, "k")), clock=Clock())
    public = key.public_key()
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        material = public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        forged = handmade({"alg": "HS256", "kid": "k"}, {"exp": NOW + 3600}, hmac_sha256(material))
        assert_invalid(verifier.check(forged), "signature is wrong" if secret else "no JWT secret")
    forged = handmade({"alg": "HS256", "kid": "k"}, {}, hmac_sha256(json.dumps(jwk(key, "k")).encode()))
    assert_invalid(verifier.check(forged), "signature is wrong" if secret else "no JWT secret")


def test_a_symmetric_key_in_the_key_set_is_not_used() -> None:
    entry = {
        "kty": "oct",
        "kid": "o",
        "alg": "HS256",
        "k": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    }
    verifier = JwtVerifier(jwks=key_set(entry), clock=Clock())
    assert_invalid(verifier.check(bearer(kid="o")), "no JWT secret is set")


def test_a_key_serves_the_one_algorithm_of_its_kind() -> None:
    verifier = JwtVerifier(jwks=key_set(jwk(EC_KEY, "k")), clock=Clock())
    assert_invalid(verifier.check(bearer(RSA_KEY, "RS256", kid="k")), "'k' is not among the known RS256 keys")


def test_wrong_signatures() -> None:
    verifier = JwtVerifier(secret=SECRET, jwks=key_set(jwk(EC_KEY, "e")), clock=Clock())
    assert_invalid(verifier.check(bearer(SECRET + "x")), "HS256 signature is wrong")
    assert_invalid(verifier.check(bearer(OTHER_EC_KEY, "ES256", kid="e")), "ES256 signature is wrong")
    head, payload, signature = bearer().split(b".")
    other = base64.urlsafe_b64encode(b'{"role":"service_role"}').rstrip(b"=")
    assert_invalid(verifier.check(b".".join((head, other, signature))), "signature is wrong")
    assert verifier.check(b".".join((head, payload, signature))) is None


def test_without_a_kid_the_only_key_of_the_algorithm_serves() -> None:
    token = bearer(EC_KEY, "ES256")
    alone = JwtVerifier(jwks=key_set(jwk(EC_KEY, "e"), jwk(RSA_KEY, "r")), clock=Clock())
    assert alone.check(token) is None
    ambiguous = JwtVerifier(jwks=key_set(jwk(EC_KEY, "e"), jwk(OTHER_EC_KEY, "f")), clock=Clock())
    assert_invalid(ambiguous.check(token), "names no key (kid)")


@pytest.mark.parametrize(
    "entry",
    [
        jwk(EC_KEY, "k", use="enc"),
        jwk(EC_KEY, "k", key_ops=["sign"]),
        jwk(EC_KEY, "k", alg="ES384"),
        jwk(EC_KEY, "k", crv="P-384"),
        jwk(EC_KEY, "k", x="AAAA"),
        jwk(EC_KEY, "k", y=None),
        jwk(EC_KEY, "k", x="!!!!"),
        jwk(EC_KEY, "k", x=jwk(EC_KEY, "k")["y"]),
        jwk(EC_KEY, None),
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "k"},
        {"kid": "k"},
        7,
    ],
)
def test_unusable_keys_are_left_out_and_the_others_serve(entry: dict[str, object]) -> None:
    verifier = JwtVerifier(jwks=key_set(entry, jwk(RSA_KEY, "r", alg="RS256", use="sig")), clock=Clock())
    assert_invalid(verifier.check(bearer(EC_KEY, "ES256", kid="k")), "'k' is not among the known ES256 keys")
    assert verifier.check(bearer(RSA_KEY, "RS256", kid="r")) is None


def test_an_rsa_key_below_2048_bits_is_not_used() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    verifier = JwtVerifier(jwks=key_set(jwk(weak, "w")), clock=Clock())
    payload = {"exp": NOW + 3600}
    token = handmade({"alg": "RS256", "kid": "w"}, payload, lambda m: weak.sign(m, PKCS1v15(), SHA256()))
    assert_invalid(verifier.check(token), "'w' is not among the known RS256 keys")


def test_a_private_key_in_the_key_set_serves_by_its_public_half() -> None:
    private = jwt.get_algorithm_by_name("ES256").to_jwk(EC_KEY, as_dict=True)
    assert "d" in private
    verifier = JwtVerifier(jwks=key_set({**private, "kid": "k"}), clock=Clock())
    assert verifier.check(bearer(EC_KEY, "ES256", kid="k")) is None


@pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '{"keys": 3}', '{"keys": null}', f'{{"keys": {TOO_DEEP}}}'])
def test_a_text_that_is_no_key_set_stops_the_start(text: str) -> None:
    with pytest.raises(keys.UnusableKeyError, match="SUPABASE_JWKS: not a JWK set"):
        JwtVerifier(jwks=text)


def _written(encoding: serialization.Encoding, form: serialization.PublicFormat) -> str:
    return EC_KEY.public_key().public_bytes(encoding, form).decode()


@pytest.mark.parametrize(
    "text",
    [
        _written(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        _written(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        _written(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).replace(" ", "-"),
        json.dumps(jwt.get_algorithm_by_name("ES256").to_jwk(EC_KEY.public_key(), as_dict=True)),
        json.dumps(jwt.get_algorithm_by_name("RS256").to_jwk(RSA_KEY.public_key(), as_dict=True)),
    ],
)
def test_a_public_key_given_as_the_secret_stops_the_start(text: str) -> None:
    with pytest.raises(keys.UnusableKeyError, match="the JWT secret cannot be used"):
        JwtVerifier(secret=text)


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("secret", [SECRET, "p+/=_.~-1", "with a space, {and} a brace", "ünïcödé-\N{SNOWMAN}" * 3])
def test_a_secret_of_any_characters_verifies(secret: str) -> None:
    verifier = JwtVerifier(secret=secret, clock=Clock())
    assert verifier.check(bearer(secret, claims={})) is None
    assert_invalid(verifier.check(bearer(f"{secret}x", claims={})), "signature is wrong")


def test_with_no_key_at_all_nothing_passes() -> None:
    verifier = JwtVerifier(clock=Clock())
    assert_invalid(verifier.check(bearer()), "no JWT secret is set")
    assert_invalid(verifier.check(bearer(EC_KEY, "ES256", kid="k")), "not among the known")


# -- claims ----------------------------------------------------------------------------------------------


def test_expiry_and_start_have_no_leeway() -> None:
    clock = Clock()
    verifier = JwtVerifier(secret=SECRET, clock=clock)
    assert verifier.check(bearer(claims={"exp": NOW + 0.5})) is None
    assert_invalid(verifier.check(bearer(claims={"exp": NOW})), "expired 0 s ago")
    assert_invalid(verifier.check(bearer(claims={"exp": NOW - 90})), "expired 90 s ago")
    assert verifier.check(bearer(claims={"nbf": NOW})) is None
    assert_invalid(verifier.check(bearer(claims={"nbf": NOW + 60})), "valid only in 60 s")
    assert verifier.check(bearer(claims={})) is None


@pytest.mark.parametrize("value", ["soon", None, True, [1], {}])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_times_must_be_numbers(claim: str, value: object) -> None:
    verifier = JwtVerifier(secret=SECRET, clock=Clock())
    assert_invalid(verifier.check(bearer(claims={claim: value})), "claims cannot be read")


@pytest.mark.parametrize("exp", [10**30, -(10**30), 1e300])
def test_times_of_any_size_get_an_answer(exp: float) -> None:
    verdict = JwtVerifier(secret=SECRET, clock=Clock()).check(bearer(claims={"exp": exp}))
    assert (verdict is None) == (exp > 0)


@pytest.mark.parametrize("payload", [[], "text", 3, None])
def test_claims_must_be_an_object(payload: object) -> None:
    token = handmade({"alg": "HS256"}, payload, hmac_sha256(SECRET.encode()))
    assert_invalid(JwtVerifier(secret=SECRET, clock=Clock()).check(token), "claims cannot be read")


def test_critical_extensions_are_refused() -> None:
    token = handmade({"alg": "HS256", "crit": ["b64"], "b64": False}, {}, hmac_sha256(SECRET.encode()))
    assert_invalid(JwtVerifier(secret=SECRET, clock=Clock()).check(token), "extensions (crit)")


def test_subject_and_audience_are_not_our_business() -> None:
    claims = {"sub": 7, "aud": "authenticated", "iss": "anyone", "jti": 1, "iat": NOW + 60}
    assert JwtVerifier(secret=SECRET, clock=Clock()).check(bearer(claims=claims)) is None


# -- remembered tokens -----------------------------------------------------------------------------------


def test_a_remembered_token_ends_with_its_exp(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    verifier = JwtVerifier(secret=SECRET, clock=clock)
    token = bearer(claims={"exp": NOW + 100})
    verified: list[bytes] = []
    original = keys.Key.signed
    monkeypatch.setattr(
        keys.Key, "signed", lambda key, message, sig: verified.append(sig) or original(key, message, sig)
    )
    assert verifier.check(token) is None
    clock.now += 99.9
    assert verifier.check(token) is None
    assert len(verified) == 1
    clock.now += 0.2
    assert_invalid(verifier.check(token), "expired")
    assert len(verified) == 2


def test_refused_tokens_are_not_remembered() -> None:
    clock = Clock()
    verifier = JwtVerifier(secret=SECRET, clock=clock)
    token = bearer(claims={"nbf": NOW + 60})
    assert_invalid(verifier.check(token), "nbf")
    clock.now += 60
    assert verifier.check(token) is None


def test_the_memory_for_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_REMEMBERED", 3)
    verifier = JwtVerifier(secret=SECRET, clock=Clock())
    tokens = [bearer(claims={"sub": str(number)}) for number in range(5)]
    for token in tokens:
        assert verifier.check(token) is None
    assert list(verifier._accepted) == tokens[2:]
    long = bearer(claims={"sub": "x" * auth.MAX_REMEMBERED_BYTES})
    assert verifier.check(long) is None
    assert list(verifier._accepted) == tokens[2:]


# -- the remote key set ----------------------------------------------------------------------------------


async def test_an_unknown_key_is_fetched_once_then_decided_without_waiting() -> None:
    issuer = Issuer(jwk(EC_KEY, "e"))
    verifier = issuer.verifier(Clock(), secret=SECRET)
    assert verifier.check(bearer()) is None, "HS256 never waits"
    assert issuer.asked == 0
    assert await settled(verifier.check(TOKEN)) is None
    other = bearer(EC_KEY, "ES256", claims={"sub": "another"}, kid="e")
    assert verifier.check(other) is None
    assert issuer.asked == 1


async def test_a_key_at_hand_needs_no_fetch() -> None:
    issuer = Issuer(jwk(OTHER_EC_KEY, "e"))
    verifier = issuer.verifier(Clock(), jwks=key_set(jwk(EC_KEY, "e")))
    assert verifier.check(TOKEN) is None
    assert issuer.asked == 0


async def test_tokens_without_a_usable_algorithm_never_cause_a_fetch() -> None:
    issuer = Issuer(jwk(EC_KEY, "e"))
    verifier = issuer.verifier(Clock(), secret=SECRET)
    for alg in ("none", "ES384", "HS256"):
        forged = handmade({"alg": alg, "kid": "e"}, {}, lambda _: b"0")
        assert isinstance(verifier.check(forged), Denial)
    assert issuer.asked == 0


async def test_a_flood_of_made_up_key_ids_costs_one_fetch_in_thirty_seconds() -> None:
    clock, issuer = Clock(), Issuer(jwk(EC_KEY, "e"))
    verifier = issuer.verifier(clock)
    assert_invalid(await settled(verifier.check(bearer(OTHER_EC_KEY, "ES256", kid="0"))), "not among")
    for number in range(1, 50):
        assert_invalid(verifier.check(bearer(OTHER_EC_KEY, "ES256", kid=str(number))), f"'{number}'")
    clock.now += remote_keys.FETCH_COOLDOWN_S - 0.1
    assert_invalid(verifier.check(bearer(OTHER_EC_KEY, "ES256", kid="x")), "not among")
    assert issuer.asked == 1
    clock.now += 0.1
    assert_invalid(await settled(verifier.check(bearer(OTHER_EC_KEY, "ES256", kid="x"))), "not among")
    assert issuer.asked == 2


async def test_concurrent_callers_share_a_fetch_and_none_can_cancel_it() -> None:
    issuer = Issuer(jwk(EC_KEY, "e"))
    issuer.gate = asyncio.Event()
    verifier = issuer.verifier(Clock())
    waiters = [asyncio.create_task(settled(verifier.check(TOKEN))) for _ in range(10)]
    await issuer.reached.wait()
    late = asyncio.create_task(settled(verifier.check(TOKEN)))
    waiters[0].cancel()
    issuer.gate.set()
    results = await asyncio.gather(*waiters, late, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [None] * 10
    assert issuer.asked == 1


async def test_several_pending_decisions_made_before_the_fetch_end_with_it() -> None:
    issuer = Issuer(jwk(EC_KEY, "e"))
    verifier = issuer.verifier(Clock())
    pending = [verifier.check(TOKEN) for _ in range(3)]
    assert [await settled(one) for one in pending] == [None] * 3
    assert issuer.asked == 1


async def test_rotation_brings_the_new_key_and_ends_the_withdrawn_one() -> None:
    clock, issuer = Clock(), Issuer(jwk(EC_KEY, "old"))
    verifier = issuer.verifier(clock)
    old, new = bearer(EC_KEY, "ES256", kid="old"), bearer(OTHER_EC_KEY, "ES256", kid="new")
    assert await settled(verifier.check(old)) is None
    issuer.entries = [jwk(EC_KEY, "old"), jwk(OTHER_EC_KEY, "new")]
    clock.now += remote_keys.FETCH_COOLDOWN_S
    assert await settled(verifier.check(new)) is None
    assert verifier.check(old) is None, "both serve while both are published"
    issuer.entries = [jwk(OTHER_EC_KEY, "new")]
    clock.now += remote_keys.FRESH_S - 1
    assert verifier.check(old) is None, "known keys are trusted for a while"
    clock.now += 1
    assert_invalid(await settled(verifier.check(old)), "'old' is not among the known ES256 keys")
    assert verifier.check(new) is None
    assert issuer.asked == 3


async def test_a_remembered_token_is_forgotten_when_a_fetch_withdraws_its_key() -> None:
    clock, issuer = Clock(), Issuer(jwk(EC_KEY, "old"))
    verifier = issuer.verifier(clock)
    old = bearer(EC_KEY, "ES256", kid="old")
    assert await settled(verifier.check(old)) is None
    issuer.entries = [jwk(OTHER_EC_KEY, "new")]
    clock.now += remote_keys.FETCH_COOLDOWN_S
    assert await settled(verifier.check(bearer(OTHER_EC_KEY, "ES256", kid="new"))) is None
    assert_invalid(verifier.check(old), "not among the known")


async def test_an_outage_of_the_issuer_keeps_the_known_keys() -> None:
    clock, issuer, warnings = Clock(), Issuer(jwk(EC_KEY, "e")), []
    verifier = issuer.verifier(clock, warn=warnings.append)
    assert await settled(verifier.check(TOKEN)) is None
    clock.now += remote_keys.FRESH_S
    issuer.error = OSError("no route to host")
    assert await settled(verifier.check(TOKEN)) is None
    assert warnings == ["the JWT keys at https://issuer.test/jwks.json could not be fetched: no route to host"]
    assert verifier.check(TOKEN) is None, "nobody waits again before the retry is due"
    issuer.error, issuer.entries, issuer.gate = None, [], asyncio.Event()
    issuer.reached.clear()
    clock.now += remote_keys.FETCH_RETRY_S
    assert verifier.check(TOKEN) is None, "nor while it goes on"
    await issuer.reached.wait()
    assert verifier.check(TOKEN) is None
    unknown = verifier.check(bearer(EC_KEY, "ES256", kid="x"))
    issuer.gate.set()
    assert_invalid(await settled(unknown), "not among the known")
    assert_invalid(verifier.check(TOKEN), "not among the known")
    assert issuer.asked == 3


async def test_the_pause_after_a_fetch_that_failed_begins_at_its_end() -> None:
    clock, asked = Clock(), []

    async def fetch(url: str) -> bytes:
        asked.append(url)
        clock.now += remote_keys.FETCH_TIMEOUT_S
        raise TimeoutError

    verifier = JwtVerifier(jwks_url="https://issuer.test/jwks.json", fetch=fetch, clock=clock)
    for attempt in (1, 2):
        assert_invalid(await settled(verifier.check(TOKEN)), "not among the known")
        assert_invalid(verifier.check(TOKEN), "not among the known")
        assert len(asked) == attempt
        clock.now += remote_keys.FETCH_RETRY_S


async def test_no_fetch_begins_while_one_that_was_given_up_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_keys, "FETCH_TIMEOUT_S", 0.01)
    clock, issuer = Clock(), Issuer(jwk(EC_KEY, "e"))
    issuer.gate = asyncio.Event()
    verifier = issuer.verifier(clock)
    others = asyncio.all_tasks()
    assert_invalid(await settled(verifier.check(TOKEN)), "not among the known")
    [given_up] = asyncio.all_tasks() - others
    clock.now += remote_keys.FETCH_COOLDOWN_S
    assert_invalid(verifier.check(TOKEN), "not among the known")
    assert issuer.asked == 1
    issuer.gate.set()
    await given_up
    assert await settled(verifier.check(TOKEN)) is None
    assert issuer.asked == 2


async def test_a_failed_first_fetch_is_tried_again_after_a_short_pause() -> None:
    clock, issuer = Clock(), Issuer(jwk(EC_KEY, "e"))
    issuer.error = OSError("connection refused")
    verifier = issuer.verifier(clock)
    assert_invalid(await settled(verifier.check(TOKEN)), "not among the known")
    issuer.error = None
    assert_invalid(verifier.check(TOKEN), "not among the known")
    clock.now += remote_keys.FETCH_RETRY_S
    assert await settled(verifier.check(TOKEN)) is None


async def test_a_clock_set_back_does_not_lock_the_key_set() -> None:
    clock, issuer = Clock(), Issuer()
    verifier = issuer.verifier(clock)
    assert_invalid(await settled(verifier.check(TOKEN)), "not among the known")
    clock.now -= 86_400
    issuer.entries = [jwk(EC_KEY, "e")]
    assert await settled(verifier.check(TOKEN)) is None


async def test_a_fetch_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_keys, "FETCH_TIMEOUT_S", 0.01)
    issuer, warnings = Issuer(jwk(EC_KEY, "e")), []
    issuer.gate = asyncio.Event()
    verifier = issuer.verifier(Clock(), warn=warnings.append)
    assert_invalid(await settled(verifier.check(TOKEN)), "not among the known")
    assert warnings == ["the JWT keys at https://issuer.test/jwks.json could not be fetched: TimeoutError"]


# -- over real HTTP --------------------------------------------------------------------------------------


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    with support.key_server() as server:
        yield server


async def test_keys_come_over_http(key_server: KeyServer) -> None:
    key_server.answer = (200, key_set(jwk(EC_KEY, "e"), jwk(RSA_KEY, "r")).encode())
    verifier = JwtVerifier(jwks_url=f"{key_server.url}/auth/v1/.well-known/jwks.json", clock=Clock())
    assert await settled(verifier.check(bearer(RSA_KEY, "RS256", kid="r"))) is None
    assert verifier.check(TOKEN) is None
    assert key_server.paths == ["/auth/v1/.well-known/jwks.json"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, b"{}"), "HTTP Error 500"),
        ((200, b"<html>"), "not a JWK set"),
        ((200, b" " * (remote_keys.MAX_KEY_SET_BYTES + 1)), "longer than 1048576 bytes"),
    ],
)
async def test_answers_that_are_no_key_set(key_server: KeyServer, answer: tuple[int, bytes], words: str) -> None:
    key_server.answer = answer
    warnings: list[str] = []
    verifier = JwtVerifier(jwks_url=key_server.url, clock=Clock(), warn=warnings.append)
    assert_invalid(await settled(verifier.check(TOKEN)), "not among the known")
    assert len(warnings) == 1
    assert words in warnings[0]


def test_a_fetch_that_hangs_takes_nobody_s_thread_and_holds_up_no_end() -> None:
    async def end_meanwhile(url: str) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        fetching = asyncio.create_task(remote_keys.fetch_over_http(url))
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            assert await asyncio.to_thread(lambda: "mine") == "mine"
            assert not fetching.done()
            hanging.extend(thread for thread in threading.enumerate() if thread.name == "fetch JWT keys")
            open_.append(connection.dup())

    hanging: list[threading.Thread] = []
    open_: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        asyncio.run(end_meanwhile(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert [thread.is_alive() for thread in hanging] == [True]
    for connection in open_:
        connection.close()
    for thread in hanging:
        thread.join(10)
        assert not thread.is_alive()


async def test_only_http_addresses_are_fetched() -> None:
    with pytest.raises(keys.UnusableKeyError, match="no http or https address"):
        await remote_keys.fetch_over_http("file:///etc/passwd")


# -- a third party ---------------------------------------------------------------------------------------


async def test_the_keys_that_an_issuers_configuration_names(key_server: KeyServer) -> None:
    key_server.publish(jwk(RSA_KEY, "r"), jwk(EC_KEY, "e"))
    verifier = JwtVerifier(secret=SECRET, issuer=key_server.url, clock=Clock())
    assert verifier.check(bearer()) is None
    assert key_server.paths == [], "only a token that needs a key has it fetched"
    assert await settled(verifier.check(bearer(RSA_KEY, "RS256", kid="r"))) is None
    assert verifier.check(TOKEN) is None
    assert_invalid(verifier.check(bearer(OTHER_EC_KEY, "ES256", kid="e")), "signature is wrong")
    assert_invalid(verifier.check(bearer(EC_KEY, "ES256", kid="other")), "not among")
    assert key_server.paths == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/.well-known/openid-configuration", (404, b"{}"), ": HTTP Error 404: Not Found"),
        ("/.well-known/openid-configuration", (200, b'{"issuer":"x"}'), "not an OpenID configuration"),
        ("/.well-known/openid-configuration", (200, b"<html>"), "not an OpenID configuration"),
        ("/.well-known/openid-configuration", (200, b'{"jwks_uri":"file:///etc/passwd"}'), "no http or https address"),
        ("/keys", (404, b"{}"), "/keys: HTTP Error 404: Not Found"),
        ("/keys", (200, b"[]"), "not a JWK set"),
    ],
)
async def test_an_issuer_without_keys(key_server: KeyServer, path: str, answer: tuple[int, bytes], words: str) -> None:
    key_server.publish(jwk(EC_KEY, "e"))
    key_server.answers[path] = answer
    clock, warnings = Clock(), []
    verifier = JwtVerifier(issuer=key_server.url, clock=clock, warn=warnings.append)
    assert_invalid(await settled(verifier.check(TOKEN)), "not among the known")
    (warning,) = warnings
    assert warning.startswith(f"the JWT keys at {key_server.url}/.well-known/openid-configuration could not be fetched")
    assert words in warning
    key_server.publish(jwk(EC_KEY, "e"))
    # Not asked again at once.
    assert_invalid(verifier.check(TOKEN), "not among the known")
    clock.now += remote_keys.FETCH_RETRY_S
    assert await settled(verifier.check(TOKEN)) is None


async def test_keys_that_others_sign_with_as_well_count_for_the_issuers_own_tokens(key_server: KeyServer) -> None:
    key_server.publish(jwk(RSA_KEY, "r"))
    verifier = JwtVerifier(issuer=key_server.url, issuer_shares_keys=True, clock=Clock())
    await settled(verifier.check(bearer(RSA_KEY, "RS256", kid="r")))
    for claims in ({}, {"iss": f"{key_server.url}/other"}, {"iss": [key_server.url]}):
        assert_invalid(verifier.check(bearer(RSA_KEY, "RS256", claims=claims, kid="r")), "another issuer")
    assert verifier.check(bearer(RSA_KEY, "RS256", claims={"iss": key_server.url}, kid="r")) is None
    other = JwtVerifier(issuer=key_server.url, clock=Clock())
    assert await settled(other.check(bearer(RSA_KEY, "RS256", claims={"iss": "anybody"}, kid="r"))) is None


async def test_a_third_party_beside_the_keys_of_the_project() -> None:
    """Each key set is asked for what it may have, and no more."""
    asked: list[str] = []
    published = {
        "https://project.test/jwks": {"keys": [jwk(EC_KEY, "project")]},
        "https://third.test/.well-known/openid-configuration": {"jwks_uri": "https://third.test/keys"},
        "https://third.test/keys": {"keys": [jwk(RSA_KEY, "third")]},
    }

    async def fetch(url: str) -> bytes:
        asked.append(url)
        return json.dumps(published[url]).encode()

    clock = Clock()
    verifier = JwtVerifier(
        jwks=key_set(jwk(OTHER_EC_KEY, "own")),
        jwks_url="https://project.test/jwks",
        issuer="https://third.test",
        fetch=fetch,
        clock=clock,
    )
    tokens = [bearer(EC_KEY, "ES256", kid="project", claims={}), bearer(RSA_KEY, "RS256", kid="third", claims={})]
    assert verifier.check(bearer(OTHER_EC_KEY, "ES256", kid="own")) is None
    assert asked == []
    assert await settled(verifier.check(tokens[0])) is None
    assert verifier.check(tokens[1]) is None
    assert sorted(asked) == sorted(published), "whose a token is cannot be seen: all were asked, and once"
    clock.now += remote_keys.FRESH_S
    asked.clear()
    assert await settled(verifier.check(tokens[0])) is None
    assert asked == ["https://project.test/jwks"]
    assert await settled(verifier.check(tokens[1])) is None
    assert asked[1:] == ["https://third.test/.well-known/openid-configuration", "https://third.test/keys"]


async def test_a_token_without_a_kid_may_be_of_any_of_the_key_sets() -> None:
    clock, issuer = Clock(), Issuer(jwk(EC_KEY, None))
    verifier = issuer.verifier(clock, jwks=key_set(jwk(OTHER_EC_KEY, "own")))
    assert verifier.check(bearer(OTHER_EC_KEY, "ES256")) is None
    assert issuer.asked == 0
    foreign = bearer(EC_KEY, "ES256")
    assert await settled(verifier.check(foreign)) is None
    assert verifier.check(bearer(EC_KEY, "ES256", claims={"sub": "another"})) is None
    forged = bearer(ec.generate_private_key(ec.SECP256R1()), "ES256")
    assert_invalid(verifier.check(forged), "signature is wrong")
    clock.now += remote_keys.FRESH_S
    assert isinstance(verifier.check(foreign), Pending), "its keys are those that are not fresh"
    assert issuer.asked == 1
