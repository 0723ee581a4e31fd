"""The access log: one line for each answered request, in the format that gunicorn's `access_log_format` describes.

A format is compiled once into steps; an atom that it does not name costs nothing. Lines are gathered and written with
one system call at the end of a round of the engine, or when they are a tenth of a second old.
"""
from libc.errno cimport EAGAIN, EINTR, ENXIO, errno
from libc.stdint cimport uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strerror, strlen
from posix.unistd cimport close as close_file, getpid, write as write_file

from pyserver._http cimport Field, Head, Span, append, reserve, same_text, write_decimal
from pyserver._system cimport (
    AF_INET6, POLLOUT, inet_ntop, poll, pollfd, pyserver_civil, pyserver_put_digits, pyserver_set_errno as set_errno,
    pyserver_to_civil, pyserver_unix_time_ns, pyserver_zone_offset,
)

import os
import stat

from pyserver.errors import ConfigError

cdef enum:
    LINES_LIMIT = 65536         # bytes gathered before they are written
    PIPE_ROOM = 4096            # PIPE_BUF of Linux: what a pipe takes whole when poll() says that it takes something
    ATOM_ROOM = 64              # what an atom may take that is no text of the client's
    LAST_ROOM = 65536           # of a line that a signal handler writes; what does not fit is cut

cdef int64_t SECOND = 1000000000
cdef int64_t HELD_NS = 100000000

# There when there is no other memory to be had; a page of it costs nothing before it is written to.
cdef unsigned char last_line[LAST_ROOM]

cdef enum:
    # What a step prints; from USER on, what takes Python to find out.
    TEXT
    REMOTE_ADDRESS
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
    QUEUE_SECONDS
    PID
    REQUEST_FIELD
    USER
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
    "Q": (QUEUE_SECONDS, ""),
    "p": (PID, ""),
}
# The same for "%({name}x)s".
VARIABLES = {"i": REQUEST_FIELD, "o": RESPONSE_FIELD, "e": ENVIRON_VARIABLE}

