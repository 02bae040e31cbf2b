"""The functions of the same names with FastAPI's ``BackgroundTasks``."""

import asyncio

from asgi import burn
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import PlainTextResponse

later = FastAPI()
burning = FastAPI()


@later.get("/", response_class=PlainTextResponse)
async def keep(tasks: BackgroundTasks) -> str:
    tasks.add_task(asyncio.sleep, 0.010)
    return "ok"


@burning.get("/", response_class=PlainTextResponse)
async def keep_burning(tasks: BackgroundTasks) -> str:
    tasks.add_task(burn)
    return "ok"
