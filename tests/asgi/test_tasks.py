"""The task of a request, whose first step is taken in place: nobody can tell it from any other."""

import asyncio
import contextvars
import importlib.util
import inspect
import os
import signal
import sys
from pathlib import Path

import pytest
from calls import Calls, body, note, notes, read, respond, start
from calls import each_loop as worker_class
from support import eventually

__all__ = ["worker_class"]

application = Calls()
kept = {}
variable = contextvars.ContextVar("variable", default="unset")


def say(*values):
    return " ".join(map(str, values)).encode()


@application.route
async def is_the_same_after_a_wait(_scope, _receive, send):
    first = asyncio.current_task()
    await asyncio.sleep(0)
    second = asyncio.current_task()
    await asyncio.sleep(0.001)
    await respond(send, say(first is second is asyncio.current_task()))


@application.route
async def is_a_task(_scope, _receive, send):
    task = asyncio.current_task()
    found = [isinstance(task, asyncio.Task), isinstance(task, asyncio.Future), asyncio.isfuture(task)]
    found += [task in asyncio.all_tasks(), task.done(), task.cancelled(), task.get_loop() is asyncio.get_running_loop()]
    found += [hash(task) == hash(asyncio.current_task()), task == asyncio.current_task(), {task: 1}[task]]
    await respond(send, say(*found))


@application.route
async def has_a_name(_scope, _receive, send):
    asyncio.current_task().set_name("shop")
    await asyncio.sleep(0)
    task = asyncio.current_task()
    await respond(send, say(task.get_name(), "shop" in repr(task), bool(task.get_stack())))


@application.route
async def answers_without_its_task(_scope, _receive, send):
    await respond(send, b"hello")


@application.route
async def is_cancelled_in_its_first_step(scope, _receive, send):
    asyncio.current_task().cancel()
    note(scope, "goes on")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(scope, "cancelled")
    await respond(send, b"hello")


@application.route
async def is_cancelled_before_its_own_first_step(scope, _receive, send):
    """Another callback of the loop has its turn before the task has."""
    task = asyncio.current_task()
    asyncio.get_running_loop().call_soon(task.cancel)
    try:
        await asyncio.sleep(0)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(scope, "cancelled")
    await respond(send, say(task is asyncio.current_task()))


@application.route
async def is_cancelled_by_who_waits_for_the_same(scope, _receive, send):
    """What the first step awaits is a future that is cancelled with the task."""
    task = asyncio.current_task()
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(task.cancel)
    try:
        await future
    except asyncio.CancelledError:
        note(scope, "cancelled", future.cancelled())
    await respond(send, b"hello")


@application.route
async def ends_cancelled(scope, _receive, send):
    task = kept[scope["query_string"]] = asyncio.current_task()
    await respond(send, b"hello")
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.sleep(60)


@application.route
async def has_a_callback(scope, _receive, send):
    asyncio.current_task().add_done_callback(lambda task: note(scope, "done", task.done(), task.exception() is None))
    await respond(send, b"hello")


@application.route
async def has_a_callback_and_fails(scope, _receive, send):
    asyncio.current_task().add_done_callback(lambda task: note(scope, "done", task.done()))
    await asyncio.sleep(0)
    raise ValueError("in its task")


@application.route
async def is_kept(scope, _receive, send):
    kept[scope["query_string"]] = asyncio.current_task()
    await respond(send, b"hello")


@application.route
async def is_kept_and_waits(scope, _receive, send):
    kept[scope["query_string"]] = asyncio.current_task()
    await asyncio.sleep(0.001)
    await respond(send, b"hello")


@application.route
async def awaits_the_kept_one(scope, _receive, send):
    task = kept[scope["query_string"]]
    result = await asyncio.wait_for(asyncio.shield(task), 5)
    await respond(send, say(task.done(), result))


@application.route
async def tells_of_the_kept_one(scope, _receive, send):
    task = kept[scope["query_string"]]
    await respond(send, say(task.done(), task.cancelled()))


@application.route
async def awaits_itself(_scope, _receive, send):
    try:
        await asyncio.current_task()
    except RuntimeError as error:
        await respond(send, say(type(error).__name__))


@application.route
async def awaits_the_same(scope, _receive, send):
    """A future that others await as well."""
    note(scope, "entered")
    await respond(send, await shared(scope))


@application.route
async def gives_it(scope, _receive, send):
    shared(scope).set_result(b"shared")
    await respond(send)


