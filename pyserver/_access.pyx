"""The access log: one line for each answered request, in the format that gunicorn's `access_log_format` describes.

A format is compiled once into steps; an atom that it does not name costs nothing. Lines are gathered and written with
one system call at the end of a round of the engine, or when they are a tenth of a second old.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strerror, strlen
from posix.unistd cimport close as close_file, write as write_file

from pyserver._http cimport Field, Span, append, reserve, same_text, write_decimal
from pyserver._system cimport (
    AF_INET6, POLLOUT, inet_ntop, poll, pollfd, pyserver_set_errno as set_errno, pyserver_unix_time_ns,
)

import os
import stat
import time

from pyserver.errors import ConfigError

cdef enum:
    LINES_LIMIT = 65536         # bytes gathered before they are written
    PIPE_ROOM = 4096            # PIPE_BUF of Linux: what a pipe takes whole when poll() says that it takes something

cdef int64_t SECOND = 1000000000
cdef int64_t HELD_NS = 100000000

cdef enum:
    # What a step prints.
    TEXT
    REMOTE_ADDRESS
    USER
    TIME
    REQUEST_LINE
    STATUS
    METHOD
    PATH
    QUERY
    PROTOCOL
    SENT
    SENT_OR_DASH
    SECONDS
    MILLISECONDS
    MICROSECONDS
    DECIMAL_SECONDS
    PID
    REQUEST_FIELD
    RESPONSE_FIELD
    ENVIRON_VARIABLE

# What stands between "%(" and ")s": what it prints, and of which field.
FIELDS = {
    "h": (REMOTE_ADDRESS, ""),
    "l": (TEXT, "-"),
    "u": (USER, ""),
    "t": (TIME, ""),
    "r": (REQUEST_LINE, ""),
    "s": (STATUS, ""),
    "m": (METHOD, ""),
    "U": (PATH, ""),
    "q": (QUERY, ""),
    "H": (PROTOCOL, ""),
    "B": (SENT, ""),
    "b": (SENT_OR_DASH, ""),
    "f": (REQUEST_FIELD, "referer"),
    "a": (REQUEST_FIELD, "user-agent"),
    "T": (SECONDS, ""),
    "M": (MILLISECONDS, ""),
    "D": (MICROSECONDS, ""),
    "L": (DECIMAL_SECONDS, ""),
    "p": (PID, ""),
}
# The same for "%({name}x)s".
VARIABLES = {"i": REQUEST_FIELD, "o": RESPONSE_FIELD, "e": ENVIRON_VARIABLE}

cdef bytes MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"


def compile_format(str text) -> list:
    """The steps of a format: pairs of what to print and its text or name.

    Raises:
        ConfigError: it names something that is not in FIELDS.
    """
    cdef list steps = []
    cdef Py_ssize_t at = 0, mark, end
    while at < len(text):
        mark = text.find("%", at)
        if mark < 0:
            mark = len(text)
        if mark > at:
            steps.append((TEXT, text[at:mark]))
        if mark == len(text):
            break
        if text[mark:mark + 2] == "%%":
            steps.append((TEXT, "%"))
            at = mark + 2
            continue
        end = text.find(")", mark)
        if text[mark:mark + 2] != "%(" or end < 0 or text[end + 1:end + 2] not in ("s", "d"):
            raise ConfigError(f"access_log_format: {text[mark:mark + 12]!r} is not of the form %(atom)s")
        steps.append(step_named(text[mark + 2:end]))
        at = end + 2
    return steps


def check_access_log(str path, str format) -> None:
    """Raise ConfigError where an AccessLog could not be made of the two; the file is created when it is missing."""
    compile_format(format)
    if path is not None and path != "-":
        os.close(open_log(path))


def step_named(str name) -> tuple:
    """The step for what stands between "%(" and ")s"; ConfigError for an unknown name."""
    cdef Py_ssize_t brace = name.find("}")
    if name in FIELDS:
        return FIELDS[name]
    if name[:1] == "{" and brace > 0 and name[brace + 1:] in VARIABLES:
        kind = VARIABLES[name[brace + 1:]]
        return (kind, name[1:brace] if kind == ENVIRON_VARIABLE else name[1:brace].lower())
    raise ConfigError(f"access_log_format: there is no atom %({name})s; there are {', '.join(FIELDS)} and {{name}}i, o, e")


cdef class AccessLog:
    """One line for each response.

    Args:
        path: a file, which is created when missing; "-" is standard output.
        format: as gunicorn's access_log_format.
        log: where trouble with this log is told, once.

    Raises:
        ConfigError: the format is wrong, or the file cannot be opened.
    """

    def __init__(self, str path, str format, log):
        cdef int at
        self.path = path
        self._log = log
        self._texts = []
        steps = compile_format(format)
        self._steps = <Step *> malloc(max(len(steps), 1) * sizeof(Step))
        if self._steps == NULL:
            raise MemoryError()
        for at, (atom, text) in enumerate(steps):
            data = text.encode("utf-8", "surrogateescape")
            self._texts.append(data)
            self._steps[at].atom = atom
            self._steps[at].text = <const unsigned char *> <const char *> data
            self._steps[at].length = len(data)
            self.wants_response_head = self.wants_response_head or atom == RESPONSE_FIELD
            self.wants_environ = self.wants_environ or atom == ENVIRON_VARIABLE
        self._step_count = len(steps)
        # A descriptor of its own: an application that closes standard output must not have a connection take its place.
        self._fd = os.dup(1) if path == "-" else open_log(path)
        self._may_block = not stat.S_ISREG(os.fstat(self._fd).st_mode)

    def __dealloc__(self):
        if self._fd > 0:
            close_file(self._fd)
        free(self._steps)
        free(self._lines.data)

    def reopen(self) -> None:
        """Open the path again, for log rotation; what was gathered goes to the old file."""
        cdef int fresh
        self.flush_lines()
        if self.path == "-":
            return
        try:
            fresh = open_log(self.path)
        except ConfigError as error:
            self._log.error("%s; the access log goes on in the file it has", error)
            return
        os.dup2(fresh, self._fd, False)
        os.close(fresh)

    def flush(self) -> None:
        """Write what was gathered."""
        self.flush_lines()

    cdef int record(self, const Facts *facts, bytes response_head, dict environ, int64_t now_ns) except -1:
        """Add the line of one response."""
        cdef int at
        self._now_ns = now_ns
        if self._lines.used == 0:
            self._oldest_ns = now_ns
        for at in range(self._step_count):
            if self._steps[at].atom == TEXT:
                append(&self._lines, self._steps[at].text, self._steps[at].length)
            else:
                self._print(&self._steps[at], facts, response_head, environ)
        append(&self._lines, b"\n", 1)
        self._line_count += 1
        if self._lines.used > LINES_LIMIT or now_ns - self._oldest_ns > HELD_NS:
            self.flush_lines()
        return 0

    cdef int flush_lines(self) except -1:
        """Write what was gathered; lines that the file does not take are counted and dropped."""
        cdef Py_ssize_t written, done = 0
        while done < self._lines.used:
            written = self._write(done)
            if written < 0 and errno == EINTR:
                continue
            if written < 0:
                self.dropped += self._line_count
                if not self._is_failing:
                    self._is_failing = True
                    self._log.error(
                        "cannot write the access log %s: %s; requests are served without", self.path,
                        strerror(errno).decode(),
                    )
                break
            done += written
        else:
            if self._is_failing and self._lines.used:
                self._is_failing = False
                self._log.warning("the access log %s is written again; %d lines are missing", self.path, self.dropped)
        self._lines.used = self._line_count = 0
        return 0

    cdef Py_ssize_t _write(self, Py_ssize_t done) noexcept:
        """Write lines from offset `done` on; -1 and errno where they are not taken."""
        cdef Py_ssize_t length = self._lines.used - done
        cdef pollfd room
        if self._may_block:
            # A pipe that nobody empties must not hold the worker. It can be written to when this much fits.
            room = pollfd(self._fd, POLLOUT, 0)
            if poll(&room, 1, 0) == 0:
                set_errno(EAGAIN)
                return -1
            if length > PIPE_ROOM:
                # Whole lines, for other workers write to it too.
                length = PIPE_ROOM
                while length and self._lines.data[done + length - 1] != c"\n":
                    length -= 1
                length = length or PIPE_ROOM
        return write_file(self._fd, self._lines.data + done, <size_t> length)

    # ---- steps ----

    cdef int _print(self, const Step *step, const Facts *facts, bytes response_head, dict environ) except -1:
        cdef const Head *head = facts.head
        cdef int atom = step.atom
        cdef Span found
        if atom == REQUEST_FIELD:
            found = request_field(facts, step.text, step.length)
            return self._print_text(found.start, found.length)
        if atom == REQUEST_LINE:
            self._print_text(facts.base + head.method, head.target + head.target_length - head.method)
            return append(&self._lines, b" HTTP/1.1" if head.minor else b" HTTP/1.0", 9)
        if atom == REMOTE_ADDRESS:
            return self._print_address(facts)
        if atom == TIME:
            return self._print_time()
        if atom == METHOD:
            return self._print_text(facts.base + head.method, head.method_length)
        if atom == PATH:
            return self._print_text(facts.base + head.path, head.path_length)
        if atom == QUERY:
            if head.query_length:
                self._print_text(facts.base + head.query, head.query_length)
            return 0
        if atom == PROTOCOL:
            return append(&self._lines, b"HTTP/1.1" if head.minor else b"HTTP/1.0", 8)
        if atom == PID:
            return self._print_pid()
        if atom == USER:
            return self._print_user(facts)
        if atom == RESPONSE_FIELD:
            return self._print_object(response_field(response_head, step.text[:step.length]))
        if atom == ENVIRON_VARIABLE:
            return self._print_object(environ_variable(environ, step.text[:step.length].decode("utf-8", "surrogateescape")))
        return self._print_number(atom, facts)

    cdef int _print_text(self, const unsigned char *text, Py_ssize_t length) except -1:
        """What a client sent: nothing in it can end the line or a quoted part of it."""
        cdef Py_ssize_t at = 0
        cdef unsigned char c
        cdef unsigned char *to
        if length == 0:
            return append(&self._lines, b"-", 1)
        reserve(&self._lines, length * 4 + 8)
        to = self._lines.data + self._lines.used
        while at < length:
            # Eight at a time while nothing has to be escaped, as nearly always.
            while at + 8 <= length and is_plain(text + at):
                memcpy(to, text + at, 8)
                to += 8
                at += 8
            if at == length:
                break
            c = text[at]
            at += 1
            if c == c'"' or c == c"\\":
                to[0] = c"\\"
                to[1] = c
                to += 2
            elif c < 0x20 or c >= 0x7F:
                to += snprintf(<char *> to, 5, b"\\x%02x", <int> c)
            else:
                to[0] = c
                to += 1
        self._lines.used = to - self._lines.data
        return 0

    cdef int _print_object(self, object value) except -1:
        cdef bytes data
        if value is None:
            return append(&self._lines, b"-", 1)
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")
        return self._print_text(<const unsigned char *> <const char *> data, len(data))

    cdef int _print_number(self, int atom, const Facts *facts) except -1:
        cdef Out *out = &self._lines
        cdef int64_t value = facts.duration_ns // 1000
        reserve(out, 40)
        if atom == DECIMAL_SECONDS:
            out.used += snprintf(
                <char *> out.data + out.used, 40, b"%lld.%06lld", <long long> (value // 1000000),
                <long long> (value % 1000000),
            )
            return 0
        if atom == STATUS:
            value = facts.status
        elif atom == SENT or atom == SENT_OR_DASH:
            value = facts.sent
            if value == 0 and atom == SENT_OR_DASH:
                return append(out, b"-", 1)
        elif atom == SECONDS:
            value //= 1000000
        elif atom == MILLISECONDS:
            value //= 1000
        out.used = write_decimal(out.data + out.used, <uint64_t> value) - out.data
        return 0

    cdef int _print_address(self, const Facts *facts) except -1:
        cdef unsigned char *to
        cdef int part
        if facts.family == 0:
            return append(&self._lines, b"-", 1)
        reserve(&self._lines, 64)
        to = self._lines.data + self._lines.used
        if facts.family == 4:
            for part in range(4):
                to = write_decimal(to, facts.address[part])
                to[0] = c"."
                to += 1
            to -= 1
        else:
            inet_ntop(AF_INET6, facts.address, <char *> to, 64)
            to += strlen(<char *> to)
        self._lines.used = to - self._lines.data
        return 0

    cdef int _print_time(self) except -1:
        """Local time, as `[20/Nov/2026:11:28:43 +0000]`; made once a second."""
        cdef int64_t unix_ns
        if self._now_ns >= self._time_until_ns:
            unix_ns = pyserver_unix_time_ns()
            local = time.localtime(unix_ns // SECOND)
            offset = local.tm_gmtoff // 60
            self._time_length = snprintf(
                self._time, 40, b"[%02d/%.3s/%04d:%02d:%02d:%02d %c%02d%02d]", <int> local.tm_mday,
                <const char *> MONTHS + 3 * (<int> local.tm_mon - 1), <int> local.tm_year, <int> local.tm_hour,
                <int> local.tm_min, <int> local.tm_sec, <int> (c"-" if offset < 0 else c"+"),
                <int> (abs(offset) // 60), <int> (abs(offset) % 60),
            )
            self._time_until_ns = self._now_ns + SECOND - unix_ns % SECOND
        return append(&self._lines, self._time, self._time_length)

    cdef int _print_pid(self) except -1:
        if self._pid_length == 0:
            self._pid_length = snprintf(self._pid, 24, b"<%ld>", <long> os.getpid())
        return append(&self._lines, self._pid, self._pid_length)

    cdef int _print_user(self, const Facts *facts) except -1:
        """The user of Basic authentication; RFC 7617 §2."""
        cdef Span found = request_field(facts, <const unsigned char *> <const char *> b"authorization", 13)
        cdef bytes value = found.start[:found.length] if found.length else b""
        if value[:6].lower() != b"basic ":
            return append(&self._lines, b"-", 1)
        import binascii     # a built-in module, wanted only where somebody authenticates
        try:
            return self._print_object(binascii.a2b_base64(value[6:]).split(b":", 1)[0])
        except binascii.Error:
            return append(&self._lines, b"-", 1)


cdef inline bint is_plain(const unsigned char *text) noexcept nogil:
    """Whether eight bytes are all visible ASCII or SP, and none is a quote or a backslash."""
    cdef uint64_t word, quote, backslash, delete, marked
    memcpy(&word, text, 8)
    quote = word ^ <uint64_t> 0x2222222222222222
    backslash = word ^ <uint64_t> 0x5C5C5C5C5C5C5C5C
    delete = word ^ <uint64_t> 0x7F7F7F7F7F7F7F7F
    # Each term has the high bit of a byte set where that byte is under 0x20, or equal to what was taken out of it.
    marked = word | (word - <uint64_t> 0x2020202020202020) | (quote - <uint64_t> 0x0101010101010101)
    marked |= (backslash - <uint64_t> 0x0101010101010101) | (delete - <uint64_t> 0x0101010101010101)
    return (marked & <uint64_t> 0x8080808080808080) == 0


cdef int open_log(str path) except -1:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot open the access log {path}: {error.strerror}") from None


cdef Span request_field(const Facts *facts, const unsigned char *name, Py_ssize_t length) noexcept:
    """The value of the first field of that name; empty if there is none."""
    cdef const Field *field
    cdef uint32_t at
    for at in range(facts.head.count):
        field = &facts.head.fields[at]
        if field.name_length == length and same_text(Span(facts.base + field.name, length), Span(name, length)):
            return Span(facts.base + field.value, field.value_length)
    return Span(NULL, 0)


cdef object response_field(bytes head, bytes name):
    """The value of the first response field of that name, or None."""
    for line in (head or b"").split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return None


cdef object environ_variable(dict environ, str name):
    """gunicorn looks the name up without regard to case."""
    if environ is None:
        return None
    if name in environ:
        return environ[name]
    for key, value in environ.items():
        if isinstance(key, str) and key.lower() == name.lower():
            return value
    return None
