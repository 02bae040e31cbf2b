"""The admin API of a node, from its start to its end."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from outlast.admin import place
from outlast.admin.address import Address
from outlast.admin.node import Node
from outlast.admin.place import NodePlace
from outlast.admin.server import Server
from outlast.telemetry.logs import Level

if TYPE_CHECKING:
    from outlast.admin.answering import Answering


LOAD_AGAIN_S = 1.0


class Administration:
    """Created before functions are served, so that a wrong address stops the start. Answers from `open` on."""

    def __init__(self, server: Server, address: Address, state_dir: Path, token: str, *, announced: bool) -> None:
        self.url = server.url
        self._server = server
        self._address = address
        self._state_dir = state_dir
        self._token = token
        self._announced = announced

    @classmethod
    async def prepare(
        cls, address: Address, state_dir: Path, environ_token: str | None, *, announced: bool
    ) -> "Administration":
        """``announced``: whether commands find the node through the project's folder.

        Raises `outlast.admin.place.Unusable` and `outlast.admin.server.CannotListen`.
        """
        token = place.token(state_dir, environ_token)
        return cls(await Server.listen(address), address, state_dir, token, announced=announced)

    @asynccontextmanager
    async def open(self, node: Node) -> AsyncIterator[None]:
        """Within the block, requests are answered and commands find the node."""
        try:
            self._server.serve(partial(self._load, node))
            if self._announced:
                self._announce(node)
            if self._server.took_another_port:
                node.log.emit("config", msg=f"the usual port is taken: the admin API listens at {self.url}")
            yield
        finally:
            place.withdraw(self._state_dir)
            node.log.feed.close()
            await self._server.close()

    async def _load(self, node: Node) -> "Answering":
        told = ""
        while True:
            try:
                # In a thread, so that the event loop is not blocked for that long.
                loaded = await asyncio.to_thread(import_module, "outlast.admin.answering")
                break
            except (OSError, ImportError, RuntimeError) as error:
                # Files and threads can run out, which is when the API is asked what is going on.
                if (text := f"the admin API cannot answer yet: {error}") != told:
                    told = text
                    node.log.emit("config", level=Level.WARNING, msg=text)
                await asyncio.sleep(LOAD_AGAIN_S)
        # As with everything loaded before, exempts it from garbage collection.
        gc.freeze()
        answering: Answering = loaded.Answering(
            node,
            token=self._token,
            scheme=self._address.scheme,
            names=self._address.names,
            loopback=self._server.loopback,
        )
        return answering

    def _announce(self, node: Node) -> None:
        found_by = NodePlace(url=node.url, admin_url=self.url, pid=os.getpid(), started=node.started)
        try:
            place.announce(self._state_dir, found_by)
        except OSError as error:
            text = f"{error.filename}: {error.strerror}: commands have to be told --admin-url"
            node.log.emit("config", level=Level.WARNING, msg=text)
