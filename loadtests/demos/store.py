"""What the shops sell, and what their customers write about it: a file of SQLite that all workers share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
from typing import Any

PAGE = 24  # products on a page
SECRET = "known to everybody, because nothing is sold here"

_KINDS = ("tea", "coffee", "lamp", "chair", "kettle", "clock", "vase", "scarf", "basket", "pen")
_LOOKS = ("black", "white", "green", "small", "large", "old", "new", "plain", "striped", "folding", "round", "quiet")
_PATH = os.environ.get("SHOP_DATABASE") or os.path.join(tempfile.gettempdir(), f"shop-{os.getuid()}.sqlite")
_local = threading.local()


def products(page: int) -> list[dict[str, Any]]:
    """The products of a page; the first is 1."""
    return _rows("SELECT * FROM product ORDER BY id LIMIT ? OFFSET ?", PAGE, (max(1, page) - 1) * PAGE)


def search(text: str) -> list[dict[str, Any]]:
    """Those whose names have the text in them."""
    return _rows("SELECT * FROM product WHERE instr(name, ?) ORDER BY id LIMIT ?", text.lower(), PAGE)


def product(number: int) -> dict[str, Any] | None:
    """One product with the latest of its reviews."""
    found = _rows("SELECT * FROM product WHERE id = ?", number)
    if not found:
        return None
    reviews = _rows("SELECT author, text FROM review WHERE product = ? ORDER BY id DESC LIMIT 20", number)
    return {**found[0], "reviews": reviews}


def add_review(number: int, author: str, text: str) -> None:
    with _connection() as connection:
        connection.execute("INSERT INTO review (product, author, text) VALUES (?, ?, ?)", (number, author, text[:1000]))


def _rows(query: str, *values: object) -> list[dict[str, Any]]:
    return [dict(row) for row in _connection().execute(query, values)]


def _connection() -> sqlite3.Connection:
    """The connection of this thread, which is not open before the workers are forked."""
    if not hasattr(_local, "connection"):
        _local.connection = _open()
    return _local.connection


def _open(path: str = _PATH) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5)
    connection.row_factory = sqlite3.Row
    # What a crash of the machine loses is of no use to anybody.
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _prepare() -> None:
    """Make the file, unless it is there; of workers that do so at once, one is first, and the others take its file."""
    if os.path.exists(_PATH):
        return
    own = f"{_PATH}.{os.getpid()}"
    with contextlib.closing(_open(own)) as connection, connection:
        # The mode stays with the file. Two that change it at once fail instead of waiting.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, price TEXT)")
        connection.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, product INTEGER, author TEXT, text TEXT)")
        connection.execute("CREATE INDEX reviews ON review (product)")
        names = [f"{look} {kind}" for kind in _KINDS for look in _LOOKS]
        rows = [(number, name, f"{number * 37 % 90 + 9}.95") for number, name in enumerate(names, 1)]
        connection.executemany("INSERT INTO product VALUES (?, ?, ?)", rows)
    with contextlib.suppress(FileExistsError):
        os.link(own, _PATH)
    os.unlink(own)


_prepare()
