"""The command `pyserver`: arguments → settings → arbiter; or what is asked for instead of serving."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pyserver._version import __version__
from pyserver.arbiter.loop import Arbiter
from pyserver.daemon import Starter, detach
from pyserver.errors import EXIT_CONFIG, EXIT_OK, BootError, ConfigError
from pyserver.identity import IdentityError, ask_as_worker
from pyserver.log import offer
from pyserver.settings.command_line import read_arguments
from pyserver.settings.given import DEFAULT
from pyserver.settings.model import ROWS, Settings
from pyserver.settings.sources import Loaded, load_settings
from pyserver.systemd import Inherited
from pyserver.workers import WORKERS, worker_name
from pyserver.workers.app import own_traceback

if TYPE_CHECKING:
    from pyserver.arbiter.succession import Inheritance, Launch


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        argv: the arguments without the name of the program; those of the process when None.

    Returns:
        The exit code. A mistake of the operator is 1 and one line on standard error.
    """
    arguments = sys.argv[1:] if argv is None else argv
    _hold_standard_descriptors()
    _keep_dead_children()
    try:
        asked = read_arguments(arguments)
        if asked.action:
            _print(_answer(asked.action, asked.shell))
            return EXIT_OK
        return _run(_Process(arguments, {}))
    except (ConfigError, BootError) as error:
        _say(str(error))
        return error.exit_code


def serve(application: str, keywords: Mapping[str, object]) -> int:
    """`pyserver.run`, with the exit code as result: the keywords stand where the command line stands in `main`."""
    _hold_standard_descriptors()
    _keep_dead_children()
    try:
        return _run(_Process((), {"wsgi_app": application, **keywords}))
    except (ConfigError, BootError) as error:
        _say(str(error))
        return error.exit_code


class _Process:
    """How this process was started, and what the settings have made of it since.

    A reload reads the settings from the start: its directory and environment, not those that the last settings left.
    """

    def __init__(self, arguments: Sequence[str], keywords: Mapping[str, object]) -> None:
        self._arguments = tuple(arguments)
        self._keywords = keywords
        self.inheritance = _inheritance()
        self._environ = dict(os.environ)
        self._pid = os.getpid()
        self._directory = _start_directory()
        # What any load has replaced or added so far, and not the last one only: a reload that is given up later puts
        # the surroundings of the one before back.
        self._replaced: dict[str, str | None] = {}
        self._added: set[str] = set()
        self._warned: set[str] = set()
        # As with gunicorn, a config file can import what lies in the start directory, on every reload too.
        if self._directory not in sys.path:
            sys.path.insert(0, self._directory)

    def load(self) -> Loaded:
        """Read the settings and take up those that concern the whole process; on ConfigError nothing has changed."""
        loaded = load_settings(self._arguments, self._environ, self._directory, self._keywords)
        settings = loaded.settings
        if settings.wsgi_app is None:
            # One of them may say what became of it.
            self._warn(loaded.warnings)
            raise ConfigError("no application was given; name it last, as in: pyserver module:attribute")
        directory = os.path.join(self._directory, settings.chdir or "")
        _check_identity(loaded, directory)
        _check_files(loaded, directory)
        try:
            os.chdir(directory)
        except OSError as error:
            raise ConfigError(f"{loaded.origins['chdir']}: chdir is {settings.chdir!r}: {error.strerror}") from None
        self._set_environ(settings)
        self._add_to_path([*map(os.path.abspath, settings.pythonpath), os.getcwd()])
        self._warn((*loaded.warnings, *_unheeded(loaded)))
        return loaded

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            if warning not in self._warned:
                _say(f"warning: {warning}")
        self._warned.update(warnings)

    def launch(self) -> Launch:
        """How it was started, for an upgrade."""
        # Most arbiters are never upgraded.
        from pyserver.arbiter.succession import Launch

        return Launch(self._directory, self._environ, self._pid)

    def _set_environ(self, settings: Settings) -> None:
        # Only what we set ourselves is taken back: config files put variables for the application there, too.
        for name, value in self._replaced.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for item in settings.raw_env:
            name, _, value = item.partition("=")
            self._replaced.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def _add_to_path(self, directories: list[str]) -> None:
        kept = [directory for directory in sys.path if directory not in self._added]
        added = [directory for directory in dict.fromkeys(directories) if directory not in kept]
        self._added.update(added)
        sys.path[:] = [*added, *kept]


def _run(process: _Process) -> int:
    inherited = Inherited.take(os.environ, os.getpid())
    loaded = process.load()
    settings = loaded.settings
    if settings.print_config:
        _print(_listing(loaded))
    if settings.check_config or settings.print_config:
        return _check(settings)
    if settings.daemon and process.inheritance is None:
        return _run_detached(process, settings, inherited)
    return _arbiter(process, settings, inherited).run()


def _arbiter(process: _Process, settings: Settings, inherited: Inherited, starter: Starter | None = None) -> Arbiter:
    return Arbiter(
        settings,
        load=lambda: process.load().settings,
        inherited=inherited,
        launch=process.launch,
        inheritance=process.inheritance,
        starter=starter,
    )