def shared(scope):
    return kept.setdefault(scope["query_string"], asyncio.get_running_loop().create_future())


@application.route
async def has_a_state(_scope, _receive, send):
    coroutine = asyncio.current_task().get_coro()
    found = inspect.getcoroutinestate(coroutine)
    await respond(send, say(found, await asyncio.ensure_future(state_of(coroutine))))


async def state_of(coroutine):
    return inspect.getcoroutinestate(coroutine)


@application.route
async def is_handed_to_another_task(_scope, _receive, send):
    """A task that was made in the first step waits for the request's."""
    task = asyncio.current_task()
    waiting = asyncio.ensure_future(asyncio.wait({task}, timeout=0.01))
    done, pending = await waiting
    await respond(send, say(len(done), pending == {task}))


@application.route
async def sets_a_variable(scope, _receive, send):
    found = variable.get()
    variable.set(scope["query_string"].decode())
    in_task = asyncio.ensure_future(of_a_task())
    await asyncio.sleep(0.001)
    await respond(send, say(found, variable.get(), await in_task))


@application.route
async def resets_a_variable(_scope, _receive, send):
    """The token is good in the context that it was made in, and in no copy of that."""
    token = variable.set("left")
    await asyncio.sleep(0.001)
    found = variable.get()
    variable.reset(token)
    await respond(send, say(found, variable.get()))


@application.route
async def sets_a_variable_at_once(_scope, _receive, send):
    found = variable.get()
    variable.set("left")
    await respond(send, say(found))


@application.route
async def sets_a_variable_last(_scope, _receive, send):
    """Set it when the first step is over, and answer."""
    found = variable.get()
    await asyncio.sleep(0.001)
    variable.set("left")
    await respond(send, say(found))


@application.route
async def sets_a_variable_and_reads(_scope, receive, send):
    found = variable.get()
    variable.set("left")
    await read(receive)
    await respond(send, say(found))


async def of_a_task():
    return variable.get()


@application.route
async def sends_from_other_tasks(_scope, _receive, send):
    await asyncio.ensure_future(send_in_task(send, start()))
    await asyncio.gather(*(send_in_task(send, body(b"block ", more=True)) for _ in range(3)))
    await send(body(b"end"))


async def send_in_task(send, event):
    await send(event)


@application.route
async def receives_in_another_task(_scope, receive, send):
    await respond(send, await asyncio.ensure_future(read(receive)))


@application.route
async def makes_tasks_of_them(_scope, receive, send):
    loop = asyncio.get_running_loop()
    event = await asyncio.create_task(receive())
    waiting = loop.create_task(receive())
    await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.wait({waiting})
    await asyncio.create_task(send(start()))
    await asyncio.create_task(send(body(say(waiting.cancelled()), more=True)))
    await asyncio.gather(send(body(event["body"], more=True)), send(body(b"end", more=True)))
    await asyncio.wait_for(send(body()), 5)


@application.route
async def gives_them_to_a_thread(_scope, receive, send):
    """The calls are made in the thread of the loop, and awaited by another."""
    loop = asyncio.get_running_loop()
    receiving, sending = receive(), send(start())

    def run():
        event = asyncio.run_coroutine_threadsafe(receiving, loop).result(5)
        asyncio.run_coroutine_threadsafe(sending, loop).result(5)
        return event["body"]

    await send(body(await loop.run_in_executor(None, run)))


@application.route
async def are_coroutines(_scope, receive, send):
    receiving, sending = receive(), send(start())
    found = [asyncio.iscoroutine(one) and inspect.isawaitable(one) for one in (receiving, sending)]
    receiving.close()
    sending.close()
    await send(body(say(*found)))


@application.route
async def has_a_timeout(_scope, receive, send):
    await read(receive)
    try:
        async with asyncio.timeout(0.01):
            await receive()
    except TimeoutError:
        await respond(send, say("timeout", asyncio.current_task().cancelling()))


@application.route
async def has_a_timeout_in_its_first_step(_scope, _receive, send):
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)
    except TimeoutError:
        await respond(send, say("timeout", asyncio.current_task().cancelling()))


@application.route
async def has_a_group(_scope, _receive, send):
    results = []

    async def work(number):
        await asyncio.sleep(0.001 * number)
        results.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(work(number))
    await respond(send, say(results))


