"""What arrives while the application keeps a worker is served by another one, in the meantime."""

import hashlib

import pytest
from calls import ASGI
from moving.applications import LARGE, large
from support import eventually

KILO = 1024
HEAD = b"POST /?%s HTTP/1.1\r\nHost: test\r\n"


def post(content, query=b"post"):
    return HEAD % query + b"Content-Length: %d\r\n\r\n" % len(content) + content


def chunked(content, query=b"chunked"):
    sizes = (content[at : at + 7000] for at in range(0, len(content), 7000))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(data), data) for data in sizes)
    return HEAD % query + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def content_of(length):
    return large()[:length]


def is_right(told, content):
    return (told["length"], told["sum"]) == (len(content), hashlib.sha256(content).hexdigest())


def is_elsewhere(told, site):
    return told["pid"] != site.busy


def test_a_request_on_a_connection_of_a_busy_worker_is_answered_by_another(shared_site):
    site = shared_site()
    visitor = site.keep_busy()
    assert is_elsewhere(visitor.ask(), site)
    site.let_go()


def test_the_connection_stays_with_the_other_one(shared_site):
    site = shared_site()
    visitor = site.keep_busy()
    assert len({visitor.ask()["pid"] for _ in range(5)}) == 1
    site.let_go()


def test_a_busy_worker_goes_on_when_it_can(shared_site):
    site = shared_site()
    site.keep_busy()
    busy, kept = site.busy, [one.visitor for one in site.held]
    site.let_go()
    assert [one.ask()["pid"] for one in kept] == [busy] * len(kept)


def test_a_loop_that_is_blocked_by_a_task_which_has_waited_is_busy(shared_site, worker_class):
    if worker_class is not ASGI:
        pytest.skip("it has no event loop")
    site = shared_site()
    visitor = site.keep_busy("/hold-later")
    assert is_elsewhere(visitor.ask(), site)
    site.let_go()


def test_without_a_handoff_it_waits(shared_site):
    site = shared_site("--handoff-after", "0")
    visitor = site.keep_busy()
    busy = site.busy
    visitor.begin()
    # Others are served meanwhile, and many times.
    (free,) = site.invite(1)
    assert [free.ask()["pid"] == busy for _ in range(50)] == [False] * 50
    assert site.worker_of(visitor) == busy
    site.let_go()
    assert visitor.hear()["pid"] == busy


def test_where_connections_do_not_move_it_waits(shared_site):
    site = shared_site("--move-connections", "off")
    visitor = site.keep_busy()
    busy = site.busy
    visitor.begin()
    (free,) = site.invite(1)
    assert [free.ask()["pid"] == busy for _ in range(50)] == [False] * 50
    site.let_go()
    assert visitor.hear()["pid"] == busy


def silent_visitors_of_a_busy_worker(site):
    """Visitors who have not asked for anything yet, some of them with the worker that is kept busy."""
    silent = []

    def are_accepted():
        return all(site.workers_of(silent))

    for _ in range(30):
        silent += [site.visitor() for _ in range(4)]
        eventually(are_accepted)
        site.keep_busy()
        if site.busy in site.workers_of(silent):
            return silent
        # By chance, the other worker has accepted all of them.
        site.let_go()
    raise AssertionError("one worker accepts all connections")


def test_a_first_request_on_a_connection_that_was_accepted_is_answered_by_another(shared_site):
    site = shared_site()
    silent = silent_visitors_of_a_busy_worker(site)
    for one in silent:
        one.begin()
    assert all(is_elsewhere(one.hear(), site) for one in silent)
    site.let_go()


