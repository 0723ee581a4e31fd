"""Whether arguments are taken apart as people write them for gunicorn, and refused in one clear line."""

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.command_line import read_arguments
from pyserver.settings.model import ROWS
from pyserver.settings.unavailable import UNAVAILABLE


def given(*arguments):
    return {one.name: one.raw for one in read_arguments(arguments).given}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-w", "4"],
        ["-w4"],
        ["-w=4"],
        ["--workers", "4"],
        ["--workers=4"],
        ["-w", "1", "--workers", "4"],
    ],
)
def test_each_spelling_gives_the_value(arguments):
    assert given(*arguments) == {"workers": "4"}


def test_the_application_may_stand_anywhere():
    assert given("app:app", "-w", "4") == given("-w", "4", "app:app") == {"wsgi_app": "app:app", "workers": "4"}


def test_after_two_hyphens_everything_is_an_application():
    assert given("--", "-app:app") == {"wsgi_app": "-app:app"}


def test_a_repeated_bind_adds_addresses():
    assert given("-b", ":8000", "--bind=unix:/run/a,b.sock") == {"bind": [":8000", "unix:/run/a,b.sock"]}


def test_a_hyphen_and_a_negative_number_are_values():
    assert given("--access-logfile", "-", "--keep-alive", "-1") == {"accesslog": "-", "keepalive": "-1"}


@pytest.mark.parametrize(("flag", "value"), [("--no-sendfile", False), ("--sendfile", True)])
def test_a_boolean_has_a_flag_for_each_value(flag, value):
    assert given(flag) == {"sendfile": value}


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--proxy-protocol"], "auto"),
        (["--proxy-protocol", "v2"], "v2"),
        (["--proxy-protocol=v1"], "v1"),
        (["--proxy-protocol", "OFF"], "OFF"),
    ],
)
def test_a_flag_may_stand_for_a_value_where_it_has_none(arguments, value):
    assert given(*arguments) == {"proxy_protocol": value}
    assert given(*arguments, "app:app", "-w", "2") == {"proxy_protocol": value, "wsgi_app": "app:app", "workers": "2"}
    assert given(*arguments, "-w", "2") == {"proxy_protocol": value, "workers": "2"}


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("-b", "bind"),
        ("-c", "config"),
        ("-e", "raw_env"),
        ("-k", "worker_class"),
        ("-n", "proc_name"),
        ("-t", "timeout"),
        ("--env", "raw_env"),
        ("--name", "proc_name"),
        ("--keep-alive", "keepalive"),
        ("--keepalive", "keepalive"),
        ("--log-file", "errorlog"),
        ("--error-logfile", "errorlog"),
        ("--log-level", "loglevel"),
        ("--access-logfile", "accesslog"),
        ("--access-logformat", "access_log_format"),
        ("--limit-request-field_size", "limit_request_field_size"),
        ("--limit-request-field-size", "limit_request_field_size"),
        ("--forwarded-allow-ips", "forwarded_allow_ips"),
        ("--proxy-allow-from", "proxy_allow_ips"),
        ("--forwarder-headers", "forwarder_headers"),
    ],
)
def test_flags_of_gunicorn_have_their_meaning(flag, name):
    assert list(given(flag, "1")) == [name]


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (["--version"], "version"),
        (["-v"], "version"),
        (["-w", "4", "-h"], "help"),
        (["--help", "--nonsense"], "help"),
        (["--completion", "zsh", "--nonsense"], "completion"),
    ],
)
def test_an_action_wins_over_what_follows(arguments, action):
    assert read_arguments(arguments).action == action


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense"], "--nonsense: there is no such option; see --help"),
        (["--nonsense=1"], "--nonsense: there is no such option; see --help"),
        (["--workrs", "4"], "--workrs: there is no such option; did you mean --workers?"),
        (["--max-w=1"], "--max-w: more than one option begins so: --max-worker-lifetime, --max-worker-memory"),
        (["--bidn", ":80"], "--bidn: there is no such option; did you mean --bind?"),
        (["-Z"], "-Z: there is no such option; see --help"),
        (["--dirty-app"], "--dirty-app: the option needs a value"),
        (["--no-control-socket=yes"], "--no-control-socket: the option takes no value, and 'yes' was given"),
        (["--http-parsr", "fast"], "--http-parsr: there is no such option; did you mean --http-parser?"),
        (["--completion"], "--completion: the option needs a value"),
        (["--completion", "tcsh"], "--completion: 'tcsh' is not one of bash, zsh, fish"),
        (["--version=3"], "--version: the option takes no value, and '3' was given"),
        (["--workers"], "--workers: the option needs a value"),
        (["--workers", "--timeout", "4"], "--workers: the option needs a value"),
        (["-w", "-t", "4"], "-w: the option needs a value"),
        (["--no-sendfile=yes"], "--no-sendfile: the option takes no value, and 'yes' was given"),
        (["--proxy-protocol", "v3", "a:a"], "--proxy-protocol: 'v3' is not one of off, v1, v2, auto"),
        (["a:a", "b:b"], "the command line: one application can be served, and 'a:a' is followed by 'b:b'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(arguments, message):
    with pytest.raises(ConfigError) as refused:
        read_arguments(arguments)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--bin", ":80"], {"bind": [":80"]}),
        (["--worker-cl=gthread"], {"worker_class": "gthread"}),
        (["--max-requests-j", "5"], {"max_requests_jitter": "5"}),
        (["--pre"], {"preload_app": True}),
        (["--no-prel"], {"preload_app": False}),
        (["--error-log", "-"], {"errorlog": "-"}),
        (["--dirty-w", "2"], {"dirty_workers": "2"}),
    ],
)
def test_an_option_may_be_given_by_its_beginning(arguments, meant):
    assert given(*arguments) == meant
    assert read_arguments(arguments, "GUNICORN_CMD_ARGS").given[0].origin.endswith(" in GUNICORN_CMD_ARGS")


