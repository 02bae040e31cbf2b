"""What changes takes effect within a second, what runs goes on to its end, and nobody else notices."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from tests.supervisor.site import Site, connected, function, site, worker_of
from tests.supervisor.stub_workers import house
from tests.support.key_server import key_server
from tests.support.node import write_project

EFFECT_S = 1
"""What is promised."""
SLACK_S = 6
"""For a machine that has other things to do."""

SAVED = """
Deno.serve(async () => {
  EdgeRuntime.waitUntil(new Promise((done) => setTimeout(done, 300)), { name: "tick" })
  await new Promise((done) => setTimeout(done, 20))
  return new Response("v%d")
})
"""
FUNCTIONS = {
    "plain": function("v1"),
    "bystander": function("bystander"),
    "broken": function("v1"),
    "slow": function("v1"),
    "removed": function("v1"),
    "shares": function(code="shared", imports='import { shared } from "../_shared/shared.ts"'),
    "_shared/shared.ts": 'export const shared = "v1"',
    "imports": function(code="outside", imports='import { outside } from "../../../outside.ts"'),
    "environment": function(code='Deno.env.get("GREETING") ?? "none"'),
    "configured": function("v1"),
    "limited": function("v1"),
    "guarded": function("v1"),
    "mapped": function(code="mapped", imports='import { mapped } from "mapped"'),
    "mapped/deno.json": '{ "importMap": "../../mapped.json" }',
    "saved": SAVED % 0,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("project")
    linked = tmp_path_factory.mktemp("elsewhere") / "linked"
    linked.mkdir()
    (linked / "index.ts").write_text(function("v1"))
    write_project(folder, FUNCTIONS, config="[functions.linked]\nverify_jwt = false\n")
    (folder / "outside.ts").write_text('export const outside = "v1"')
    (folder / "supabase/mapped.json").write_text('{ "imports": { "mapped": "./one.ts" } }')
    (folder / "supabase/one.ts").write_text('export const mapped = "v1"')
    (folder / "supabase/two.ts").write_text('export const mapped = "v2"')
    (folder / "supabase/functions/linked").symlink_to(linked)
    # Whatever does not end by itself at the end is a worker that was forgotten.
    patience = "--graceful-exit-timeout=600"
    async with site(folder, FUNCTIONS, patience, config="[functions.linked]\nverify_jwt = false\n") as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def bystander(served: Site) -> AsyncIterator[None]:
    """A function that the test does not concern: it must be the same worker after as before."""
    before = await served.get("bystander")
    yield
    assert worker_of(await served.get("bystander")) == worker_of(before)


def jwk(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey, kid: str) -> dict[str, object]:
    return {**jwt.get_algorithm_by_name("ES256").to_jwk(key, as_dict=True), "kid": kid}


async def until(served: Site, path: str, expected: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Asks until the answer is as expected."""
    response = None
    try:
        async with asyncio.timeout(EFFECT_S + SLACK_S):
            while not expected(response := await served.get(path)):
                assert response.status_code < 500, response.text
    except TimeoutError:
        raise AssertionError(f"still {response}: {response and response.text}\n{served.node.log_text()}") from None
    return response


async def takes_effect(served: Site, name: str, edit: Callable[[], object]) -> httpx.Response:
    """The function answers v1; after the edit, v2."""
    assert (await until(served, name, lambda response: response.text == "v1")).status_code == 200
    edit()
    return await until(served, name, lambda response: response.text == "v2")