IN_TWO_PARTS = {
    "half-a-head": (b"GET /?half HT", b"TP/1.1\r\nHost: test\r\n\r\n", b""),
    "all-but-the-last-byte-of-a-head": (b"GET /?half HTTP/1.1\r\nHost: test\r\n\r", b"\n", b""),
    "half-a-head-and-content": (post(b"")[:20], post(b"hello")[20:], b"hello"),
}
SMALL, MIDDLE, BIG = content_of(50), content_of(100 * KILO), content_of(2048 * KILO)
WITH_CONTENT = {
    "head-then-content": (post(SMALL)[:-50], SMALL, SMALL),
    "half-a-content": (post(SMALL)[:-5], SMALL[-5:], SMALL),
    "half-of-100-kilobytes": (post(MIDDLE)[: -30 * KILO], MIDDLE[-30 * KILO :], MIDDLE),
    "little-of-100-kilobytes": (post(MIDDLE)[: -95 * KILO], MIDDLE[-95 * KILO :], MIDDLE),
    "half-of-two-megabytes": (post(BIG)[: -KILO * KILO], BIG[-KILO * KILO :], BIG),
    "all-but-a-byte-of-two-megabytes": (post(BIG)[:-1], BIG[-1:], BIG),
    "half-of-50-bytes-in-chunks": (chunked(SMALL)[:-20], chunked(SMALL)[-20:], SMALL),
    "half-of-100-kilobytes-in-chunks": (chunked(MIDDLE)[: -50 * KILO], chunked(MIDDLE)[-50 * KILO :], MIDDLE),
    "half-of-two-megabytes-in-chunks": (chunked(BIG)[: -KILO * KILO], chunked(BIG)[-KILO * KILO :], BIG),
    "chunks-that-end": (chunked(MIDDLE)[:-1], chunked(MIDDLE)[-1:], MIDDLE),
}


def parametrize(cases):
    return pytest.mark.parametrize(("before", "meanwhile", "content"), list(cases.values()), ids=list(cases))


@parametrize(IN_TWO_PARTS)
def test_a_request_that_has_begun_is_completed_and_answered_elsewhere(shared_site, before, meanwhile, content):
    site = shared_site()
    visitor = site.keep_busy(before=lambda one: one.send(before))
    visitor.send(meanwhile)
    told = visitor.hear()
    assert is_elsewhere(told, site)
    assert is_right(told, content)
    site.let_go()


@parametrize(WITH_CONTENT)
def test_content_that_has_begun_is_completed_elsewhere(shared_site, worker_class, before, meanwhile, content):
    if worker_class is ASGI:
        pytest.skip("its requests begin with their heads, and stay where they have begun")
    site = shared_site()
    visitor = site.keep_busy(before=lambda one: one.send(before))
    visitor.send(meanwhile)
    told = visitor.hear()
    assert is_elsewhere(told, site)
    assert is_right(told, content)
    site.let_go()


@parametrize({name: (b"", post(content), content) for name, content in [("small", SMALL), ("two-megabytes", BIG)]})
def test_a_request_with_content_is_received_elsewhere(shared_site, before, meanwhile, content):
    site = shared_site()
    visitor = site.keep_busy(before=lambda one: one.send(before))
    visitor.send(meanwhile)
    told = visitor.hear()
    assert is_elsewhere(told, site)
    assert is_right(told, content)
    site.let_go()


def test_content_that_comes_in_many_pieces_is_complete(shared_site, worker_class):
    if worker_class is ASGI:
        pytest.skip("its requests begin with their heads, and stay where they have begun")
    site = shared_site()
    visitor = site.keep_busy(before=lambda one: one.send(post(MIDDLE)[: -100 * KILO]))
    for at in range(100):
        visitor.send(MIDDLE[at * KILO : at * KILO + KILO])
        if at == 50:
            # Both are busy now: nobody takes what comes.
            site.keep_all_busy()
        if at == 70:
            site.let_go()
    assert is_right(visitor.hear(), MIDDLE)