@application.route
async def has_a_group_that_fails(_scope, receive, send):
    async def fail():
        raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(60)
    except BaseException as error:
        await respond(send, say(type(error).__name__, asyncio.current_task().cancelling()))


@application.route
async def uses_anyio(_scope, receive, send):
    import anyio

    await read(receive)
    results = []
    with anyio.CancelScope() as outer:
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            with anyio.CancelScope() as inner:
                inner.cancel()
                await anyio.sleep(60)
            results.append(await anyio.to_thread.run_sync(lambda: "thread"))
            outer.deadline = anyio.current_time() + 0.001
            await anyio.sleep(60)
    await respond(send, say(*results, outer.cancelled_caught, inner.cancelled_caught))


@application.route
async def polls_with_anyio(_scope, receive, send):
    """As Starlette's `is_disconnected` does, which enters a cancelled scope before anything else."""
    import anyio

    await read(receive)
    event = {}
    with anyio.CancelScope() as scope:
        scope.cancel()
        event = await receive()
    await respond(send, say(event))


@application.route
async def in_a_thread(_scope, _receive, send):
    loop = asyncio.get_running_loop()
    await respond(send, await loop.run_in_executor(None, lambda: b"thread"))


@application.route
async def from_a_thread(_scope, receive, send):
    """send() and receive() are called by a thread, which has the loop run them, as adapters do."""
    loop = asyncio.get_running_loop()

    def run():
        content = asyncio.run_coroutine_threadsafe(read(receive), loop).result(5)
        asyncio.run_coroutine_threadsafe(respond(send, content), loop).result(5)

    await loop.run_in_executor(None, run)


@application.route
async def others(_scope, _receive, send):
    await respond(send, say(len(asyncio.all_tasks() - {asyncio.current_task()})))


def content_of(server, target, method="GET", content=b""):
    with server.client() as client:
        response = client.request(method, target, content=content)
        assert response.status == 200, server.log()
        return response.content.decode()


def test_the_task_is_the_same_before_and_after_a_wait(server):
    assert content_of(server, "/is_the_same_after_a_wait") == "True"


def test_it_is_a_task_that_runs(server):
    assert content_of(server, "/is_a_task") == "True True True True False False True True True 1"


def test_it_keeps_its_name(server):
    assert content_of(server, "/has_a_name") == "shop True True"


def test_cancelled_in_its_first_step_it_is_cancelled_where_it_waits(server, key):
    assert content_of(server, f"/is_cancelled_in_its_first_step?{key}") == "hello"
    assert notes(server, key) == ["goes on", "cancelled"]


def test_cancelled_before_the_step_of_its_own_it_is_cancelled_once(server, key):
    assert content_of(server, f"/is_cancelled_before_its_own_first_step?{key}") == "True"
    assert notes(server, key) == ["cancelled"]


def test_what_the_first_step_awaits_is_cancelled_with_it(server, key):
    assert content_of(server, f"/is_cancelled_by_who_waits_for_the_same?{key}") == "hello"
    assert notes(server, key) == ["cancelled", True]


def test_cancelled_after_its_response_it_ends(server, key):
    assert content_of(server, f"/ends_cancelled?{key}") == "hello"
    eventually(lambda: content_of(server, f"/tells_of_the_kept_one?{key}").startswith("True"))


def test_a_callback_is_called_when_it_is_done(server, key):
    assert content_of(server, f"/has_a_callback?{key}") == "hello"
    eventually(lambda: notes(server, key) == ["done", True, True])


def test_a_callback_is_called_when_the_application_fails(server, key):
    with server.client() as client:
        assert client.request("GET", f"/has_a_callback_and_fails?{key}").status == 500
    eventually(lambda: notes(server, key) == ["done", True])


@pytest.mark.parametrize("target", ["/is_kept", "/is_kept_and_waits"])
def test_a_task_that_was_kept_can_be_awaited_later(server, key, target):
    assert content_of(server, f"{target}?{key}") == "hello"
    assert content_of(server, f"/awaits_the_kept_one?{key}") == "True None"


def test_it_cannot_await_itself(server):
    assert content_of(server, "/awaits_itself") == "RuntimeError"