@pytest.mark.usefixtures("bystander")
class TestAChange:
    async def test_of_the_function_itself(self, served: Site) -> None:
        file = served.functions / "plain/index.ts"
        old = worker_of(await served.get("plain"))
        new = await takes_effect(served, "plain", lambda: file.write_text(function("v2")))
        assert worker_of(new) != old
        await served.node.wait_for("shutdown", execution_id=old, reason="reload")

    async def test_of_a_file_that_is_replaced_by_another_one(self, served: Site) -> None:
        replace(served.functions / "plain/index.ts", function("v3"))
        await until(served, "plain", lambda response: response.text == "v3")

    async def test_of_a_shared_file(self, served: Site) -> None:
        file = served.functions / "_shared/shared.ts"
        await takes_effect(served, "shares", lambda: file.write_text('export const shared = "v2"'))

    async def test_of_an_imported_file_outside_of_the_functions_folder(self, served: Site) -> None:
        file = served.node.project / "outside.ts"
        await takes_effect(served, "imports", lambda: file.write_text('export const outside = "v2"'))

    async def test_of_an_import_map(self, served: Site) -> None:
        file = served.node.project / "supabase/mapped.json"
        await takes_effect(served, "mapped", lambda: file.write_text('{ "imports": { "mapped": "./two.ts" } }'))

    async def test_of_a_function_that_is_a_link_to_elsewhere(self, served: Site) -> None:
        file = (served.functions / "linked").resolve() / "index.ts"
        await takes_effect(served, "linked", lambda: file.write_text(function("v2")))

    async def test_that_adds_a_function(self, served: Site) -> None:
        assert (await served.get("added?")).status_code == 404
        (served.functions / "added").mkdir()
        (served.functions / "added/index.ts").write_text(function("new"))
        # Its section is missing, so it asks for a token.
        await until(served, "added", lambda response: response.status_code == 401)

    async def test_that_removes_a_function_leaves_its_running_request_and_task_alone(self, served: Site) -> None:
        running = asyncio.create_task(served.get("removed?wait=last-request&task=last-task"))
        await served.held("last-request", "last-task")
        shutil.rmtree(served.functions / "removed")
        await until(served, "removed", lambda response: response.status_code == 404)
        served.let_go("last-request", "last-task")
        assert (await running).text == "v1"
        await served.node.wait_for("task", name="last-task", outcome="fulfilled")
        await served.node.wait_for("shutdown", function="removed", reason="reload")

    async def test_of_config_toml(self, served: Site) -> None:
        config = served.node.project / "supabase/config.toml"
        text = config.read_text()
        assert (await served.get("configured")).status_code == 200
        section = "[functions.configured]\nverify_jwt = "
        config.write_text(text.replace(section + "false", section + "true"))
        await until(served, "configured", lambda response: response.status_code == 401)
        config.write_text(text)
        await until(served, "configured", lambda response: response.status_code == 200)

    async def test_of_outlast_toml(self, served: Site) -> None:
        old = worker_of(await served.get("limited"))
        overrides = served.node.project / "supabase/outlast.toml"
        overrides.write_text("[functions.limited.limits]\nunload_grace_ms = 1000\n")
        await until(served, "limited", lambda response: worker_of(response) != old)

    async def test_that_makes_the_configuration_wrong_changes_nothing(self, served: Site) -> None:
        config = served.node.project / "supabase/config.toml"
        text = config.read_text()
        old = worker_of(await served.get("configured"))
        config.write_text(text + "\n[edge_runtime]\npolicy = 'sometimes'\n")
        complaint = await served.node.wait_for("config", level="error")
        assert "config.toml:" in complaint["msg"]
        assert "policy" in complaint["msg"]
        assert worker_of(await served.get("configured")) == old
        config.write_text(text)


async def test_a_change_of_the_secret_that_tokens_are_checked_with(served: Site) -> None:
    config = served.node.project / "supabase/config.toml"
    text = config.read_text()
    secret = "a-secret-of-more-than-thirty-two-bytes"
    token = jwt.encode({"role": "anon"}, secret, "HS256")

    async def status() -> int:
        response = await served.client.get("/functions/v1/guarded", headers={"authorization": f"Bearer {token}"})
        return response.status_code

    config.write_text(text.replace("[functions.guarded]\nverify_jwt = false", "[functions.guarded]\n"))
    async with asyncio.timeout(EFFECT_S + SLACK_S):
        while await status() != 401:
            pass
        config.write_text(f'[auth]\njwt_secret = "{secret}"\n{config.read_text()}')
        while await status() != 200:
            pass


