"""Whether settings that do not go together are told, with where each was set."""

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.sources import load_settings


def load(directory, *arguments):
    return load_settings(arguments, {}, str(directory))


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (["--max-requests-jitter", "5"], "max_requests_jitter has no effect without max_requests"),
        (["--initgroups"], "initgroups has no effect without user"),
        (["--enable-stdio-inheritance"], "enable_stdio_inheritance has no effect without daemon"),
        (["--reload-engine", "poll"], "reload_engine has no effect without reload"),
        (["--reload-extra-file", "x"], "reload_extra_files has no effect without reload"),
        (["--handoff-after", "1", "--move-connections", "off"], "handoff_after has no effect while move_connect"),
        (["--ws-ping-timeout", "1", "--ws-ping-interval", "0"], "ws_ping_timeout has no effect while ws_ping_interval"),
        (
            ["--secure-scheme-headers", "X-S=https", "--forwarded-allow-ips", ""],
            "secure_scheme_headers has no effect while forwarded_allow_ips is empty",
        ),
        (["--forwarded-hops", "2"], "forwarded_hops has no effect without forwarded_fields"),
        (["--forwarded-hops", "2", "--forwarded-fields", "x-forwarded-host"], "forwarded_hops has no effect without"),
        (["--proxy-protocol-required"], "proxy_protocol_required has no effect while proxy_protocol is off"),
        (["--keyfile", "k", "--sni", "a=b"], "keyfile has no effect without certfile: sni names a key with each"),
        (["--certfile", "c", "-b", "http://a:1"], "certfile has no effect while every bind is http://"),
        (["--sni", "a=b", "-b", "http://a:1"], "sni has no effect while every bind is http://"),
        (["--ca-certs", "a", "--certfile", "c"], "ca_certs has no effect while cert_reqs asks no client"),
        (["--health-log"], "health_log has no effect without health_path"),
        (["--log-syslog-prefix", "shop"], "syslog_prefix has no effect without syslog"),
        (["--enable-backlog-metric"], "enable_backlog_metric has no effect without statsd_host"),
        (["--slow-request", "30"], "slow_request has no effect because no request runs that long"),
        (["--lifespan-timeout", "1m"], "lifespan_timeout has no effect beyond graceful_timeout"),
    ],
)
def test_what_another_setting_leaves_without_effect_is_one_warning(tmp_path, arguments, warning):
    (line,) = load(tmp_path, *arguments).warnings
    assert line.startswith(f"{arguments[0]}: {warning}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-requests-jitter", "5", "--max-requests", "10"],
        ["--max-requests-jitter", "0"],
        ["--initgroups", "--user", "root"],
        ["--secure-scheme-headers", "X-S=https", "--forwarded-allow-ips", "", "-b", "unix:a"],
        ["--forwarded-hops", "2", "--forwarded-fields", "forwarded"],
        ["--proxy-protocol", "--proxy-protocol-required"],
        ["--certfile", "c", "--ca-certs", "a", "--cert-reqs", "optional", "-b", "http://a:1", "-b", "a:2"],
        ["--enable-backlog-metric", "--statsd-host", "127.0.0.1:1"],
        ["--slow-request", "5"],
        ["--slow-request", "60", "--timeout", "0"],
        ["--graceful-timeout", "5"],
        ["--pid", "one", "--log-file", "two", "--access-logfile", "two", "-b", "unix:three"],
        ["--access-logfile", "/dev/stdout", "--log-file", "/dev/stdout"],
        ["--max-worker-memory", "1M"],
    ],
)
def test_what_goes_together_is_not_warned_of(tmp_path, arguments):
    assert load(tmp_path, *arguments).warnings == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "a", "--log-file", "./a"], "-p and --log-file: pidfile and errorlog are the same file, 'a'"),
        (["-b", "unix:run/a", "-p", "run/a"], "-b and -p: bind and pidfile are the same file, 'run/a'"),
        (
            ["--max-worker-memory", "512"],
            "--max-worker-memory: max_worker_memory is 512 bytes, which every worker has at once; 512M are megabytes",
        ),
    ],
)
def test_what_cannot_both_hold_is_refused_with_where_it_was_set(tmp_path, arguments, message):
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, *arguments)
    assert str(refused.value) == message