cdef const unsigned char *HEXADECIMAL = b"0123456789abcdef"
cdef const char *MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"


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
    # A FIFO is left to the workers: its reader would take the end of this for the end of all.
    if path is not None and path != "-" and not is_fifo(path):
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
        self._own.pid_length = snprintf(self._own.pid, 24, b"<%ld>", <long> getpid())
        self._note_time(0)

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
        cdef const Step *step
        cdef Span text
        cdef unsigned char *to
        cdef int at
        if now_ns >= self._time_until_ns:
            self._note_time(now_ns)
        if self._lines.used == 0:
            self._oldest_ns = now_ns
        for at in range(self._step_count):
            step = &self._steps[at]
            if step.atom == TEXT:
                append(&self._lines, step.text, step.length)
            elif step.atom >= USER:
                self._print_found(step, facts, response_head, environ)
            else:
                text = text_of(step, facts)
                reserve(&self._lines, text.length * 4 + ATOM_ROOM)
                to = self._lines.data + self._lines.used
                self._lines.used += put_atom(to, step, text, facts, &self._own) - to
        append(&self._lines, b"\n", 1)
        self._line_count += 1
        if self._lines.used > LINES_LIMIT or now_ns - self._oldest_ns > HELD_NS:
            self.flush_lines()
        return 0

    cdef void record_last(self, const Facts *facts) noexcept nogil:
        """From a signal handler: write what was gathered, and unless `facts` is NULL the line of one more response.

        What takes Python to find out is printed as "-".
        """
        cdef Py_ssize_t written, whole = self._lines.used
        # The handler may have interrupted the making of a line.
        while whole > self._written and self._lines.data[whole - 1] != c"\n":
            whole -= 1
        while self._written < whole:
            written = self._write(self._lines.data + self._written, whole - self._written)
            if written < 0 and errno != EINTR:
                break
            self._written += max(written, 0)
        if facts != NULL:
            put_time(&self._own, pyserver_unix_time_ns() // SECOND, self._zone_offset)
            self._write(last_line, put_line(self._steps, self._step_count, facts, &self._own))

    cdef void forget(self) noexcept:
        """Drop what was gathered: another process writes it."""
        self._lines.used = self._written = self._line_count = 0

    cdef int flush_lines(self) except -1:
        """Write what was gathered; lines that the file does not take are counted and dropped."""
        cdef Py_ssize_t written
        while self._written < self._lines.used:
            written = self._write(self._lines.data + self._written, self._lines.used - self._written)
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
            self._written += written
        else:
            if self._is_failing and self._lines.used:
                self._is_failing = False
                self._log.warning("the access log %s is written again; %d lines are missing", self.path, self.dropped)
        self.forget()
        return 0

    cdef Py_ssize_t _write(self, const unsigned char *data, Py_ssize_t length) noexcept nogil:
        """Write lines; -1 and errno where they are not taken."""
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
                while length and data[length - 1] != c"\n":
                    length -= 1
                length = length or PIPE_ROOM
        return write_file(self._fd, data, <size_t> length)

    # ---- steps ----

    cdef int _note_time(self, int64_t now_ns) noexcept:
        """Once a second, what lines tell of the moment."""
        cdef int64_t unix_ns = pyserver_unix_time_ns()
        self._zone_offset = pyserver_zone_offset(unix_ns // SECOND)
        put_time(&self._own, unix_ns // SECOND, self._zone_offset)
        self._time_until_ns = now_ns + SECOND - unix_ns % SECOND
        return 0

    cdef int _print_found(self, const Step *step, const Facts *facts, bytes response_head, dict environ) except -1:
        if step.atom == USER:
            return self._print_user(facts)
        if step.atom == RESPONSE_FIELD:
            return self._print_object(response_field(response_head, step.text[:step.length]))
        return self._print_object(environ_variable(environ, step.text[:step.length].decode("utf-8", "surrogateescape")))

    cdef int _print_object(self, object value) except -1:
        cdef bytes data
        cdef unsigned char *to
        if value is None:
            return append(&self._lines, b"-", 1)
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")
        reserve(&self._lines, len(data) * 4 + ATOM_ROOM)
        to = self._lines.data + self._lines.used
        self._lines.used += put_text(to, Span(<const unsigned char *> <const char *> data, len(data))) - to
        return 0

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


# ---- what can be printed from a signal handler ----

cdef Py_ssize_t put_line(const Step *steps, int count, const Facts *facts, const Own *own) noexcept nogil:
    """Make `last_line`, and return its length."""
    cdef unsigned char *to = last_line
    cdef Py_ssize_t room
    cdef Span text
    cdef int at
    for at in range(count):
        room = LAST_ROOM - ATOM_ROOM - 1 - (to - last_line)
        if room < 0:
            break
        if steps[at].atom == TEXT:
            room = min(room, steps[at].length)
            memcpy(to, steps[at].text, <size_t> room)
            to += room
        elif steps[at].atom >= USER:
            to[0] = c"-"
            to += 1
        else:
            text = text_of(&steps[at], facts)
            # As if each byte had to be escaped.
            text.length = min(text.length, room // 4)
            to = put_atom(to, &steps[at], text, facts, own)
    to[0] = c"\n"
    return to + 1 - last_line


cdef inline Span text_of(const Step *step, const Facts *facts) noexcept nogil:
    """What an atom prints that the client sent; empty for other atoms."""
    cdef const Head *head = facts.head
    if step.atom == REQUEST_FIELD:
        return request_field(facts, step.text, step.length)
    if step.atom == REQUEST_LINE and head.target_length:
        return Span(facts.base + head.method, head.target + head.target_length - head.method)
    if step.atom == METHOD:
        return Span(facts.base + head.method, head.method_length)
    if step.atom == PATH:
        return Span(facts.base + head.path, head.path_length)
    if step.atom == QUERY:
        return Span(facts.base + head.query, head.query_length)
    return Span(NULL, 0)


cdef unsigned char *put_atom(
    unsigned char *to, const Step *step, Span text, const Facts *facts, const Own *own
) noexcept nogil:
    """Write an atom other than those that take Python, of which `text` was sent by the client; returns its end."""
    cdef int atom = step.atom
    if atom == QUERY:
        return put_text(to, text) if text.length else to
    if atom == REQUEST_FIELD or atom == METHOD or atom == PATH:
        return put_text(to, text)
    if atom == REQUEST_LINE or atom == PROTOCOL:
        if atom == REQUEST_LINE:
            to = put_text(to, text)
            if facts.minor < 0:
                return to
            to[0] = c" "
            to += 1
        if facts.minor < 0:
            return put_text(to, text)
        memcpy(to, b"HTTP/1.1" if facts.minor else b"HTTP/1.0", 8)
        return to + 8
    if atom == REMOTE_ADDRESS:
        return put_address(to, facts)
    if atom == TIME:
        memcpy(to, own.time, <size_t> own.time_length)
        return to + own.time_length
    if atom == PID:
        memcpy(to, own.pid, <size_t> own.pid_length)
        return to + own.pid_length
    return put_number(to, atom, facts)


cdef unsigned char *put_text(unsigned char *to, Span text) noexcept nogil:
    """What a client sent: nothing in it can end the line or a quoted part of it. Takes up to four times its length."""
    cdef const unsigned char *at = text.start
    cdef const unsigned char *end = text.start + text.length
    cdef unsigned char c
    if text.length == 0:
        to[0] = c"-"
        return to + 1
    while at < end:
        # Eight at a time while nothing has to be escaped, as nearly always.
        while at + 8 <= end and is_plain(at):
            memcpy(to, at, 8)
            to += 8
            at += 8
        if at == end:
            break
        c = at[0]
        at += 1
        if c == c'"' or c == c"\\":
            to[0] = c"\\"
            to[1] = c
            to += 2
        elif c < 0x20 or c >= 0x7F:
            to[0] = c"\\"
            to[1] = c"x"
            to[2] = HEXADECIMAL[c >> 4]
            to[3] = HEXADECIMAL[c & 15]
            to += 4
        else:
            to[0] = c
            to += 1
    return to


cdef unsigned char *put_number(unsigned char *to, int atom, const Facts *facts) noexcept nogil:
    cdef int64_t microseconds = (facts.queue_ns if atom == QUEUE_SECONDS else facts.duration_ns) // 1000
    if atom == STATUS:
        return write_decimal(to, <uint64_t> facts.status)
    if atom == SENT_OR_DASH and facts.sent == 0:
        to[0] = c"-"
        return to + 1
    if atom == SENT or atom == SENT_OR_DASH:
        return write_decimal(to, <uint64_t> facts.sent)
    if atom == MICROSECONDS:
        return write_decimal(to, <uint64_t> microseconds)
    if atom == MILLISECONDS:
        return write_decimal(to, <uint64_t> (microseconds // 1000))
    to = write_decimal(to, <uint64_t> (microseconds // 1000000))
    if atom == SECONDS:
        return to
    to[0] = c"."
    return <unsigned char *> pyserver_put_digits(<char *> to + 1, <int> (microseconds % 1000000), 6)


cdef unsigned char *put_address(unsigned char *to, const Facts *facts) noexcept nogil:
    cdef int part
    if facts.family == 0:
        to[0] = c"-"
        return to + 1
    if facts.family == 6:
        inet_ntop(AF_INET6, facts.address, <char *> to, ATOM_ROOM)
        return to + strlen(<char *> to)
    for part in range(4):
        to = write_decimal(to, facts.address[part])
        to[0] = c"."
        to += 1
    return to - 1


cdef void put_time(Own *own, int64_t unix_time, long zone_offset) noexcept nogil:
    """Local time, as `[20/Nov/2026:11:28:43 +0000]`."""
    cdef pyserver_civil local
    cdef char *to = own.time
    cdef long minutes = zone_offset // 60 if zone_offset >= 0 else -zone_offset // 60
    pyserver_to_civil(unix_time + zone_offset, &local)
    to[0] = c"["
    to = pyserver_put_digits(to + 1, local.day, 2)
    to[0] = to[4] = c"/"
    memcpy(to + 1, MONTHS + 3 * (local.month - 1), 3)
    to = pyserver_put_digits(to + 5, local.year, 4)
    to[0] = c":"
    to = pyserver_put_digits(to + 1, local.hour, 2)
    to[0] = c":"
    to = pyserver_put_digits(to + 1, local.minute, 2)
    to[0] = c":"
    to = pyserver_put_digits(to + 1, local.second, 2)
    to[0] = c" "
    to[1] = c"+" if zone_offset >= 0 else c"-"
    to = pyserver_put_digits(to + 2, <int> (minutes // 60 * 100 + minutes % 60), 4)
    to[0] = c"]"
    own.time_length = <int> (to + 1 - own.time)


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


cdef bint is_fifo(str path) except -1:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


cdef int open_log(str path) except -1:
    try:
        # Without O_NONBLOCK a FIFO that nobody reads would be waited for, and a write to one whose reader stalls.
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o644)
    except OSError as error:
        reason = "nobody reads from it" if error.errno == ENXIO else error.strerror
        raise ConfigError(f"cannot open the access log {path}: {reason}") from None


cdef Span request_field(const Facts *facts, const unsigned char *name, Py_ssize_t length) noexcept nogil:
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