def test_content_that_was_waited_for_with_100_continue_is_received_elsewhere(shared_site, worker_class):
    if worker_class is ASGI:
        pytest.skip("its requests begin with their heads, and stay where they have begun")

    def expect(visitor):
        visitor.send(HEAD % b"expect" + b"Expect: 100-continue\r\nContent-Length: 50\r\n\r\n")
        assert visitor.receive_response().status == 100

    site = shared_site()
    visitor = site.keep_busy(before=expect)
    visitor.send(SMALL)
    response = visitor.receive_response()
    # No second 100 (Continue).
    assert response.status == 200
    assert f'"length": {len(SMALL)}'.encode() in response.content
    site.let_go()


def test_another_worker_asks_for_the_content(shared_site):
    site = shared_site()
    visitor = site.keep_busy()
    visitor.send(HEAD % b"expect" + b"Expect: 100-continue\r\nContent-Length: 50\r\n\r\n")
    assert visitor.receive_response().status == 100
    visitor.send(SMALL)
    told = visitor.hear()
    assert is_elsewhere(told, site)
    assert is_right(told, SMALL)
    site.let_go()


def test_the_next_request_of_a_pipeline_waits_for_the_one_before(shared_site):
    site = shared_site()
    site.keep_busy()
    kept = site.held[-1].visitor
    kept.begin("/?behind")
    (other,) = site.invite(1)
    assert is_elsewhere(other.ask(), site)
    site.let_go()
    assert kept.hear()["query"] == "behind"


def test_requests_of_a_pipeline_are_answered_elsewhere_in_their_order(shared_site):
    site = shared_site()
    visitor = site.keep_busy(before=lambda one: one.send(b"GET /?0 HT"))
    others = b"".join(b"GET /?%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in (1, 2, 3))
    visitor.send(b"TP/1.1\r\nHost: test\r\n\r\n" + others)
    told = [visitor.hear() for _ in range(4)]
    assert [one["query"] for one in told] == ["0", "1", "2", "3"]
    assert all(is_elsewhere(one, site) for one in told)
    site.let_go()


def ask_for_much(visitor):
    visitor.begin("/large")
    assert visitor.receive_head().status == 200


def is_sent_all(visitor):
    return visitor.receive(LARGE) == large()


@pytest.mark.parametrize("where", ["in-memory", "in-a-file"])
def test_a_slow_client_is_sent_its_response_while_the_worker_is_busy(shared_site, worker_class, where):
    if where == "in-a-file" and worker_class.name in ("gevent", "asgi"):
        pytest.skip("there the application waits for the client")
    site = shared_site(*(("--response-buffer", "20000000") if where == "in-memory" else ()))
    visitor = site.keep_busy(before=ask_for_much)
    assert is_sent_all(visitor)
    assert is_elsewhere(visitor.ask(), site)
    site.let_go()


def test_the_request_behind_a_response_that_is_taken_slowly_is_answered_elsewhere(shared_site):
    site = shared_site("--response-buffer", "20000000")
    visitor = site.keep_busy(before=ask_for_much)
    visitor.begin("/?behind")
    assert is_sent_all(visitor)
    told = visitor.hear()
    assert told["query"] == "behind"
    assert is_elsewhere(told, site)
    site.let_go()


def test_an_idle_connection_is_closed_in_time(shared_site):
    site = shared_site("--keep-alive", "1")
    visitor = site.keep_busy()
    assert visitor.is_closed_by_server()
    site.let_go()


def test_who_is_late_with_a_head_is_told(shared_site):
    site = shared_site("--request-head-timeout", "1")
    visitor = site.keep_busy(before=lambda one: one.send(b"GET / HT"))
    assert visitor.receive_response().status == 408
    site.let_go()


def test_who_is_late_with_content_is_told(shared_site, worker_class):
    if worker_class is ASGI:
        pytest.skip("its requests begin with their heads, and stay where they have begun")
    site = shared_site("--request-body-timeout", "1")
    visitor = site.keep_busy(before=lambda one: one.send(post(SMALL)[:-5]))
    assert visitor.receive_response().status == 408
    site.let_go()
