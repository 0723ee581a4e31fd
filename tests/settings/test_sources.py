"""Whether each source wins over those before it, and whether the origin that is told is the right one."""

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.sources import load_settings
from pyserver.settings.unavailable import UNAVAILABLE

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


def test_commas_separate_the_items_of_a_variable_only(tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("reload_extra_files = 'a,b'")
    loaded = load(tmp_path, "-e", "A=1,2", PYSERVER_BIND=":3, :4,")
    assert loaded.settings.bind == (":3", ":4")
    assert (loaded.settings.raw_env, loaded.settings.reload_extra_files) == (("A=1,2",), ("a,b",))


def test_binds_of_the_command_line_replace_those_of_weaker_sources(tmp_path):
    loaded = load(tmp_path, "-b", ":1", "-b", ":2", PYSERVER_BIND=":3,:4")
    assert loaded.settings.bind == (":1", ":2")


def test_the_variable_of_a_platform_gives_the_port(tmp_path):
    assert load(tmp_path, PORT="5000").settings.bind == ("0.0.0.0:5000",)


@pytest.mark.parametrize("variable", ["PORT", "WEB_CONCURRENCY", "PYSERVER_WORKERS", "PYSERVER_BIND"])
def test_an_empty_variable_counts_as_not_set(tmp_path, variable):
    assert load(tmp_path, **{variable: ""}).settings == load(tmp_path).settings


@pytest.mark.parametrize("name", ["user", "group"])
def test_an_empty_variable_leaves_nobody_root(tmp_path, name):
    (tmp_path / "pyserver.conf.py").write_text(f"{name} = 'root'")
    variable = f"PYSERVER_{name.upper()}"
    assert refusal(tmp_path, **{variable: ""}).startswith(f"{variable}: {name} is '', which is empty; ")


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
        ([], {"PYSERVER_KEEPALIVE": "1w"}, "PYSERVER_KEEPALIVE: keepalive is '1w', neither a number of seconds"),
        ([], {"WEB_CONCURRENCY": "many"}, "WEB_CONCURRENCY: workers is 'many', not a whole number"),
        ([], {"GUNICORN_CMD_ARGS": "-w x"}, "-w in GUNICORN_CMD_ARGS: workers is 'x', not a whole number"),
        ([], {"PYSERVER_CMD_ARGS": "-n 'x"}, "PYSERVER_CMD_ARGS: no closing quotation"),
        ([], {"PYSERVER_CONFIG": "."}, "PYSERVER_CONFIG: cannot read the config file '.': Is a directory"),
    ],
)
def test_a_wrong_value_names_its_origin(tmp_path, arguments, environ, message):
    assert refusal(tmp_path, *arguments, **environ).startswith(message)


def test_the_arguments_for_gunicorn_are_not_read_beside_ours(tmp_path):
    loaded = load(tmp_path, GUNICORN_CMD_ARGS="-w 5 --nonsense", PYSERVER_CMD_ARGS="-t 5")
    assert (loaded.settings.workers, loaded.settings.timeout) == (1, 5.0)
    assert loaded.warnings == ("GUNICORN_CMD_ARGS: not read, because PYSERVER_CMD_ARGS is set",)
    assert load(tmp_path, GUNICORN_CMD_ARGS="-w 5", PYSERVER_CMD_ARGS="").settings.workers == 1


WITHOUT_EFFECT = [name for name, row in UNAVAILABLE.items() if not row.is_refused]
REFUSED = [name for name, row in UNAVAILABLE.items() if row.is_refused]


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_setting_without_effect_is_one_warning_wherever_it_is_given(tmp_path, name):
    row = UNAVAILABLE[name]
    if row.default is True:
        return  # What can be asked for is so, and "false" asks for nothing that could be missed.
    line = f": {name} has no effect: {row.why}"
    raw = True if row.is_switch else "/some/thing"
    for flag in row.flags:
        assert load(tmp_path, *([flag] if row.is_switch else [flag, raw])).warnings == (flag + line,)
    variable = f"PYSERVER_{name.upper()}"
    assert load(tmp_path, **{variable: str(raw)}).warnings == (variable + line,)
    assert load_settings((), {}, str(tmp_path), {name: raw}).warnings == ("run()" + line,)
    (tmp_path / "gunicorn.conf.py").write_text(f"\n{name} = {raw!r}\n")
    assert load(tmp_path).warnings == ("gunicorn.conf.py:2" + line,)


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_a_default_of_gunicorn_that_is_written_down_is_no_warning(tmp_path, name):
    default = UNAVAILABLE[name].default
    (tmp_path / "gunicorn.conf.py").write_text(f"{name} = {default!r}\n")
    assert load(tmp_path).warnings == ()
    (tmp_path / "gunicorn.conf.py").unlink()
    assert load(tmp_path, **{f"PYSERVER_{name.upper()}": str(default)}).warnings == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_would_be_wrong_to_ignore_is_refused(tmp_path, name):
    (flag,) = UNAVAILABLE[name].flags
    assert refusal(tmp_path, flag, "v2") == f"{flag}: {name} is 'v2', but {UNAVAILABLE[name].why}"


def test_a_refused_setting_that_a_stronger_source_takes_back_is_not_refused(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("certfile = 'cert.pem'\n")
    assert load(tmp_path, "--certfile", "").warnings == ()


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
