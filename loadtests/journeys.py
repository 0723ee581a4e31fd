"""What visitors of the demo shops do, and what they have to be answered; nothing here knows how requests are sent.

A journey is a generator: it yields an `Ask`, is sent the `Answer`, and goes on. Locust leads its users through them
(locustfile.py), and the tests lead one visitor through each.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Generator
from typing import NamedTuple
from urllib.parse import quote, urlencode

from demos.parcels import CATALOGUE, EVENTS

PRODUCTS = 120
PHOTO = 300 * 1024  # bytes
BOUNDARY = "photo-9f31c7"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Answer(NamedTuple):
    """What came back."""

    status: int
    content: bytes


class Ask(NamedTuple):
    """A request, and what its answer has to be.

    Args:
        name: what it is counted as; the target may have numbers in it.
        contains: a part of the content, where `content` is not all of it.
        waits: whether the application waits for something before it has answered; such requests are timed apart.
    """

    method: str
    target: str
    name: str
    status: int = 200
    contains: bytes = b""
    content: bytes | None = None
    data: bytes | None = None
    fields: dict[str, str] = {}  # noqa: RUF012 - It is never changed.
    waits: bool = False

    def mistake(self, answer: Answer) -> str:
        """What is wrong with the answer, in words that are the same for the same mistake; empty when it is right."""
        if answer.status != self.status:
            return f"status {answer.status} and not {self.status}"
        if (self.content is not None and answer.content != self.content) or self.contains not in answer.content:
            return "content is wrong"
        return ""


Journey = Callable[[random.Random], Generator[Ask, Answer, None]]


def browse(chance: random.Random) -> Generator[Ask, Answer, None]:
    """Look through pages of the shop."""
    yield Ask("GET", "/", "GET /", contains=b'<a href="/products/1">black tea</a>, 46.95')
    for _ in range(2):
        yield product_page(chance)
    word = chance.choice(("tea", "lamp", "clock", "pen"))
    yield Ask("GET", f"/search?q={quote(word)}", "GET /search", contains=word.encode() + b"</a>")


def call(chance: random.Random) -> Generator[Ask, Answer, None]:
    """Read what a page of an application in the browser reads: JSON."""
    page = chance.randint(1, 5)
    answer = yield Ask("GET", f"/api/products?page={page}", "GET /api/products", contains=b'"products"')
    listed = json.loads(answer.content)["products"] if answer.status == 200 else []
    for one in chance.sample(listed, min(3, len(listed))):
        name = json.dumps(one["name"]).encode()
        yield Ask("GET", f"/api/products/{one['id']}", "GET /api/products/…", contains=name)


def review(chance: random.Random) -> Generator[Ask, Answer, None]:
    """Log in, write about a product, and read it."""
    number, text = chance.randint(1, PRODUCTS), f"As expected, {chance.getrandbits(60):x}."
    yield Ask("GET", "/login", "GET /login", contains=b'<form method="post" action="/login">')
    yield Ask("POST", "/login", "POST /login", status=303, data=urlencode({"name": "Kim"}).encode(), fields=FORM)
    content = urlencode({"text": text}).encode()
    yield Ask("POST", f"/products/{number}/reviews", "POST /products/…/reviews", 303, data=content, fields=FORM)
    yield Ask("GET", f"/products/{number}", "GET /products/… (mine)", contains=text.encode())


def upload(chance: random.Random) -> Generator[Ask, Answer, None]:
    """Send a photograph, and have it back as a hash."""
    photo = chance.randbytes(PHOTO)
    head = 'Content-Disposition: form-data; name="photo"; filename="p.jpg"\r\nContent-Type: image/jpeg'
    content = f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
    digest = hashlib.sha256(photo).hexdigest().encode()
    yield Ask("POST", "/photos", "POST /photos", contains=digest, data=content, fields=MULTIPART)


def download(chance: random.Random) -> Generator[Ask, Answer, None]:
    """Fetch a file, and a product that is not there any more."""
    yield Ask("GET", "/catalogue.bin", "GET /catalogue.bin", content=CATALOGUE)
    yield Ask("GET", "/products/999999", "GET /products/… (none)", status=404)


def follow(chance: random.Random) -> Generator[Ask, Answer, None]:
    """Ask for what takes its time: an answer that waits for another service, and a stream of events."""
    yield Ask("GET", "/delivery", "GET /delivery", contains=b'"days"', waits=True)
    yield product_page(chance)
    yield Ask("GET", "/events", "GET /events", content=b"".join(EVENTS), waits=True)


def product_page(chance: random.Random) -> Ask:
    return Ask("GET", f"/products/{chance.randint(1, PRODUCTS)}", "GET /products/…", contains=b"reviews</h2>")


class Role(NamedTuple):
    """A kind of user: how many of all there are, and which journeys they go on in turn."""

    weight: int
    journeys: tuple[Journey, ...]


ROLES = {
    "Visitor": Role(10, (browse,)),
    "Caller": Role(6, (call,)),
    "Customer": Role(2, (review, upload)),
    "Collector": Role(1, (download,)),
    "Follower": Role(1, (follow,)),
}
