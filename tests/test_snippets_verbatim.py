"""The functions of ``fixtures/seeds`` hold what the two documents print, letter by letter.

A snippet may differ from its document in one way: its literal ``...`` gives way to something that runs.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
SEEDS = REPOSITORY / "tests/fixtures/seeds"
EXAMPLES = REPOSITORY / "src/outlast/examples/supabase/functions"

TYPESCRIPT_BLOCK = re.compile(r"^```(?:typescript|tsx|ts)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOML_BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKED_PART = re.compile(r"^// --- snippet: (\S+)\n(.*?)^// --- end of snippet$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    label: str
    """``DOCUMENT#N``, N counting the document's TypeScript blocks from 1."""
    text: str

    def pattern(self) -> re.Pattern[str]:
        return re.compile(r"[^\n]*".join(re.escape(part) for part in self.text.split("...")))


def documents() -> list[Path]:
    return sorted((SEEDS / "documents").glob("*.md"))


def snippets() -> list[Snippet]:
    return [
        Snippet(f"{document.stem}#{number}", text)
        for document in documents()
        for number, text in enumerate(TYPESCRIPT_BLOCK.findall(document.read_text()), start=1)
    ]


def functions() -> list[Path]:
    return sorted((SEEDS / "supabase/functions").glob("[!_]*/index.ts"))


def marked_parts(function: Path) -> list[Snippet]:
    return [Snippet(*match) for match in MARKED_PART.findall(function.read_text())]


def name_of(function: Path) -> str:
    return function.parent.name


def test_both_documents_print_typescript() -> None:
    counts = {document.stem: len(TYPESCRIPT_BLOCK.findall(document.read_text())) for document in documents()}
    assert counts == {"background-tasks-best-practices": 7, "background-tasks-guide": 4}


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.stem)
def test_every_code_block_is_of_a_kind_known_here(document: Path) -> None:
    text = document.read_text()
    fences = text.count("\n```")
    assert fences == 2 * (len(TYPESCRIPT_BLOCK.findall(text)) + len(TOML_BLOCK.findall(text)))


@pytest.mark.parametrize("snippet", snippets(), ids=lambda snippet: snippet.label)
def test_exactly_one_function_holds_the_snippet_verbatim(snippet: Snippet) -> None:
    holders = [
        name_of(function)
        for function in functions()
        for part in marked_parts(function)
        if snippet.pattern().fullmatch(part.text) and part.label == snippet.label
    ]
    assert len(holders) == 1, f"{snippet.label} is held by {holders or 'no function'}"


@pytest.mark.parametrize("function", functions(), ids=name_of)
def test_each_function_is_claimed_by_exactly_one_snippet(function: Path) -> None:
    parts = marked_parts(function)
    assert len(parts) == 1
    claims = [snippet.label for snippet in snippets() if snippet.pattern().fullmatch(parts[0].text)]
    assert claims == [parts[0].label]


def test_a_changed_letter_is_no_longer_verbatim() -> None:
    snippet = Snippet("any#1", "serve(async (req) => {\n  return new Response(...)\n})\n")
    assert snippet.pattern().fullmatch("serve(async (req) => {\n  return new Response('ok')\n})\n")
    assert not snippet.pattern().fullmatch("serve(async (req) => {\n  return  new Response('ok')\n})\n")
    assert not snippet.pattern().fullmatch("serve(async (req) => {\n  return new Response(\n'ok')\n})\n")


def test_the_project_of_the_seeds_is_configured_as_the_guide_says() -> None:
    (block,) = TOML_BLOCK.findall((SEEDS / "documents/background-tasks-guide.md").read_text())
    assert block in (SEEDS / "supabase/config.toml").read_text()


def test_the_function_in_the_readme_is_the_packaged_example() -> None:
    (block,) = TYPESCRIPT_BLOCK.findall((REPOSITORY / "README.md").read_text())
    assert block == (EXAMPLES / "background-task/index.ts").read_text()
