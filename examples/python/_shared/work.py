"""What the examples call: stand-ins for a database, a storage bucket and a mail service.

Each piece of work prints `NAME: started` and `NAME: ended`. It lasts until the server at `WORK_URL` has answered;
without `WORK_URL` it lasts `WORK_MS` milliseconds.
"""

import asyncio
import json
import os
import urllib.request
from collections.abc import Mapping
from typing import Any


async def work(name: str, subject: Mapping[str, Any] | None = None) -> None:
    what = "" if subject is None else f" {json.dumps(subject)}"
    print(f"{name}: started{what}")
    if url := os.environ.get("WORK_URL"):
        await asyncio.to_thread(_wait_for_answer, f"{url}?work={name}")
    else:
        await asyncio.sleep(float(os.environ.get("WORK_MS", "300")) / 1000)
    print(f"{name}: ended{what}")


def _wait_for_answer(url: str) -> None:
    with urllib.request.urlopen(url) as answer:  # noqa: S310, an address of the tests
        answer.read()


async def long_running_task() -> None:
    """Fails once its work is done: the examples that call it are about errors."""
    await work("longRunningTask")
    raise RuntimeError("the long-running task failed")


async def async_long_running_task() -> None:
    await work("asyncLongRunningTask")


async def send_email(*, to: str, subject: str, body: str) -> None:
    await work("sendEmail", {"to": to, "subject": subject})


async def log_error(error: BaseException) -> None:
    await work("logError", {"message": str(error)})


user = {"id": "user-1", "email": "ada@example.com"}
profile = {"org_id": "org-1"}


class _Bucket:
    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    async def upload(self, path: str, body: str) -> None:
        await work("upload", {"bucket": self._bucket, "path": path, "size": len(body)})


class _Storage:
    def from_(self, bucket: str) -> _Bucket:
        return _Bucket(bucket)


class _Query:
    def __init__(self, table: str, row: Mapping[str, Any]) -> None:
        self._subject = {"table": table, "row": row}

    async def execute(self) -> None:
        await work("insert", self._subject)


class _Table:
    def __init__(self, name: str) -> None:
        self._name = name

    def insert(self, row: Mapping[str, Any]) -> _Query:
        return _Query(self._name, row)


class _Supabase:
    """As much of supabase-py's asynchronous client as the examples use."""

    storage = _Storage()

    def table(self, name: str) -> _Table:
        return _Table(name)


supabase_admin = _Supabase()