def test_requests_of_one_turn_may_await_the_same_future(server, key):
    (worker,) = server.workers()
    clients = [server.client() for _ in range(3)]
    try:
        for client in clients:
            assert client.request("GET").status == 200
        # All have sent when it looks again.
        os.kill(worker, signal.SIGSTOP)
        try:
            eventually(lambda: is_stopped(worker))
            for client in clients:
                client.send(f"GET /awaits_the_same?{key} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        finally:
            os.kill(worker, signal.SIGCONT)
        eventually(lambda: notes(server, key) == ["entered"] * 3)
        content_of(server, f"/gives_it?{key}")
        assert [client.receive_response().content for client in clients] == [b"shared"] * 3
    finally:
        for client in clients:
            client.close()


def is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0] == "T"


def test_its_coroutine_tells_whether_it_runs_or_waits(server):
    assert content_of(server, "/has_a_state") == "CORO_RUNNING CORO_SUSPENDED"


def test_another_task_can_wait_for_it(server):
    assert content_of(server, "/is_handed_to_another_task") == "0 True"


def test_a_context_is_kept_across_waits_and_fresh_for_each_request(server):
    with server.client() as client:
        for name in ("one", "two"):
            assert client.request("GET", f"/sets_a_variable?{name}").content.decode() == f"unset {name} {name}"


def test_a_variable_that_was_set_before_a_wait_can_be_reset_after_it(server):
    assert content_of(server, "/resets_a_variable") == "left unset"


def test_a_context_is_fresh_for_requests_of_one_step_too(server):
    with server.client() as client:
        for _ in range(3):
            assert client.request("GET", "/sets_a_variable_at_once").content == b"unset"


def test_a_context_is_fresh_for_a_request_that_waited_for_another(server):
    with server.client() as client:
        client.send(b"GET /sets_a_variable_last HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
        assert [client.receive_response().content for _ in range(5)] == [b"unset"] * 5


def test_a_context_is_fresh_after_content_that_was_waited_for(server):
    head = b"POST /sets_a_variable_and_reads HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    with server.client() as client:
        client.send(head + bytes(1_000_000))
        assert client.receive_response().content == b"unset"
        client.send(b"GET /sets_a_variable_last HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        assert [client.receive_response().content for _ in range(2)] == [b"unset"] * 2


def test_events_may_be_sent_by_other_tasks(server):
    assert content_of(server, "/sends_from_other_tasks") == "block block block end"


def test_events_may_be_received_by_other_tasks(server):
    assert content_of(server, "/receives_in_another_task", "POST", b"hello") == "hello"


def test_a_task_can_be_made_of_what_send_and_receive_return(server):
    assert content_of(server, "/makes_tasks_of_them", "POST", b" hello ") == "True hello end"


def test_what_they_return_can_be_awaited_by_a_thread(server):
    assert content_of(server, "/gives_them_to_a_thread", "POST", b"hello") == "hello"


def test_what_they_return_counts_as_coroutines_and_need_not_be_awaited(server):
    assert content_of(server, "/are_coroutines") == "True True"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11")
@pytest.mark.parametrize("target", ["/has_a_timeout", "/has_a_timeout_in_its_first_step"])
def test_a_timeout_is_caught_and_leaves_no_cancellation(server, target):
    assert content_of(server, target) == "timeout 0"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup came with Python 3.11")
def test_a_group_of_tasks_is_waited_for(server):
    assert content_of(server, "/has_a_group") == "[0, 1, 2]"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup came with Python 3.11")
def test_a_group_that_fails_ends_its_request_task_and_uncancels_it(server):
    assert content_of(server, "/has_a_group_that_fails") == "ExceptionGroup 0"


@pytest.mark.skipif(importlib.util.find_spec("anyio") is None, reason="anyio is not installed")
def test_scopes_and_groups_of_anyio_work(server):
    assert content_of(server, "/uses_anyio") == "thread True True"


@pytest.mark.skipif(importlib.util.find_spec("anyio") is None, reason="anyio is not installed")
def test_a_receive_in_a_cancelled_scope_says_nothing_while_the_client_is_there(server):
    assert content_of(server, "/polls_with_anyio", "POST", b"hello") == "{}"


def test_threads_can_be_waited_for(server):
    assert content_of(server, "/in_a_thread") == "thread"


def test_a_thread_can_have_the_loop_send_and_receive(server):
    assert content_of(server, "/from_a_thread", "POST", b"hello") == "hello"


def test_no_task_is_left_of_requests_that_are_over(server):
    for target in ("/answers_without_its_task", "/has_a_name", "/is_the_same_after_a_wait", "/in_a_thread"):
        content_of(server, target)
    eventually(lambda: content_of(server, "/others") == "0")
