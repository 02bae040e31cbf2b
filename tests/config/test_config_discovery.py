"""Which target gives which project, and which files become functions."""

from pathlib import Path
from typing import Any

import pytest

from outlast.config.settings import Project, load
from outlast.core.language import Language

SERVE = "Deno.serve(() => new Response('ok'))\n"
NAME_RULE = "a function's name is a letter, then letters, digits, - and _"
NONE_OF = "it holds none of index.ts, index.tsx, index.js, index.mjs, index.jsx, main.py"
PUT_ONE = "put a function at supabase/functions/hello/index.ts, as `outlast new hello --lang ts` does"


def entrypoints(project: Project) -> dict[str, str]:
    return {name: str(f.entrypoint.relative_to(project.root)) for name, f in project.functions.items()}


@pytest.mark.parametrize("target", [".", "supabase", "supabase/functions", "supabase/../supabase/functions/"])
def test_a_supabase_project_by_any_of_its_folders(project: Any, target: str) -> None:
    project.write({"supabase/config.toml": "[edge_runtime]\npolicy = 'oneshot'\n"})
    loaded = project.load(target)
    assert entrypoints(loaded) == {"hello": "supabase/functions/hello/index.ts"}
    assert loaded.policy == "oneshot"
    assert loaded.root == project.root
    assert loaded.functions_dir == project.root / "supabase/functions"
    assert loaded.state_dir == project.root / ".outlast"


def test_a_relative_target(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root / "supabase")
    for target in ("functions", "..", "."):
        assert load(Path(target), environ={}).root == project.root


def test_a_folder_that_is_not_called_supabase_but_has_its_config(folder: Any) -> None:
    folder.write({"backend/functions/hello/index.ts": SERVE, "backend/config.toml": ""})
    for target in ("backend", "backend/functions"):
        loaded = folder.load(target)
        assert loaded.root == folder.root
        assert loaded.functions_dir == folder.root / "backend/functions"


def test_a_folder_of_functions(folder: Any) -> None:
    folder.write(
        {
            "fns/hello/index.ts": SERVE,
            "fns/other/index.js": SERVE,
            "fns/config.toml": "[functions.hello]\nverify_jwt = false\n",
            "fns/.env": "A=1\n",
        }
    )
    loaded = folder.load("fns")
    assert entrypoints(loaded) == {"hello": "hello/index.ts", "other": "other/index.js"}
    assert loaded.root == loaded.functions_dir == folder.root / "fns"
    assert not loaded.functions["hello"].verify_jwt
    assert loaded.functions["other"].env["A"] == "1"


def test_a_linked_functions_folder_keeps_its_project(project: Any) -> None:
    (project.root / "supabase/functions").rename(project.root / "elsewhere")
    (project.root / "supabase/functions").symlink_to(project.root / "elsewhere")
    (project.root / "elsewhere/linked").symlink_to(project.root / "elsewhere/hello")
    loaded = project.load("supabase/functions")
    assert loaded.root == project.root
    assert entrypoints(loaded) == {
        "hello": "supabase/functions/hello/index.ts",
        "linked": "supabase/functions/linked/index.ts",
    }


@pytest.mark.parametrize(
    ("config", "warned"), [("", True), ("[functions.both]\nentrypoint = 'functions/both/main.py'", False)]
)
def test_two_languages_in_one_folder(project: Any, config: str, warned: bool) -> None:
    both = {"supabase/functions/both/index.ts": SERVE, "supabase/functions/both/main.py": ""}
    project.write({**both, "supabase/config.toml": config})
    loaded = project.load()
    assert loaded.functions["both"].language is (Language.TYPESCRIPT if warned else Language.PYTHON)
    hint = "functions.both.entrypoint in config.toml says which of the two"
    warning = f"supabase/functions/both/main.py: is not served: index.ts beside it is; {hint}"
    assert loaded.warnings == ((warning,) if warned else ())


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("greet/index.ts", "greet"),
        ("greet/index.mjs", "greet"),
        ("greet/run.ts", "run"),
        ("1st/index.ts", "index"),
    ],
)
def test_one_file(folder: Any, file: str, name: str) -> None:
    folder.write({file: SERVE, "greet/other/index.ts": SERVE, "greet/.env": "A=1"})
    loaded = folder.load(file)
    (function,) = loaded.functions.values()
    assert (function.name, function.entrypoint) == (name, folder.root / file)
    assert function.folder == loaded.root == (folder.root / file).parent
    assert loaded.warnings == ()


