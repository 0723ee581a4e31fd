"""Whether the demo shops answer what the users of the load tests ask, in Flask, in Django and in FastAPI."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import pytest
from comparison.servers import DEMOS
from journeys import ROLES, Answer
from support import Server
from websocket_client import WebSocketClient

LOADTESTS = Path(__file__).parents[2] / "loadtests"
JOURNEYS = [journey for role in ROLES.values() for journey in role.journeys]


@pytest.fixture(scope="module", params=DEMOS)
def shop(request, tmp_path_factory):
    """A shop with two workers, so that nothing may be kept in one of them."""
    if DEMOS[request.param].interface == "asgi" and sys.platform != "linux":
        pytest.skip("the asgi class waits with epoll")
    directory = tmp_path_factory.mktemp("shop")
    variables = {"SHOP_DATABASE": str(directory / "shop.sqlite")}
    arguments = ("--workers", "2", "--pythonpath", str(LOADTESTS))
    server = Server(DEMOS[request.param].application, *arguments, directory=directory, env=variables)
    server.wait_until_listening()
    yield server
    print(server.log())
    server.stop()


class Visitor:
    """Sends each request on a connection of its own, so that any worker may have to answer; keeps cookies."""

    def __init__(self, server):
        self.server = server
        self.cookies = {}

    def send(self, ask):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        fields = [*ask.fields.items(), *([("Cookie", cookie)] if cookie else [])]
        with self.server.client(timeout=30) as client:
            response = client.request(ask.method, ask.target, fields, ask.data or b"")
        for value in response.values("Set-Cookie"):
            self.cookies.update(re.findall(r"^([^=]+)=([^;]*)", value))
        return Answer(response.status, response.content)


def travel(journey, server):
    """What was wrong on the journey, by name of the request; and how many requests there were."""
    visitor = Visitor(server)
    steps = journey(random.Random(5))
    ask, mistakes, count = next(steps), {}, 0
    while ask is not None:
        answer = visitor.send(ask)
        count += 1
        if mistake := ask.mistake(answer):
            mistakes[ask.name] = (mistake, answer)
        try:
            ask = steps.send(answer)
        except StopIteration:
            ask = None
    return mistakes, count


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
def test_each_answer_of_a_journey_is_right(journey, shop):
    mistakes, count = travel(journey, shop)
    assert not mistakes
    assert count


def test_who_has_not_logged_in_writes_no_review(shop):
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    with shop.client(timeout=30) as client:
        assert client.request("POST", "/products/1/reviews", form, b"text=nothing").status == 403


def test_what_is_written_is_no_html(shop):
    with shop.client(timeout=30) as client:
        page = client.request("GET", "/search?q=%3Cscript%3E").content
    assert b"&lt;script&gt;" in page
    assert b"<script>" not in page


@pytest.mark.parametrize("shop", ["fastapi"], indirect=True)
def test_the_chat_answers(shop):
    with WebSocketClient(shop, "/chat") as client:
        client.send("hello")
        assert client.receive_message() == "You said: hello"


def test_a_wrong_answer_is_noticed():
    ask = next(JOURNEYS[0](random.Random(1)))
    assert ask.mistake(Answer(502, b"")) == "status 502 and not 200"
    assert ask.mistake(Answer(200, b"something else")) == "content is wrong"
