import pytest

from outlast.core import routes


@pytest.mark.parametrize(
    ("path", "query", "name", "target"),
    [
        (b"/functions/v1/hello", b"", "hello", b"/hello"),
        (b"/functions/v1/hello/", b"", "hello", b"/hello/"),
        (b"/functions/v1/hello/a/b", b"?c=d", "hello", b"/hello/a/b?c=d"),
        (b"/hello", b"", "hello", b"/hello"),
        (b"/hello/functions/v1/x", b"?", "hello", b"/hello/functions/v1/x?"),
        # Without a function's name behind it, it is not the prefix.
        (b"/functions/v1", b"", "functions", b"/functions/v1"),
        (b"/functions", b"", "functions", b"/functions"),
        (b"/functions/v1x/hello", b"", "functions", b"/functions/v1x/hello"),
        (b"/functions/v1/functions/v1/hello", b"", "functions", b"/functions/v1/hello"),
        ("/é".encode(), b"", "Ã©", "/é".encode()),
    ],
)
def test_names_a_function(path: bytes, query: bytes, name: str, target: bytes) -> None:
    found = routes.route(path, query)
    assert found is not None
    assert (found.name, found.target) == (name, target)


@pytest.mark.parametrize("path", [b"/", b"//", b"//hello", b"/functions/v1/", b"/functions/v1//hello"])
def test_names_nothing(path: bytes) -> None:
    assert routes.route(path, b"") is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/rest/v1/tasks", True),
        (b"/auth/v1", True),
        (b"/auth/v1/.well-known/jwks.json", True),
        (b"/storage/v1/object/images/a.png", True),
        (b"/realtime/v1/websocket", True),
        (b"/graphql/v1", True),
        (b"/functions/v1/rest/v1/tasks", False),
        (b"/rest/v10", False),
        (b"/rest", False),
        (b"/hello/rest/v1", False),
    ],
)
def test_paths_of_supabases_other_services(path: bytes, expected: bool) -> None:
    assert routes.is_other_service(path) is expected