def test_one_file_of_a_supabase_project_has_the_project_s_settings(project: Any) -> None:
    project.write(
        {
            "supabase/functions/broken/index.ts": SERVE,
            "supabase/functions/.env": "A=1",
            "supabase/config.toml": "[functions]\nhello.verify_jwt = false\nbroken.import_map = 'no'\n",
            "supabase/outlast.toml": "[functions.broken.limits]\nboot_timeout_ms = 1\n",
        }
    )
    loaded = project.load("supabase/functions/hello/index.ts")
    assert loaded.root == project.root
    assert list(loaded.functions) == ["hello"]
    assert not loaded.functions["hello"].verify_jwt
    assert loaded.functions["hello"].env["A"] == "1"


def test_one_file_that_is_switched_off(project: Any) -> None:
    project.write({"supabase/config.toml": "[functions.hello]\nenabled = false\n"})
    assert project.error("supabase/functions/hello/index.ts") == (
        "supabase/config.toml:2: functions.hello.enabled: is false: this function is switched off; "
        "set it to true to serve it"
    )


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("notes.md", "notes.md: is not a function: it does not end in .ts, .tsx, .mts, .js, .jsx, .mjs, .py"),
        ("1.ts", f"1.ts: gives no valid name: {NAME_RULE}; rename the file"),
    ],
)
def test_one_file_that_cannot_be_served(folder: Any, file: str, text: str) -> None:
    folder.write({file: SERVE})
    assert folder.error(file) == text


def test_one_python_file(folder: Any) -> None:
    folder.write({"resize/main.py": ""})
    function = folder.load("resize/main.py").functions["resize"]
    assert (function.language, function.entrypoint) == (Language.PYTHON, folder.root / "resize" / "main.py")


def test_the_first_entrypoint_of_a_folder_counts(folder: Any) -> None:
    order = ["index.ts", "index.tsx", "index.js", "index.mjs", "index.jsx", "main.py"]
    for start in range(len(order)):
        folder.write({f"f{start}/{name}": SERVE for name in order[start:]})
    assert entrypoints(folder.load()) == {f"f{i}": f"f{i}/{name}" for i, name in enumerate(order)}


def test_what_is_passed_over(project: Any) -> None:
    project.write(
        {
            "supabase/functions/_shared/index.ts": SERVE,
            "supabase/functions/.git/index.ts": SERVE,
            "supabase/functions/node_modules/x.js": "",
            "supabase/functions/import_map.json": "{}",
            "supabase/functions/2fast/index.ts": SERVE,
            "supabase/functions/empty/readme.md": "",
            "supabase/functions/resize/main.py": "",
            "supabase/config.toml": "[functions.gone]\nverify_jwt = false\n",
        }
    )
    loaded = project.load()
    languages = {name: function.language for name, function in loaded.functions.items()}
    assert languages == {"hello": Language.TYPESCRIPT, "resize": Language.PYTHON}
    assert loaded.warnings == (
        "supabase/config.toml:1: functions.gone: is not served: there is no supabase/functions/gone",
        f"supabase/functions/2fast: is not served: {NAME_RULE}",
        f"supabase/functions/empty: is not served: {NONE_OF}",
    )


def test_an_entrypoint_of_config_toml(project: Any) -> None:
    project.write(
        {
            "supabase/config.toml": (
                "[functions.hello]\nentrypoint = './functions/hello/src/main.ts'\n"
                "[functions.outside]\nentrypoint = '../lib/outside.ts'\n"
                "[functions.by_env]\nentrypoint = 'env(WHERE)'\n"
            ),
            "supabase/functions/hello/src/main.ts": SERVE,
            "lib/outside.ts": SERVE,
        }
    )
    loaded = project.load(environ={"WHERE": str(project.root / "lib/outside.ts")})
    assert entrypoints(loaded) == {
        "by_env": "lib/outside.ts",
        "hello": "supabase/functions/hello/src/main.ts",
        "outside": "lib/outside.ts",
    }
    assert loaded.functions["hello"].folder == project.root / "supabase/functions/hello"
    assert loaded.functions["outside"].folder == project.root / "lib"


