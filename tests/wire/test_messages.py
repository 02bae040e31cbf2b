"""The control channel's messages. The vectors hold for the guests of every language."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.wire import messages

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def decoded(line: bytes) -> messages.FromWorker:
    [message] = messages.decode_from_worker([line])
    return message


@pytest.mark.parametrize("vector", VECTORS["to_worker"], ids=json.dumps)
def test_what_the_node_says(vector: dict[str, object]) -> None:
    message = messages.decode_to_worker(json.dumps(vector).encode())
    assert json.loads(messages.encode(message)) == vector


@pytest.mark.parametrize("vector", VECTORS["from_worker"], ids=json.dumps)
def test_what_a_worker_says(vector: dict[str, object]) -> None:
    message = decoded(json.dumps(vector).encode())
    assert json.loads(messages.encode(message)) == vector


@pytest.mark.parametrize("line", VECTORS["broken_from_worker"])
def test_what_a_worker_must_not_say(line: str) -> None:
    with pytest.raises(messages.BrokenMessage):
        decoded(line.encode())


@pytest.mark.parametrize("decode", [decoded, messages.decode_to_worker])
def test_a_line_that_is_nested_without_end(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(messages.BrokenMessage, match="maximum recursion depth"):
        decode(b'{"x": ' + b"[" * 20_000)


@pytest.mark.parametrize("direction", ["to_worker", "from_worker"])
def test_the_vectors_hold_every_kind_of_message(direction: str) -> None:
    union = messages.ToWorker if direction == "to_worker" else messages.FromWorker
    kinds = {msgspec.inspect.type_info(kind).tag for kind in union.__args__}  # type: ignore[union-attr]
    assert {vector["type"] for vector in VECTORS[direction]} == kinds


@pytest.mark.parametrize("vector", VECTORS["from_worker"], ids=json.dumps)
def test_unknown_fields_are_ignored(vector: dict[str, object]) -> None:
    newer = {**vector, "from_the_future": {"type": "exit"}}
    assert decoded(json.dumps(newer).encode()) == decoded(json.dumps(vector).encode())


def test_what_was_said_before_a_broken_line_is_heard() -> None:
    lines = [messages.encode(messages.Pong(number)).rstrip() for number in (1, 2)]
    heard = messages.decode_from_worker([*lines, b"{", lines[0]])
    assert [next(heard), next(heard)] == [messages.Pong(1), messages.Pong(2)]
    with pytest.raises(messages.BrokenMessage):
        next(heard)


def test_a_message_is_one_line() -> None:
    line = messages.encode(messages.Logged(level="info", text="two\nlines\r\n"))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def test_the_complaint_shows_what_was_said_but_not_all_of_it() -> None:
    with pytest.raises(messages.BrokenMessage, match="unheard") as caught:
        decoded(b'{"type": "unheard", "text": "' + b"x" * 100_000)
    assert len(str(caught.value)) < 1000


@given(st.binary())
def test_whatever_bytes_come_they_are_a_message_or_a_broken_one(line: bytes) -> None:
    with pytest.raises(messages.BrokenMessage):
        decoded(line)


@given(st.sampled_from(VECTORS["from_worker"]), st.text(), JSON)
def test_whatever_a_field_holds_it_is_a_message_or_a_broken_one(
    vector: dict[str, object], name: str, value: object
) -> None:
    for field in (*vector, name):
        try:
            decoded(json.dumps({**vector, field: value}).encode())
        except messages.BrokenMessage:
            assert field in {"type", *messages_fields(vector)}


def messages_fields(vector: dict[str, object]) -> tuple[str, ...]:
    return type(decoded(json.dumps(vector).encode())).__struct_fields__
