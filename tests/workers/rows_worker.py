"""A worker class whose slots have a row for each of `threads`, and that answers with how many rows its slot has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from plain_worker import PlainWorker

if TYPE_CHECKING:
    from pyserver.settings.model import Settings


class RowsWorker(PlainWorker):
    @classmethod
    def rows(cls, settings: Settings) -> int:
        return settings.threads

    def _answer(self, request: bytes) -> bytes:
        if b" /wait " in request:
            with open("gate") as gate, open(f"entered{self.generation}", "w"):
                gate.read()
        content = f"{self.scoreboard.rows} {os.getpid()}"
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()