def test_an_entrypoint_serves_without_any_functions_folder(folder: Any) -> None:
    folder.write({"supabase/config.toml": "[functions.a]\nentrypoint = '../a.ts'\n", "a.ts": SERVE})
    assert entrypoints(folder.load()) == {"a": "a.ts"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "entrypoint = './functions/hello/no.ts'",
            "entrypoint: there is no file supabase/functions/hello/no.ts",
        ),
        ("entrypoint = './functions/hello'", "entrypoint: there is no file supabase/functions/hello"),
        (
            "entrypoint = 'readme.md'",
            "entrypoint: 'readme.md' does not end in .ts, .tsx, .mts, .js, .jsx, .mjs, .py",
        ),
        ('entrypoint = "a\\u0000b"', "entrypoint: there is no file supabase/a\0b"),
        ("import_map = 'no.json'", "import_map: there is no file supabase/no.json"),
    ],
)
def test_a_file_that_config_toml_names_must_exist(project: Any, line: str, problem: str) -> None:
    project.write({"supabase/config.toml": f"[functions.hello]\n\n{line}\n", "supabase/readme.md": ""})
    assert project.error() == f"supabase/config.toml:3: functions.hello.{problem}"


def test_disabled_functions_are_not_looked_at(project: Any) -> None:
    settings = "[functions]\nhello.enabled=false\nold = {enabled=false, entrypoint='no'}\n"
    project.write({"supabase/config.toml": settings})
    loaded = project.load()
    assert loaded.functions == {}
    assert loaded.warnings == ()
    # Those behind them are.
    project.write({"supabase/config.toml": f"{settings}new = {{entrypoint='new.ts'}}\n", "supabase/new.ts": SERVE})
    assert list(project.load().functions) == ["new"]


def test_import_maps_and_deno_json(project: Any) -> None:
    project.write(
        {
            "supabase/functions/import_map.json": "{}",
            "supabase/functions/json/index.ts": SERVE,
            "supabase/functions/json/deno.json": "{}",
            "supabase/functions/jsonc/index.ts": SERVE,
            "supabase/functions/jsonc/deno.jsonc": "{}",
            "supabase/functions/deep/src/main.ts": SERVE,
            "supabase/functions/deep/deno.json": "{}",
            "supabase/functions/chosen/index.ts": SERVE,
            "supabase/functions/chosen/deno.json": "{}",
            "supabase/maps/m.json": "{}",
            "supabase/functions/own/index.ts": SERVE,
            "supabase/functions/own/import_map.json": "{}",
            "supabase/functions/shared/index.ts": SERVE,
            "supabase/functions/shared/deno.json": "{}",
            "supabase/functions/deno.jsonc": "{}",
            "supabase/config.toml": (
                "[functions.chosen]\nimport_map = './maps/m.json'\n"
                "[functions.shared]\nimport_map = './functions/deno.jsonc'\n"
                "[functions.deep]\nentrypoint = 'functions/deep/src/main.ts'\n"
            ),
        }
    )
    supabase = project.root / "supabase"
    assert {n: (f.deno_config, f.import_map) for n, f in project.load().functions.items()} == {
        "hello": (supabase / "functions/deno.jsonc", supabase / "functions/import_map.json"),
        "json": (supabase / "functions/json/deno.json", None),
        "jsonc": (supabase / "functions/jsonc/deno.jsonc", None),
        "deep": (supabase / "functions/deep/deno.json", None),
        "chosen": (supabase / "functions/chosen/deno.json", supabase / "maps/m.json"),
        "own": (supabase / "functions/deno.jsonc", supabase / "functions/own/import_map.json"),
        "shared": (supabase / "functions/deno.jsonc", None),
    }


def test_a_deno_json_of_all_functions(project: Any) -> None:
    project.write(
        {
            "supabase/functions/deno.json": "{}",
            "supabase/functions/own/index.ts": SERVE,
            "supabase/functions/own/deno.json": "{}",
            "supabase/functions/registered/index.ts": SERVE,
            "supabase/functions/registered/.npmrc": "",
            "supabase/src/handler.ts": SERVE,
            "supabase/config.toml": "[functions.elsewhere]\nentrypoint = 'src/handler.ts'\n",
            "supabase/deno.json": "{}",
        }
    )
    functions = project.root / "supabase/functions"
    assert {n: (f.deno_config, f.npmrc) for n, f in project.load().functions.items()} == {
        "hello": (functions / "deno.json", None),
        "own": (functions / "own/deno.json", None),
        "registered": (functions / "deno.json", functions / "registered/.npmrc"),
        "elsewhere": (functions / "deno.json", None),
    }


