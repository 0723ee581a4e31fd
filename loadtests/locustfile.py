"""Users of the demo shops, at a fixed rate; each answer is checked, and locust exits with 1 when one was wrong.

    locust -f loadtests/locustfile.py --headless --run-time 20s

Variables: LOAD_RATE, requests a second of all users together; LOAD_RECORD, a file for what was measured in each
second; LOAD_WEBSOCKETS=1 for an application that speaks WebSocket.
"""

import os
import random
import sys
import time
from pathlib import Path

import gevent
import websocket
from locust import User, events, task
from locust.contrib.fasthttp import FastHttpUser
from locust.exception import CatchResponseError

sys.path.insert(0, str(Path(__file__).parent))

from comparison.recording import SecondsWriter
from journeys import ROLES, Answer, Ask

USERS = 40
RATE = float(os.environ.get("LOAD_RATE", "100"))
LATE = 1.0  # seconds after which a user gives up what it is behind
PATIENCE = 10.0  # seconds that a user waits for an answer


@events.init_command_line_parser.add_listener
def _(parser):
    parser.set_defaults(num_users=USERS, spawn_rate=USERS)


@events.init.add_listener
def _(environment, **_):
    if path := os.environ.get("LOAD_RECORD"):
        writer = SecondsWriter(Path(path))

        def note(request_type, name, response_time, exception, context, **_):
            writer.add(time.time(), f"{request_type} {name}", response_time, context["waits"], kind(exception))

        environment.events.request.add_listener(note)
        environment.events.quitting.add_listener(lambda **_: writer.close())


def kind(exception):
    """A failure in the words under which it is counted; empty for a success."""
    if exception is None:
        return ""
    return str(exception) if type(exception).__module__.startswith("locust") else type(exception).__name__


class Paced:
    """Sends its share of all requests, evenly."""

    def pause(self):
        users = self.environment.parsed_options.num_users or USERS
        self.due = getattr(self, "due", time.monotonic() + random.random() * users / RATE) + users / RATE
        ahead = self.due - time.monotonic()
        if ahead > 0:
            gevent.sleep(ahead)
        elif ahead < -LATE:
            self.due = time.monotonic()


class Traveller(Paced, FastHttpUser):
    """Goes on the journeys of its role, on one connection that is kept."""

    abstract = True
    host = "http://127.0.0.1:8000"
    connection_timeout = network_timeout = PATIENCE
    journeys = ()

    @task
    def travel(self):
        for journey in self.journeys:
            steps = journey(random)
            ask = next(steps)
            while ask is not None:
                self.pause()
                try:
                    ask = steps.send(self.send(ask))
                except StopIteration:
                    ask = None

    def send(self, ask: Ask) -> Answer:
        with self.client.request(
            ask.method,
            ask.target,
            name=ask.name.partition(" ")[2],
            data=ask.data,
            headers=dict(ask.fields),
            context={"waits": ask.waits},
            allow_redirects=False,
            catch_response=True,
        ) as response:
            answer = Answer(response.status_code, response.content or b"")
            # Without an answer the failure is there already, and says more than "status 0".
            if answer.status and (mistake := ask.mistake(answer)):
                response.failure(mistake)
            elif answer.status:
                response.success()
        return answer


class Chatter(Paced, User):
    """Says something on a WebSocket, and reads what is answered."""

    abstract = True
    host = Traveller.host
    open_socket = None

    @task
    def say(self):
        self.pause()
        said = f"{random.getrandbits(60):x}"
        began = time.perf_counter()
        failure = None
        try:
            answer = self.ask(said)
        except (OSError, websocket.WebSocketException):
            # Closed by a server that restarts, for example: once more, on a connection of its own.
            self.open_socket = None
            try:
                answer = self.ask(said)
            except (OSError, websocket.WebSocketException) as error:
                answer, failure, self.open_socket = None, error, None
        if failure is None and answer != f"You said: {said}":
            failure = CatchResponseError("content is wrong")
        self.environment.events.request.fire(
            request_type="WS",
            name="/chat",
            response_time=(time.perf_counter() - began) * 1e3,
            response_length=len(said),
            exception=failure,
            context={"waits": False},
        )

    def ask(self, said: str) -> str:
        if self.open_socket is None:
            self.open_socket = websocket.create_connection(self.host.replace("http", "ws") + "/chat", PATIENCE)
        self.open_socket.send(said)
        if not (answer := self.open_socket.recv()):
            raise websocket.WebSocketConnectionClosedException("closed instead of an answer")
        return answer


for name, role in ROLES.items():
    attributes = {"weight": role.weight, "journeys": role.journeys}
    globals()[name] = type(name, (Traveller,), {**attributes, "abstract": False, "__module__": __name__})
if os.environ.get("LOAD_WEBSOCKETS") == "1":
    Chatter.abstract = False
    Chatter.weight = 2
