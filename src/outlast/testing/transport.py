"""Carries out requests to the server, for sync and async tests alike.

What a test asks for takes one or more requests. It is written once, as a generator that yields requests, is sent the
responses, and returns the result; these are the two ways to run it.
"""

import ssl
from collections.abc import Generator
from typing import Any, TypeVar

import httpx

__tracebackhide__ = True

T = TypeVar("T")
Steps = Generator[httpx.Request, httpx.Response, T]

OPTIONS: dict[str, Any] = {
    # No proxies: the server is on this machine.
    "trust_env": False,
    # It does not use TLS, and loading the machine's trusted certificates would take longer than a call.
    "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
}
"""Of a client that calls the server."""


def carry_out(steps: Steps[T]) -> T:
    with httpx.Client(**OPTIONS) as client:
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
    # A new client for each call, because an event loop may last only for one test.
    async with httpx.AsyncClient(**OPTIONS) as client:
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
