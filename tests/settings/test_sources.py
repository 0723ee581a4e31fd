"""Whether each source wins over those before it, and whether the origin that is told is the right one."""

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.sources import load_settings

# From the weakest to the strongest: what each source says about `workers`, and the origin that is told.
ENVIRON = [
    ("WEB_CONCURRENCY", "2", 2, "WEB_CONCURRENCY"),
    ("PYSERVER_WORKERS", "4", 4, "PYSERVER_WORKERS"),
    ("GUNICORN_CMD_ARGS", "-w 5", 5, "-w in GUNICORN_CMD_ARGS"),
    ("PYSERVER_CMD_ARGS", "--workers=6", 6, "--workers in PYSERVER_CMD_ARGS"),
]


def load(directory, *arguments, **environ):
    return load_settings(arguments, environ, str(directory))


def refusal(directory, *arguments, **environ):
    with pytest.raises(ConfigError) as refused:
        load(directory, *arguments, **environ)
    return str(refused.value)


def test_without_any_source_everything_is_the_default(tmp_path):
    loaded = load(tmp_path)
    assert loaded.settings.bind == ("127.0.0.1:8000",)
    assert set(loaded.origins.values()) == {"default"}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_variable_wins_over_those_before_it(tmp_path, count):
    loaded = load(tmp_path, **{variable: text for variable, text, _, _ in ENVIRON[:count]})
    *_, workers, origin = ENVIRON[count - 1]
    assert (loaded.settings.workers, loaded.origins["workers"]) == (workers, origin)


def test_the_config_file_wins_over_what_the_platform_sets(tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("bind = ':1'\nworkers = 3\n")
    loaded = load(tmp_path, WEB_CONCURRENCY="2", PORT="80")
    assert (loaded.settings.bind, loaded.settings.workers) == ((":1",), 3)
    assert loaded.origins["workers"] == "pyserver.conf.py:2"


def test_a_variable_of_pyserver_wins_over_the_config_file(tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("workers = 3")
    assert load(tmp_path, PYSERVER_WORKERS="4").settings.workers == 4


def test_the_command_line_wins_over_everything(tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("workers = 3")
    loaded = load(tmp_path, "-w", "7", **{variable: text for variable, text, _, _ in ENVIRON})
    assert (loaded.settings.workers, loaded.origins["workers"]) == (7, "-w")


def test_keywords_stand_where_the_command_line_stands(tmp_path):
    loaded = load_settings((), {"PYSERVER_WORKERS": "4"}, str(tmp_path), {"workers": 7, "bind": ":1"})
    assert (loaded.settings.workers, loaded.settings.bind) == (7, (":1",))


def test_an_unknown_keyword_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^run\(\): worker is not a setting; did you mean workers\?$"):
        load_settings((), {}, str(tmp_path), {"worker": 7})


def test_a_broken_value_that_a_stronger_source_replaces_does_not_matter(tmp_path):
    assert load(tmp_path, "-w", "7", WEB_CONCURRENCY="many").settings.workers == 7


def test_binds_of_the_command_line_replace_those_of_weaker_sources(tmp_path):
    loaded = load(tmp_path, "-b", ":1", "-b", ":2", PYSERVER_BIND=":3,:4")
    assert loaded.settings.bind == (":1", ":2")


def test_the_variable_of_a_platform_gives_the_port(tmp_path):
    assert load(tmp_path, PORT="5000").settings.bind == ("0.0.0.0:5000",)


@pytest.mark.parametrize("variable", ["PORT", "WEB_CONCURRENCY", "PYSERVER_WORKERS", "PYSERVER_BIND"])
def test_an_empty_variable_counts_as_not_set(tmp_path, variable):
    assert load(tmp_path, **{variable: ""}).settings == load(tmp_path).settings


def test_an_empty_list_of_proxies_trusts_nobody(tmp_path):
    assert load(tmp_path, FORWARDED_ALLOW_IPS="").settings.forwarded_allow_ips == ()


def test_the_config_file_can_be_named_in_a_variable(tmp_path):
    (tmp_path / "other.py").write_text("workers = 3")
    assert load(tmp_path, PYSERVER_CONFIG="other.py").settings.workers == 3
    assert load(tmp_path, PYSERVER_CMD_ARGS="-c other.py").settings.workers == 3


def test_an_application_can_be_named_in_the_file_and_overruled(tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("wsgi_app = 'a:a'")
    assert load(tmp_path).settings.wsgi_app == "a:a"
    assert load(tmp_path, "b:b").settings.wsgi_app == "b:b"


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--keepalive", "-1"], {}, "--keepalive: keepalive is '-1', below its minimum 0"),
        ([], {"PYSERVER_TIMEOUT": "soon"}, "PYSERVER_TIMEOUT: timeout is 'soon', not a number"),
        ([], {"WEB_CONCURRENCY": "many"}, "WEB_CONCURRENCY: workers is 'many', not a whole number"),
        ([], {"GUNICORN_CMD_ARGS": "-w x"}, "-w in GUNICORN_CMD_ARGS: workers is 'x', not a whole number"),
        ([], {"PYSERVER_CMD_ARGS": "-n 'x"}, "PYSERVER_CMD_ARGS: no closing quotation"),
        ([], {"PYSERVER_CONFIG": "."}, "PYSERVER_CONFIG: cannot read the config file '.': Is a directory"),
    ],
)
def test_a_wrong_value_names_its_origin(tmp_path, arguments, environ, message):
    assert refusal(tmp_path, *arguments, **environ) == message


def test_a_variable_for_a_setting_of_gunicorn_is_one_warning(tmp_path):
    warning = "PYSERVER_HTTP_PARSER: http_parser has no effect in this version"
    assert load(tmp_path, PYSERVER_HTTP_PARSER="fast").warnings == (warning,)


def test_a_variable_that_is_almost_one_of_ours_is_warned_of(tmp_path):
    warning = "PYSERVER_WORKER: there is no such setting; did you mean PYSERVER_WORKERS?"
    assert load(tmp_path, PYSERVER_WORKER="4").warnings == (warning,)


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_ignored(tmp_path):
    environ = {"PYSERVER_PORT": "tcp://10.0.0.1:80", "PYSERVER_SERVICE_HOST": "10.0.0.1", "PYSERVER_SERVICE_PORT": "80"}
    assert load(tmp_path, **environ) == load(tmp_path)


def test_settings_cannot_be_changed(tmp_path):
    settings = load(tmp_path).settings
    with pytest.raises(AttributeError):
        settings.workers = 2
