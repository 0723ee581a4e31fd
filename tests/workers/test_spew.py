"""Whether `spew` prints what the application runs, line by line, and nothing of the server's own."""

from classes import only
from support import eventually

APPLICATION = """
    import threading

    def helper(number):
        double = number * 2
        return double

    def application(environ, start_response):
        thread = threading.Thread(target=helper, args=(4,))
        thread.start()
        thread.join()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % helper(3)]
    """


@only("sync", "threaded")
def test_each_line_of_the_application_is_printed(serve):
    server = serve(APPLICATION, "--spew")
    assert server.get().content == b"6"
    eventually(lambda: server.log().count("application_0:6:     return double") == 2)
    assert "application_0:13:     return" in server.log()
    assert "\npyserver." not in server.log()


def test_nothing_is_printed_otherwise(serve):
    server = serve(APPLICATION)
    assert server.get().content == b"6"
    assert "application_0:" not in server.log()