def _run_detached(process: _Process, settings: Settings, inherited: Inherited) -> int:
    """The life of a daemon; whoever started it is told how the start has ended."""
    try:
        starter = detach(keeps_output=settings.enable_stdio_inheritance)
    except OSError as error:
        raise BootError(f"cannot go into the background: {error.strerror}") from None
    exit_code, reason = EXIT_CONFIG, "the server has failed before it was ready"
    try:
        arbiter = _arbiter(process, settings, inherited, starter)
        exit_code = arbiter.run()
        reason = arbiter.failure or "the server was stopped before it was ready"
    except (ConfigError, BootError) as error:
        exit_code, reason = error.exit_code, str(error)
    finally:
        # It is nothing new for a starter that was told already.
        starter.tell(exit_code or EXIT_CONFIG, reason)
    return exit_code


def _inheritance() -> Inheritance | None:
    if "PYSERVER_UPGRADE_OF" not in os.environ:
        return None
    # As in _Process.launch.
    from pyserver.arbiter.succession import take_inheritance

    return take_inheritance(os.environ)


def _start_directory() -> str:
    """By the name that the shell has for it, where it has one: a link in it may lead to new code by the next reload."""
    try:
        directory = os.getcwd()
    except OSError as error:
        raise ConfigError(f"the start directory cannot be read: {error.strerror}") from None
    name = os.environ.get("PWD", "")
    try:
        return name if os.path.isabs(name) and os.path.samefile(name, directory) else directory
    except OSError:
        return directory


def _check(settings: Settings) -> int:
    # As in _help.
    from pyserver.checking import check

    try:
        check(settings)
    except BootError as error:
        _say(str(error))
        if error.__cause__ is not None:
            _say(own_traceback(error.__cause__))
        # gunicorn's code for a check that found something; 3 and 4 are about workers.
        return EXIT_CONFIG
    return EXIT_OK


def _check_files(loaded: Loaded, directory: str) -> None:
    """Refuse to begin without a file that is to be read; patterns may match none yet."""
    settings, origins = loaded.settings, loaded.origins
    for name in ("logconfig", "logconfig_json"):
        path = getattr(settings, name)
        if path and not os.path.exists(os.path.join(directory, path)):
            raise ConfigError(f"{origins[name]}: {name} is {path!r}: there is no such file")
    for path in settings.reload_extra_files:
        if not set(path) & set("*?[") and not os.path.exists(os.path.join(directory, path)):
            origin = origins["reload_extra_files"]
            raise ConfigError(f"{origin}: reload_extra_files has {path!r}: there is no such file")


def _check_identity(loaded: Loaded, directory: str) -> None:
    """Refuse what workers could not be, and a directory that they could not write in."""
    settings, place = loaded.settings, loaded.settings.tmp_upload_dir

    def trouble() -> str:
        is_fine = place is None or os.access(os.path.join(directory, place), os.W_OK | os.X_OK)
        return "" if is_fine else f"tmp_upload_dir is {place!r}, and no file can be made there"

    try:
        found = ask_as_worker(settings, trouble)
    except IdentityError as error:
        raise ConfigError(f"{loaded.origins[error.setting]}: {error}") from None
    if found:
        raise ConfigError(f"{loaded.origins['tmp_upload_dir']}: {found}")


def _unheeded(loaded: Loaded) -> Iterator[str]:
    """What is set and will have no effect."""
    settings, origins = loaded.settings, loaded.origins
    if settings.worker_class == "tornado":
        yield (
            f"{origins['worker_class']}: worker_class tornado has no effect: there are no workers for applications of "
            "Tornado, which have a server of their own; others are served as with auto"
        )
    name = worker_name(settings.worker_class, settings.threads)
    for unheeded in WORKERS[name].unheeded if name in WORKERS else ():
        # A default that is written down asks for nothing.
        if origins[unheeded] != DEFAULT and getattr(settings, unheeded) != ROWS[unheeded].default:
            yield f"{origins[unheeded]}: {unheeded} has no effect with {name} workers"
    if settings.daemon and settings.errorlog == "-" and (not settings.enable_stdio_inheritance or os.isatty(2)):
        yield f"{origins['daemon']}: a daemon has no standard error, so nothing is logged; name a file with errorlog"


def _answer(action: str, shell: str) -> str:
    if action == "version":
        return f"pyserver {__version__}\n"
    if action == "help":
        return _help()
    # As in _help.
    from pyserver.settings.completion import render_completion

    return render_completion(shell)


def _help() -> str:
    # Imported when asked for: the arbiter and its workers would carry it along for ever.
    from pyserver.settings.reference import render_help

    try:
        width = os.get_terminal_size().columns
    except OSError:
        width = 80
    return render_help(max(40, min(width, 120)))


def _listing(loaded: Loaded) -> str:
    # As in _help.
    from pyserver.settings.reference import render_settings

    return render_settings(loaded)


def _hold_standard_descriptors() -> None:
    """Have descriptors 0 to 2 open, or sockets and pipes of ours would get their numbers, and what is printed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)


def _keep_dead_children() -> None:
    """Have children that have died wait for us: who ignores their deaths leaves that to the programs he starts."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _print(text: str) -> None:
    """Write all of it. Nobody who reads, as in `… | head`, is no failure; a full disk is one."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        pass
    except OSError as error:
        raise ConfigError(f"cannot write to standard output: {error.strerror}") from None


def _say(message: str) -> None:
    # A reload may say something, too, and the arbiter does not wait for who reads.
    offer(2, f"pyserver: {message}\n")