def test_what_begins_another_option_is_itself():
    assert given("--reload", "--proxy-protocol", "v1") == {"reload": True, "proxy_protocol": "v1"}


def test_an_action_may_be_given_by_its_beginning():
    assert read_arguments(["--vers"]).action == "version"


def test_a_beginning_of_many_options_names_a_few():
    named = r"(--[\w-]+, ){7}--[\w-]+ and \d+ more"
    with pytest.raises(ConfigError, match=rf"^--w: more than one option begins so: {named}$"):
        read_arguments(["--w", "4"])


def test_a_mistake_in_a_variable_names_the_variable():
    with pytest.raises(ConfigError, match=r"^--nonsense in GUNICORN_CMD_ARGS: there"):
        read_arguments(["--nonsense"], "GUNICORN_CMD_ARGS")


def test_no_setting_is_both_there_and_unavailable():
    assert not ROWS.keys() & UNAVAILABLE.keys()
    flags = {flag for row in ROWS.values() for flag in row.flags}
    assert not flags & {flag for row in UNAVAILABLE.values() for flag in row.flags}


@pytest.mark.parametrize("name", [name for name, row in UNAVAILABLE.items() if row.flags])
def test_an_option_without_effect_is_taken_with_as_much_as_belongs_to_it(name):
    row = UNAVAILABLE[name]
    for flag in row.flags:
        value = True if row.is_switch else "1"
        arguments = [flag] if row.is_switch else [flag, "1"]
        assert given(*arguments, "app:app") == {name: value, "wsgi_app": "app:app"}


@pytest.mark.parametrize("flag", ["--version", "-h", "--completion=zsh"])
def test_what_is_done_instead_of_serving_is_asked_for_on_the_command_line(flag):
    with pytest.raises(ConfigError, match=r"^-\S+ in GUNICORN_CMD_ARGS: only the command line can ask for that$"):
        read_arguments(["-w", "2", flag], "GUNICORN_CMD_ARGS")
