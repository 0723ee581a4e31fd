"""Connections that move after every response, and workers that are killed meanwhile: each answer is the right one.

With SOAK_REQUESTS=1000000 it takes some minutes.
"""

from __future__ import annotations

import asyncio
import collections
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from classes import with_each_class
from support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import Server

REQUESTS = int(os.environ.get("SOAK_REQUESTS", "60000"))
CLIENTS = 48
PROCESSES = 2
SECONDS_BETWEEN_KILLS = 0.4

APPLICATION = """
import os
journal = os.open("journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def application(environ, start_response):
    key = environ["QUERY_STRING"].encode()
    content = environ["wsgi.input"].read()
    os.write(journal, key + b"\\n")
    answer = key + b" " + content
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""

ASGI_APPLICATION = """
import os
journal = os.open("journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    content = b""
    while True:
        event = await receive()
        content += event["body"]
        if not event["more_body"]:
            break
    key = scope["query_string"]
    os.write(journal, key + b"\\n")
    answer = key + b" " + content
    length = str(len(answer)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": answer})
"""
ALWAYS = ("-w", "4", "--move-connections", "always", "--handoff-after", "0.001", "--keep-alive", "60")


class Client:
    """Requests on one connection after the other, none of which is repeated."""

    def __init__(self, address: tuple[str, int], name: str, requests: int) -> None:
        self._address = address
        self._name = name
        self._requests = requests
        self._random = random.Random(name)
        self._lost: list[str] = []
        self._outcomes: collections.Counter[str] = collections.Counter()

    async def run(self) -> tuple[collections.Counter[str], list[str]]:
        """What has become of the requests, and the keys of those that were lost."""
        reader = writer = None
        for number in range(self._requests):
            key = f"{self._name}-{number}"
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(*self._address)
                self._outcomes[await self._ask(reader, writer, key)] += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                self._outcomes["lost"] += 1
                self._lost.append(key)
                if writer is not None:
                    writer.close()
                writer = None
        if writer is not None:
            writer.close()
        return self._outcomes, self._lost

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> str:
        content = key.encode() * self._random.choice((0, 0, 0, 1, 30))
        head = f"POST /?{key} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        if self._random.random() < 0.1:
            # In two parts, so that one may move half read.
            writer.write(head[:20])
            await asyncio.sleep(0)
            writer.write(head[20:] + content)
        else:
            writer.write(head + content)
        answered = await reader.readuntil(b"\r\n\r\n")
        length = int(answered.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        return "right" if answered.startswith(b"HTTP/1.1 200 ") and answer == key.encode() + b" " + content else "wrong"


def ask(address: tuple[str, int], name: str, requests: int, results: multiprocessing.Queue) -> None:
    async def together() -> list[tuple[collections.Counter[str], list[str]]]:
        return await asyncio.gather(
            *(Client(address, f"{name}.{number}", requests // CLIENTS).run() for number in range(CLIENTS))
        )

    outcomes: collections.Counter[str] = collections.Counter()
    lost = []
    for counted, keys in asyncio.run(together()):
        outcomes += counted
        lost += keys
    results.put((outcomes, lost))


def kill_some(server: Server, are_done: Callable[[], bool]) -> int:
    """Kill one worker after the other until all is done; how many."""
    killed = 0
    while not are_done():
        time.sleep(SECONDS_BETWEEN_KILLS)  # how often is what this is about
        workers = server.workers()
        if len(workers) > 1:
            os.kill(random.choice(workers), signal.SIGKILL)
            killed += 1
    return killed


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.soak
@with_each_class
def test_every_answer_is_right_and_no_request_runs_twice(serve, tmp_path):
    judge(serve(APPLICATION, *ALWAYS), tmp_path)


@pytest.mark.soak
def test_every_answer_of_an_asgi_application_is_right(serve, tmp_path):
    judge(serve(ASGI_APPLICATION, *ALWAYS, "-k", "asgi"), tmp_path)


def judge(server: Server, directory: Path) -> None:
    """Ask a server, kill its workers, and look at what has become of the requests and of the descriptors."""
    eventually(lambda: len(server.workers()) == 4)
    before = open_files(server.pid)
    results: multiprocessing.Queue = multiprocessing.Queue()
    clients = [
        multiprocessing.Process(target=ask, args=(server.address, str(at), REQUESTS // PROCESSES, results))
        for at in range(PROCESSES)
    ]
    for client in clients:
        client.start()
    gathered: list[tuple[collections.Counter[str], list[str]]] = []

    def are_done() -> bool:
        while not results.empty():
            gathered.append(results.get())
        return len(gathered) == PROCESSES

    killed = kill_some(server, are_done)
    for client in clients:
        client.join()
    outcomes: collections.Counter[str] = sum((counted for counted, _ in gathered), collections.Counter())
    begun = collections.Counter((directory / "journal").read_text().split())
    lost = {key for _, keys in gathered for key in keys}
    print(f"{outcomes}, {killed} workers killed, {len(lost & set(begun))} of the lost ones had begun")
    assert outcomes["wrong"] == 0
    assert [key for key, times in begun.items() if times > 1] == []
    # Of one worker no more than the connections it had.
    assert outcomes["lost"] <= killed * CLIENTS * PROCESSES
    eventually(lambda: open_files(server.pid) == before)
    fresh = eventually(lambda: len(found := server.workers()) == 4 and found)
    eventually(lambda: len({open_files(pid) for pid in fresh}) == 1)
    assert Path(f"/proc/{server.pid}").exists()
