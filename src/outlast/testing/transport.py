"""What is asked of the server, and how it gets there: the same for tests with and without an event loop.

What a test wants takes one or more requests. It is written once, as a generator that yields requests, is sent their
answers, and returns what has come of them; here are the two ways to carry that out.
"""

import ssl
from collections.abc import Generator
from typing import Any, TypeVar

import httpx

__tracebackhide__ = True

T = TypeVar("T")
Steps = Generator[httpx.Request, httpx.Response, T]

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The server speaks none, and to load the certificates that the machine trusts would take longer than a call."""
_OPTIONS: dict[str, Any] = {
    # A proxy is not for this machine.
    "trust_env": False,
    "verify": NO_TLS,
}


def carry_out(steps: Steps[T]) -> T:
    with httpx.Client(**_OPTIONS) as client:
        try:
            request = next(steps)
            while True:
                try:
                    response = client.send(request)
                except httpx.TransportError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(response)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def carry_out_async(steps: Steps[T]) -> T:
    # One for each: an event loop may last no longer than its test.
    async with httpx.AsyncClient(**_OPTIONS) as client:
        try:
            request = next(steps)
            while True:
                try:
                    response = await client.send(request)
                except httpx.TransportError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(response)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