def test_package_json_and_npmrc(project: Any) -> None:
    project.write(
        {
            "supabase/functions/package.json": "{}",
            "supabase/functions/.npmrc": "",
            "supabase/functions/own/index.ts": SERVE,
            "supabase/functions/own/package.json": "{}",
            "supabase/functions/own/.npmrc": "",
            "supabase/functions/deep/src/main.ts": SERVE,
            "supabase/functions/deep/src/package.json": "{}",
            "supabase/functions/deep/package.json": "{}",
            "supabase/functions/deep/.npmrc": "",
            "supabase/functions/configured/index.ts": SERVE,
            "supabase/functions/configured/deno.json": "{}",
            "supabase/functions/elsewhere/index.ts": SERVE,
            "supabase/functions/elsewhere/.npmrc": "",
            "supabase/deno/deno.json": "{}",
            "supabase/deno/.npmrc": "",
            "supabase/config.toml": (
                "[functions.deep]\nentrypoint = 'functions/deep/src/main.ts'\n"
                "[functions.elsewhere]\nimport_map = './deno/deno.json'\n"
            ),
        }
    )
    supabase = project.root / "supabase"
    functions = supabase / "functions"
    assert {n: (f.package_json, f.npmrc) for n, f in project.load().functions.items()} == {
        "hello": (functions / "package.json", functions / ".npmrc"),
        "own": (functions / "own/package.json", functions / "own/.npmrc"),
        "deep": (functions / "deep/src/package.json", functions / "deep/.npmrc"),
        "configured": (functions / "package.json", None),
        "elsewhere": (functions / "package.json", supabase / "deno/.npmrc"),
    }


def test_static_files(project: Any) -> None:
    project.write(
        {
            "supabase/functions/hello/b.html": "",
            "supabase/functions/hello/a.html": "",
            "supabase/functions/hello/.hidden.html": "",
            "supabase/functions/hello/deep/er/c.html": "",
            "data/words.txt": "",
            "supabase/config.toml": (
                "[functions.hello]\nstatic_files = [\n  './functions/hello/*.html',\n"
                "  './functions/hello/**/a.html', '../data/words.txt', './nothing/*.png',\n]\n"
            ),
        }
    )
    loaded = project.load()
    assert [str(path.relative_to(project.root)) for path in loaded.functions["hello"].static_files] == [
        "supabase/functions/hello/.hidden.html",
        "supabase/functions/hello/a.html",
        "supabase/functions/hello/b.html",
        "data/words.txt",
    ]
    assert loaded.warnings == (
        "supabase/config.toml:2: functions.hello.static_files: no file matches './nothing/*.png'",
    )


@pytest.mark.parametrize("name", ["1st", "_x", "a.b", "a b", ""])
def test_a_section_with_a_bad_name(project: Any, name: str) -> None:
    project.write({"supabase/config.toml": f'[functions.hello]\n[functions."{name}"]\n'})
    shown = name if name in ("1st", "_x") else f'"{name}"'
    assert project.error() == f"supabase/config.toml:2: functions.{shown}: is not a valid name: {NAME_RULE}"


@pytest.mark.parametrize(
    ("files", "target", "text"),
    [
        (
            [],
            "nowhere",
            "nowhere: there is no such file or folder; name a folder that holds supabase/functions, "
            "a folder of functions, or one function file",
        ),
        (
            ["readme.md"],
            ".",
            f"DIR: holds neither supabase/functions nor a folder with a function; {PUT_ONE}",
        ),
        (
            ["supabase/seed.sql"],
            ".",
            f"supabase/functions: there is no such folder; {PUT_ONE}",
        ),
        (
            ["supabase/functions/.env"],
            ".",
            f"supabase/functions: holds no folder with a function; {PUT_ONE}",
        ),
        (
            ["supabase/functions/x/readme.md"],
            ".",
            f"supabase/functions: holds no folder with a function; {PUT_ONE} "
            f"(supabase/functions/x: is not served: {NONE_OF})",
        ),
        (
            [f"{name}/readme.md" for name in "abcde"],
            ".",
            f"DIR: holds neither supabase/functions nor a folder with a function; {PUT_ONE} "
            f"({'; '.join(f'{name}: is not served: {NONE_OF}' for name in 'abc')}; and 2 more)",
        ),
        (
            [f"{name}/readme.md" for name in "abc"],
            ".",
            f"DIR: holds neither supabase/functions nor a folder with a function; {PUT_ONE} "
            f"({'; '.join(f'{name}: is not served: {NONE_OF}' for name in 'abc')})",
        ),
        (
            ["hello/index.ts"],
            "hello",
            "DIR/hello: holds no folder with a function; to serve index.ts name that file",
        ),
    ],
)
def test_nothing_to_serve(folder: Any, files: list[str], target: str, text: str) -> None:
    folder.write(dict.fromkeys(files, ""))
    assert folder.error(target) == text.replace("DIR/", "")


def test_a_name_the_system_refuses(folder: Any) -> None:
    assert folder.error("x" * 300) == f"{'x' * 300}: cannot be read: File name too long"