async def test_a_change_of_the_keys_that_tokens_are_signed_with(tmp_path: Path) -> None:
    """A third party's tokens, which others have signed, stay good."""
    functions = {
        "keys": function(code='`${Deno.env.get("SUPABASE_ANON_KEY")} ${Deno.env.get("SUPABASE_JWKS")}`'),
        "guarded": function("v1"),
    }
    third_party = ec.generate_private_key(ec.SECP256R1())
    foreign = jwt.encode({"sub": "somebody"}, third_party, "ES256", {"kid": "third"})
    file = tmp_path / "supabase/signing_keys.json"

    def sign_with(kid: str) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps([jwk(ec.generate_private_key(ec.SECP256R1()), kid)]))

    with key_server() as issuer:
        issuer.publish(jwk(third_party.public_key(), "third"))
        config = (
            "[auth]\nsigning_keys_path = './signing_keys.json'\n"
            f"[auth.third_party.workos]\nenabled = true\nissuer_url = '{issuer.url}'\n"
            "[functions.guarded]\nverify_jwt = true\n"
        )
        sign_with("old")
        async with site(tmp_path, functions, config=config) as served:

            async def anon_key(kid: str) -> str:
                """Signed with this key, which is then the only one that functions know."""
                response = await until(served, "keys", lambda response: f'"kid":"{kid}"' in response.text)
                token, key_set = response.text.split(" ")
                [public] = json.loads(key_set)["keys"]
                assert jwt.decode(token, jwt.PyJWK(public), algorithms=["ES256"])["role"] == "anon"
                return token

            async def statuses(*tokens: str) -> list[int]:
                headers = [{"authorization": f"Bearer {token}"} for token in tokens]
                return [
                    (await served.client.get("/functions/v1/guarded", headers=each)).status_code for each in headers
                ]

            old = await anon_key("old")
            assert await statuses(old) == [200]
            assert issuer.paths == []
            assert await statuses(foreign, foreign) == [200, 200]
            assert issuer.paths == ["/.well-known/openid-configuration", "/keys"]

            sign_with("new")
            new = await anon_key("new")
            assert await statuses(new, foreign, old) == [200, 200, 401]

            file.write_text("[")
            complaint = await served.node.wait_for("config", level="error")
            where = "supabase/config.toml:2: auth.signing_keys_path: supabase/signing_keys.json: is not a JSON array"
            assert complaint["msg"].startswith(where)
            assert await statuses(new) == [200]


async def test_what_the_settings_name_may_be_made_afterwards(tmp_path: Path) -> None:
    functions = {"keys": function(code='Deno.env.get("SUPABASE_JWKS")')}
    supabase = tmp_path / "supabase"
    key = ec.generate_private_key(ec.SECP256R1())
    async with site(tmp_path, functions) as served:
        config = supabase / "config.toml"
        config.write_text(f"[auth]\nsigning_keys_path = 'env(KEYS)'\n{config.read_text()}")
        await served.node.wait_for("config", level="error", msg=lambda msg: "env(KEYS) is not set" in msg)
        (supabase / ".env").write_text("KEYS=./signing_keys.json\n")
        await served.node.wait_for("config", level="error", msg=lambda msg: "there is no such file" in msg)
        (supabase / "signing_keys.json").write_text(json.dumps([jwk(key, "made")]))
        await until(served, "keys", lambda response: '"kid":"made"' in response.text)


async def test_a_change_of_the_environment_file(served: Site) -> None:
    file = served.functions / ".env"
    text = file.read_text()
    assert (await served.get("environment")).text == "none"
    file.write_text(f"{text}GREETING=hello\n")
    await until(served, "environment", lambda response: response.text == "hello")


@pytest.mark.usefixtures("bystander")
class TestALinkToItself:
    @pytest.mark.parametrize("path", ["loop", "plain/loop.ts", "_shared/loop.ts"])
    async def test_stays_and_hinders_nothing(self, served: Site, path: str) -> None:
        link_to_itself(served.functions / path)
        text = f"beside {path}"
        (served.functions / "plain/index.ts").write_text(function(text))
        await until(served, "plain", lambda response: response.text == text)

    async def test_in_place_of_an_entrypoint(self, served: Site) -> None:
        file = served.functions / "plain/index.ts"
        since = served.now
        link_to_itself(file)
        await served.node.wait_for("config", since=since, msg=lambda text: "plain: is not served" in text)
        assert (await served.get("plain")).status_code == 404
        replace(file, function("mended"))
        await until(served, "plain", lambda response: response.text == "mended")


async def test_a_link_to_itself_in_place_of_the_environment_file(served: Site) -> None:
    file = served.functions / ".env"
    text = file.read_text()
    since = served.now
    link_to_itself(file)
    await served.node.wait_for("config", since=since, msg=lambda text: ".env: cannot be read" in text)
    replace(file, f"{text}GREETING=again\n")
    await until(served, "environment", lambda response: response.text == "again")


def link_to_itself(path: Path) -> None:
    """Also in place of a file. At no moment is there none."""
    beside = path.with_name(f"{path.name}~")
    beside.symlink_to(path.name)
    beside.replace(path)


def replace(file: Path, text: str) -> None:
    beside = file.with_name(f"{file.name}~")
    beside.write_text(text)
    beside.replace(file)


