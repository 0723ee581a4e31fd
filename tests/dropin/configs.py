"""Config files as projects that run on gunicorn have them, and what pyserver has to make of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pyserver.settings.unavailable import UNAVAILABLE


@dataclasses.dataclass(frozen=True)
class Config:
    """A gunicorn.conf.py.

    Attributes:
        name: what is special about it.
        text: of the file.
        application: what it is for.
        env: variables that it looks at.
        warns: the names that have no effect, for as long as they are unavailable.
        unheeded: the names that have none because of other settings.
        refused: the name that stops the start; empty when it serves.
        is_secure: whether it speaks TLS.
        binds: whether it is served where it says itself, which then is no fixed port.
        says: what has to be in the log once it has served; `{pid}` is that of a worker.
    """

    name: str
    text: str
    application: str = "shop:application"
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warns: tuple[str, ...] = ()
    unheeded: tuple[str, ...] = ()
    refused: str = ""
    is_secure: bool = False
    binds: bool = False
    says: str = ""

    @property
    def warnings(self) -> set[str]:
        """The names that are warned of: a setting that has been built is none of them."""
        return {*self.unheeded, *(name for name in self.warns if name in UNAVAILABLE)}


# Modules that such files import, and the applications.
MODULES = {
    "shop.py": """
        import os
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [os.environ.get("SHOP", "shop").encode()]
        def create():
            return application
        async def asynchronous(scope, receive, send):
            if scope["type"] == "lifespan":
                raise RuntimeError("none")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"shop"})
        """,
    "prometheus_client/__init__.py": "",
    "prometheus_client/multiprocess.py": "def mark_process_dead(pid): print('marked', pid, flush=True)",
    "newrelic/__init__.py": "",
    "newrelic/agent.py": "def initialize(path, environment=None): print('newrelic', environment, flush=True)",
    "tracing.py": "def instrument(pid): print('traced', pid, flush=True)",
    "django_like.py": "def setup(): print('set up', flush=True)",
    "psycogreen/__init__.py": "",
    "psycogreen/gevent.py": "def patch_psycopg(): print('green', flush=True)",
    "settings/__init__.py": "GUNICORN = {'workers': 2, 'timeout': 90}",
    "settings/gunicorn.py": "workers = 1\nloglevel = 'debug'\n",
}

CONFIGS = [
    Config("empty", ""),
    Config("bind-and-workers", "bind = '0.0.0.0:8000'\nworkers = 2\n"),
    Config("cpu-count", "import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\n"),
    Config(
        "environment-with-defaults",
        """
        import os
        bind = f"0.0.0.0:{os.getenv('PORT', '8080')}"
        workers = int(os.environ.get("WEB_CONCURRENCY", 2))
        threads = int(os.environ.get("PYTHON_MAX_THREADS", 1))
        timeout = int(os.environ.get("WEB_TIMEOUT", 120))
        reload = bool(os.environ.get("RELOAD"))
        """,
        env={"PORT": "9000", "PYTHON_MAX_THREADS": "4"},
    ),
    Config(
        "environment-by-prefix",
        """
        import os
        for k, v in os.environ.items():
            if k.startswith("GUNICORN_"):
                key = k.split("_", 1)[1].lower()
                locals()[key] = v
        """,
        env={"GUNICORN_WORKERS": "2", "GUNICORN_TIMEOUT": "60", "GUNICORN_BIND": "0.0.0.0:5000"},
    ),
    Config(
        "fastapi-image",
        """
        import json, multiprocessing, os
        workers_per_core_str = os.getenv("WORKERS_PER_CORE", "1")
        max_workers_str = os.getenv("MAX_WORKERS")
        use_max_workers = int(max_workers_str) if max_workers_str else None
        web_concurrency_str = os.getenv("WEB_CONCURRENCY", None)
        host = os.getenv("HOST", "0.0.0.0")
        port = os.getenv("PORT", "80")
        use_loglevel = os.getenv("LOG_LEVEL", "info")
        use_bind = os.getenv("BIND", f"{host}:{port}")
        cores = multiprocessing.cpu_count()
        web_concurrency = max(int(float(workers_per_core_str) * cores), 2)
        accesslog_var = os.getenv("ACCESS_LOG", "-")
        use_accesslog = accesslog_var or None
        errorlog_var = os.getenv("ERROR_LOG", "-")
        use_errorlog = errorlog_var or None
        loglevel = use_loglevel
        workers = web_concurrency
        bind = use_bind
        errorlog = use_errorlog
        worker_tmp_dir = "/dev/shm"
        accesslog = use_accesslog
        graceful_timeout = int(os.getenv("GRACEFUL_TIMEOUT", "120"))
        timeout = int(os.getenv("TIMEOUT", "120"))
        keepalive = int(os.getenv("KEEP_ALIVE", "5"))
        log_data = {"loglevel": loglevel, "workers": workers, "bind": bind, "host": host, "port": port}
        print(json.dumps(log_data))
        """,
        application="shop:asynchronous",
        warns=("worker_tmp_dir",),
        says='"GET / HTTP/1.1" 200',
    ),
    Config("uvicorn-worker", "worker_class = 'uvicorn_worker.UvicornWorker'\n", application="shop:asynchronous"),
    Config(
        "class-of-its-own",
        """
        from uvicorn_worker import UvicornWorker
        class Worker(UvicornWorker):
            CONFIG_KWARGS = {"loop": "asyncio", "http": "h11", "lifespan": "off"}
        worker_class = Worker
        """,
        application="shop:asynchronous",
    ),
    Config("threads", "worker_class = 'gthread'\nthreads = 4\nworkers = 1\n"),
    Config("threads-make-gthread", "workers = 1\nthreads = 2\n"),
    Config(
        "gevent",
        """
        from psycogreen.gevent import patch_psycopg
        worker_class = "gevent"
        worker_connections = 1000
        def post_fork(server, worker):
            patch_psycopg()
            worker.log.info("Made Psycopg2 Green")
        """,
        says="Made Psycopg2 Green",
    ),
    Config("gevent-by-its-old-name", "worker_class = 'egg:gunicorn#gevent'\n"),
    Config("asgi", "worker_class = 'asgi'\nasgi_loop = 'asyncio'\nasgi_lifespan = 'off'\n",
           application="shop:asynchronous"),
    Config("tornado", "worker_class = 'tornado'\n", unheeded=("worker_class",)),
    Config("application-in-the-file", "wsgi_app = 'shop:application'\nproc_name = 'shop'\n", application=""),
    Config("factory", "wsgi_app = 'shop:create()'\ndefault_proc_name = 'shop'\n", application=""),
    Config("unix-socket", "bind = 'unix:shop.sock'\numask = 0o007\n", binds=True),
    Config("several-addresses", "bind = ['127.0.0.1:0', 'unix:shop.sock']\nbacklog = 64\n", binds=True),
    Config("variable-with-a-comma", "raw_env = 'SHOP=shop://h/db?o=a,b'\nbind = {'127.0.0.1:0'}\n", binds=True),
    Config("reuse-port", "reuse_port = True\nbacklog = 2048\n"),
    Config(
        "recycling",
        "max_requests = 1000\nmax_requests_jitter = 50\ngraceful_timeout = 30\ntimeout = 60\nkeepalive = 65\n",
    ),
    Config("preload", "preload_app = True\nworkers = 2\n"),
    Config(
        "raw-env", "import os\nraw_env = ['SHOP=from raw_env', f'HOME={os.getcwd()}']\naccesslog = '-'\n",
        says='"GET / HTTP/1.1" 200 12',
    ),
    Config(
        "chdir-and-path",
        """
        import os, sys
        base = os.path.dirname(os.path.abspath(__file__))
        chdir = base
        pythonpath = os.path.join(base, "library")
        sys.path.insert(0, base)
        pidfile = os.path.join(base, "shop.pid")
        """,
    ),
    Config("log-files", "accesslog = 'access.log'\nerrorlog = '-'\nloglevel = 'warning'\n"),
    Config(
        "access-log-with-x-forwarded-for",
        """
        accesslog = "-"
        access_log_format = '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(L)s'
        forwarded_allow_ips = "*"
        """,
        says='"GET / HTTP/1.1" 200 4 "-" "-" 0.',
    ),
    Config(
        "access-log-in-json",
        """
        accesslog = "-"
        access_log_format = (
            '{"ip": "%(h)s", "method": "%(m)s", "path": "%(U)s", "query": "%(q)s", "status": "%(s)s", '
            '"duration_us": %(D)s, "ms": %(M)s, "size": %(B)s, "pid": "%(p)s", "protocol": "%(H)s", '
            '"host": "%({host}i)s", "type": "%({content-type}o)s"}'
        )
        """,
        says='"host": "test", "type": "text/plain"}',
    ),
    Config(
        "access-log-in-nginx-style",
        "accesslog = '-'\n"
        "access_log_format = '%(h)s - %(t)s \"%(r)s\" %(s)s rt=%(L)s id=%({HTTP_X_REQUEST_ID}e)s'\n",
        says=" id=-",
    ),
    Config("capture-output", "capture_output = True\nenable_stdio_inheritance = True\n",
           unheeded=("enable_stdio_inheritance",)),
    Config(
        "logging-dictionary",
        """
        logconfig_dict = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"handlers": ["console"], "level": "INFO"},
            "loggers": {
                "gunicorn.error": {"level": "INFO", "propagate": True},
                "gunicorn.access": {"level": "INFO", "handlers": ["console"], "propagate": False},
            },
        }
        """,
        says=" INFO gunicorn.error ",
    ),
    Config("syslog", "syslog = True\nsyslog_addr = 'udp://127.0.0.1:9'\nsyslog_prefix = 'shop'\n"),
    Config("statsd", "statsd_host = '127.0.0.1:9'\nstatsd_prefix = 'shop'\n"),
    Config("statsd-that-is-off", "import os\nstatsd_host = os.environ.get('STATSD_HOST')\nstatsd_prefix = ''\n"),
    Config("uwsgi-protocol", "protocol = 'uwsgi'\n", refused="protocol"),
    Config("tls", "bind = ':8443'\ncertfile = '../shop.pem'\nkeyfile = '../shop-key.pem'\n", is_secure=True),
    Config(
        "tls-for-known-clients",
        "import ssl\ncertfile, keyfile = '../shop.pem', '../shop-key.pem'\n"
        "ca_certs, cert_reqs, ciphers = '../authority.pem', ssl.CERT_OPTIONAL, 'ECDHE+AESGCM'\n"
        "do_handshake_on_connect = True\n"
        "def ssl_context(conf, default_ssl_context_factory):\n"
        "    context = default_ssl_context_factory()\n"
        "    context.minimum_version = ssl.TLSVersion.TLSv1_3\n"
        "    return context\n",
        warns=("do_handshake_on_connect",), is_secure=True,
    ),
    Config("tls-that-is-off", "import os\ncertfile = os.getenv('CERT')\nkeyfile = os.getenv('KEY')\nciphers = None\n"),
    Config("proxy-protocol", "proxy_protocol = True\nproxy_allow_ips = '*'\n"),
    Config("uwsgi", "protocol = 'uwsgi'\nuwsgi_allow_ips = '*'\n", refused="protocol"),
    Config("http2", "http_protocols = 'h2,h1'\nhttp2_max_concurrent_streams = 50\n", unheeded=("http_protocols",)),
    Config(
        "proxy-headers",
        """
        forwarded_allow_ips = "10.0.0.0/8,127.0.0.1"
        secure_scheme_headers = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
        forwarder_headers = "SCRIPT_NAME,PATH_INFO"
        header_map = "drop"
        """,
    ),
    Config(
        "lenient-parser",
        """
        permit_obsolete_folding = True
        casefold_http_method = True
        strip_header_spaces = True
        permit_unconventional_http_method = True
        limit_request_line = 8190
        limit_request_fields = 200
        limit_request_field_size = 0
        """,
        warns=("strip_header_spaces", "permit_unconventional_http_method"),
    ),
    Config("prometheus", "from prometheus_client import multiprocess\ndef child_exit(server, worker):\n"
           "    multiprocess.mark_process_dead(worker.pid)\n", says="marked {pid}"),
    Config("newrelic", "import newrelic.agent\ndef post_fork(server, worker):\n"
           "    newrelic.agent.initialize('newrelic.ini', 'production')\n", says="newrelic production"),
    Config(
        "opentelemetry",
        """
        def post_fork(server, worker):
            server.log.info("Worker spawned (pid: %s)", worker.pid)
            from tracing import instrument
            instrument(worker.pid)
        """,
        says="traced {pid}",
    ),
    Config("django-setup", "def post_worker_init(worker):\n    import django_like\n    django_like.setup()\n",
           says="set up"),
    Config(
        "example-of-gunicorn",
        """
        bind = '127.0.0.1:8000'
        backlog = 2048
        workers = 1
        worker_class = 'sync'
        worker_connections = 1000
        timeout = 30
        keepalive = 2
        spew = False
        daemon = False
        raw_env = []
        pidfile = None
        umask = 0
        user = None
        group = None
        tmp_upload_dir = None
        errorlog = '-'
        loglevel = 'info'
        accesslog = '-'
        proc_name = None
        def post_fork(server, worker):
            server.log.info("Worker spawned (pid: %s)", worker.pid)
        def pre_fork(server, worker):
            pass
        def pre_exec(server):
            server.log.info("Forked child, re-executing.")
        def when_ready(server):
            server.log.info("Server is ready. Spawning workers")
        def worker_int(worker):
            worker.log.info("worker received INT or QUIT signal")
        def worker_abort(worker):
            worker.log.info("worker received SIGABRT signal")
        def ssl_context(conf, default_ssl_context_factory):
            return default_ssl_context_factory()
        """,
        says="Worker spawned (pid: {pid})",
    ),
    Config("heroku", "def when_ready(server):\n    open('app-initialized', 'w').close()\nbind = 'unix:nginx.socket'\n",
           binds=True),
    Config(
        "timing-hooks",
        """
        import time
        def pre_request(worker, req):
            req.started = time.monotonic()
            worker.log.debug("%s %s", req.method, req.path)
        def post_request(worker, req, environ, resp):
            took = time.monotonic() - req.started
            worker.log.info("took %.3f %s %s %s", took, req.uri, resp.status, dict(req.headers).get("HOST"))
        """,
        says=" / 200 OK test",
    ),
    Config("module-of-settings", "from settings import GUNICORN\nworkers = GUNICORN['workers']\n"
           "timeout = GUNICORN['timeout']\nfrom settings.gunicorn import *\n"),
    Config("dirty-arbiter", "dirty_apps = ['shop:Model']\ndirty_workers = 2\ndef on_dirty_starting(arbiter): ...\n",
           warns=("dirty_apps", "dirty_workers", "on_dirty_starting")),
    Config("control-socket", "control_socket = 'shop.ctl'\ncontrol_socket_mode = 0o660\nhttp_parser = 'fast'\n",
           warns=("control_socket", "control_socket_mode", "http_parser")),
    Config("loose-types", "loglevel = 'WARN'\nsendfile = None\nreload = None\npythonpath = None\ntimeout = '90'\n"),
    Config(
        "shutdown-hooks",
        """
        import threading
        def on_starting(server):
            server.shop = threading.Event()
        def nworkers_changed(server, new_value, old_value):
            server.log.info("%s workers in place of %s", new_value, old_value)
        def worker_exit(server, worker):
            server.log.info("worker %s has gone", worker.pid)
        def on_exit(server):
            server.log.info("Good-bye from %s", server.pid)
        """,
        says="Good-bye from",
    ),
]  # fmt: skip
