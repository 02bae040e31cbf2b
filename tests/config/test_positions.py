"""The line of every key, for all ways TOML has of writing one."""

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.config.positions import KeyPath, lines_of_keys

EVERYTHING = '''\
# a comment with = and [brackets]
title = "x"

[ owner ]   # spaces and a comment
name = 'it'   # not a key = 1
dob.year.month = 5
"quoted key" = 1
'literal.key' = 2
"dotted"."in \\"quotes\\"".x = 3

[database.replica."eu.west"]
ports = [
  8001,    # ] in a comment
  8002, "]", ']',
]
after = """
text = 1
[nothing]
\\""" still text"""
quotes = """"two quotes at the end"""""
raw = \'\'\'
x = 1 \\\'\'\'
empty = """"""
point = { x = 1, y = { z = 2 } }
last = 1

[[fruit]]
name = "apple"

[fruit.physical]
colour = "red"

[[fruit.variety]]
name = "red delicious"
[[fruit.variety]]
name = "granny"

[[fruit]]
name = "banana"
[[fruit.variety]]
name = "plantain"
'''


def leaves(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Paths of all values that are not tables or arrays of tables."""
    if isinstance(value, dict) and path != ("database", "replica", "eu.west", "point"):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def test_every_key_is_found_on_the_line_it_stands_on() -> None:
    lines = lines_of_keys(EVERYTHING)
    text = EVERYTHING.splitlines()
    paths = list(leaves(tomllib.loads(EVERYTHING)))
    assert len(paths) == 19
    for path in paths:
        last = str(path[-1]).replace('"', '\\"')
        assert last in text[lines[path] - 1].split("=")[0], path


def test_lines_of_one_document() -> None:
    assert lines_of_keys("[a]\nb.c = 1\n\n[a.d]\n[[e]]\nf = [\n1]\n[[e]]\ng = {h = 1}\nf = 2") == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", "c"): 2,
        ("a", "d"): 4,
        ("e",): 5,
        ("e", 0): 5,
        ("e", 0, "f"): 6,
        ("e", 1): 8,
        ("e", 1, "g"): 9,
        ("e", 1, "f"): 10,
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "  \t# blank\n"])
def test_a_document_without_keys(text: str) -> None:
    assert lines_of_keys(text) == {}


BARE = st.text("abcXYZ019-_", min_size=1, max_size=5)
STRINGS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)
TEXT_BLOCKS = st.text("ab\"'[]{}=#\n", max_size=12)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def block(text: str) -> str:
    return '"""\n' + text.replace('"', '\\"') + '"""'


VALUES = st.recursive(
    st.integers().map(str) | STRINGS.map(quoted) | TEXT_BLOCKS.map(block),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[\n" + ", # ] = [\n".join(items) + "\n]"),
    max_leaves=4,
)


@given(
    st.lists(
        st.tuples(BARE | STRINGS.map(quoted), st.lists(st.tuples(BARE | STRINGS.map(quoted), VALUES), max_size=3)),
        max_size=4,
    )
)
def test_generated_documents(tables: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """The document is built line by line, so that the expected lines are known by counting."""
    text = ""
    expected: dict[KeyPath, int] = {}
    for number, (name, pairs) in enumerate(tables):
        header = f"t{number}"
        expected[(header,)] = text.count("\n") + 1
        (table,) = tomllib.loads(f"{name} = 0")
        expected[(header, table)] = text.count("\n") + 1
        text += f"[{header}.{name}]\n"
        for index, (key, value) in enumerate(pairs):
            (plain,) = tomllib.loads(f"{key} = 0")
            expected[(header, table, f"k{index}")] = text.count("\n") + 1
            expected[(header, table, f"k{index}", plain)] = text.count("\n") + 1
            text += f"k{index}.{key} = {value}\n"
    tomllib.loads(text)
    assert lines_of_keys(text) == expected