@pytest.mark.usefixtures("bystander")
async def test_code_that_does_not_compile_answers_503_until_it_is_fixed(served: Site) -> None:
    file = served.functions / "broken/index.ts"
    since = served.now
    old = worker_of(await served.get("broken"))
    file.write_text("const x: = 3\n")
    failure = await served.node.wait_for("boot_failure", since=since, function="broken")
    assert "index.ts:1:" in failure["msg"]
    refused = await served.get("broken")
    assert (refused.status_code, refused.json()["code"]) == (503, "BOOT_ERROR")
    assert refused.headers["sb-error-code"] == "BOOT_ERROR"
    file.write_text(function("fixed"))
    async with asyncio.timeout(EFFECT_S + SLACK_S):
        while (response := await served.get("broken")).status_code == 503:
            pass
    assert response.text == "fixed"
    assert worker_of(response) != old


async def test_what_runs_in_the_old_worker_goes_on_to_its_end(served: Site) -> None:
    slow = asyncio.create_task(served.get("slow?wait=slow-request&task=slow-task"))
    await served.held("slow-request", "slow-task")
    (served.functions / "slow/index.ts").write_text(function("v2"))
    new = await until(served, "slow", lambda response: response.text == "v2")
    # The old one has heard of it at once.
    await served.node.wait_for("log", function="slow", msg="beforeunload: termination")
    served.let_go("slow-request")
    response = await slow
    assert response.text == "v1"
    assert worker_of(response) != worker_of(new)
    assert not served.node.found("shutdown", execution_id=worker_of(response))
    served.let_go("slow-task")
    task = await served.node.wait_for("task", name="slow-task")
    assert (task["outcome"], task["execution_id"]) == ("fulfilled", worker_of(response))
    await served.node.wait_for("shutdown", execution_id=worker_of(response), reason="reload")


SAVE_EVERY_S = 0.15


@pytest.mark.parametrize("versions", [4])
async def test_a_file_saved_under_load_fails_no_request_and_cuts_no_task(served: Site, versions: int) -> None:
    """Until so many have answered: how long one takes to come up, when the next is saved already, is the machine's."""
    since = served.now
    answers: list[httpx.Response] = []
    answered: set[str] = set()

    async def call() -> None:
        async with connected(served.node) as client:
            while len(answered) < versions:
                response = await client.get("/functions/v1/saved")
                answers.append(response)
                answered.add(response.text)

    async def save() -> None:
        saved = 0
        while len(answered) < versions:
            saved += 1
            (served.functions / "saved/index.ts").write_text(SAVED % saved)
            # The pace of the saves is what is tested.
            await asyncio.sleep(SAVE_EVERY_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(save())
        for _ in range(8):
            group.create_task(call())
    assert {response.status_code for response in answers} == {200}
    await served.node.wait_for("task", count=len(answers), since=since, function="saved", timeout=60)
    outcomes = {event["outcome"] for event in served.node.found("task", since, function="saved")}
    assert outcomes == {"fulfilled"}


async def test_the_folder_of_shared_files_is_replaced_at_once(served: Site) -> None:
    shared, other = served.functions / "_shared", served.functions.with_name("other")
    assert (await served.get("shares")).status_code == 200
    shutil.copytree(shared, other, symlinks=True)
    (other / "shared.ts").write_text('export const shared = "v3"')
    shared.rename(served.functions.with_name("old"))
    other.rename(shared)
    await until(served, "shares", lambda response: response.text == "v3")


async def test_the_folder_of_all_functions_is_replaced_at_once(tmp_path: Path) -> None:
    async with site(tmp_path, {"hello": function("v1")}) as served:
        functions, new = served.functions, served.functions.with_name("new")
        shutil.copytree(functions, new)
        (new / "hello/index.ts").write_text(function("v2"))

        def replace_all() -> None:
            functions.rename(functions.with_name("old"))
            new.rename(functions)

        await takes_effect(served, "hello", replace_all)
        (functions / "hello/index.ts").write_text(function("v3"))
        await until(served, "hello", lambda response: response.text == "v3")


async def test_a_folder_around_a_function_concerns_it_only_with_the_function_s_own() -> None:
    async with house() as there:
        await there.pool.prepare()
        folder = there.function.folder
        assert there.pool.is_concerned(folder)
        # As when somebody has changed its mode.
        assert not there.pool.is_concerned(folder.parent)
        old = folder.rename(f"{folder}-old")
        assert there.pool.is_concerned(folder.parent)
        folder.mkdir()
        assert there.pool.is_concerned(folder.parent)
        shutil.rmtree(old)
