"""The access log: one line for each answered request, in the format that gunicorn's `access_log_format` describes, or
as a JSON object.

A format is compiled once into steps; an atom that it does not name costs nothing. Lines are gathered and written with
one system call: while one round of the engine follows the other at once every ten milliseconds, and else at the end of
a round. What is gathered lies in memory that the arbiter has as well, which writes what a worker leaves when it dies.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, ENXIO, errno
from libc.stdint cimport INT64_MAX, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memmove, strerror
from posix.mman cimport MAP_ANON, MAP_FAILED, MAP_NORESERVE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close as close_file, getpid, write as write_file

from pyserver._atoms cimport (
    APPLICATION_SECONDS, ATOM_ROOM, BLOCK, DECIMAL_SECONDS, ENVIRON_VARIABLE, GROWTH, HEXADECIMAL, METHOD,
    MICROSECONDS, MILLISECONDS, PATH, PID, PROTOCOL, QUERY, QUEUE_SECONDS, RECEIVE_SECONDS, REMOTE_ADDRESS,
    REQUEST_FIELD, REQUEST_ID, REQUEST_LINE, RESPONSE_FIELD, SECOND, SECONDS, SEND_SECONDS, SENT, STATUS, TEXT,
    TIME, USER, WORKER,
    Facts, Own, Step, put_address, put_atom, put_json, put_last_line, put_own, put_text, put_time, request_field,
    text_of,
)
from pyserver._http cimport Span, same_text
from pyserver._system cimport (
    POLLOUT, iovec, poll, pollfd, pyserver_set_errno as set_errno, pyserver_unix_time_ns, pyserver_zone_offset,
)

import os
import stat

from pyserver.errors import ConfigError

cdef extern from "Python.h":
    bint PyGC_Disable()
    bint PyGC_Enable()


cdef extern from *:
    int IN_ORDER "__ATOMIC_RELEASE"
    int ATOMICALLY "__ATOMIC_SEQ_CST"
    void store "__atomic_store_n" (int64_t *word, int64_t value, int order) nogil
    int64_t load "__atomic_load_n" (int64_t *word, int order) nogil
    bint exchange_if "__sync_bool_compare_and_swap" (int64_t *word, int64_t expected, int64_t desired) nogil

cdef enum:
    LINES_LIMIT = 65536         # bytes gathered before they are written
    PIPE_ROOM = 4096            # PIPE_BUF of Linux: what a pipe takes whole when poll() says that it takes something
    LONGEST_ID = 200
    SHARED = 131072             # bytes of a slot: what is gathered before it is written, and a line of half of that
    NOBODY = -1                 # has the rest of a torn line
    HEAD = 64                   # … of which this is the head
    ROOM = SHARED - HEAD
    PATIENCE_MS = 20            # for another worker that writes

cdef int64_t HELD_NS = 10000000
cdef int64_t QUICK_NS = 1000000     # an application that takes longer does not feel what writing costs

# What stands between "%(" and ")s": what it prints, of which field, its name in JSON (empty where another has the same
# to say), and what it is.
FIELDS = {
    "h": (REMOTE_ADDRESS, "", "remote_addr", "The address of the client; a `-` on a Unix socket."),
    "l": (TEXT, "-", "", "Always a `-`."),
    "u": (USER, "", "user", "The user of Basic authentication."),
    "t": (TIME, "", "time", "The time when the line is made, local in text and UTC in JSON."),
    "r": (REQUEST_LINE, "", "request", "The request line; of one that is refused 4096 bytes at most."),
    "s": (STATUS, "", "status", "The status code."),
    "m": (METHOD, "", "method", "The method."),
    "U": (PATH, "", "path", "The path as it was sent, without the query; a `*` where the server as a whole is meant."),
    "q": (QUERY, "", "query", "The query, without the question mark."),
    "H": (PROTOCOL, "", "protocol", "The version, such as HTTP/1.1."),
    "B": (SENT, "", "bytes", "How many bytes of content the response has."),
    "b": (SENT, "", "", "The same."),
    "f": (REQUEST_FIELD, "referer", "referer", "The field Referer of the request."),
    "a": (REQUEST_FIELD, "user-agent", "user_agent", "The field User-Agent of the request."),
    "T": (SECONDS, "", "", "How long the application and its response took, whole seconds."),
    "M": (MILLISECONDS, "", "", "The same in milliseconds."),
    "D": (MICROSECONDS, "", "", "The same in microseconds."),
    "L": (DECIMAL_SECONDS, "", "duration", "The same in seconds, with six decimals."),
    "Q": (QUEUE_SECONDS, "", "queue", "How long the request has waited for a worker, seconds."),
    "R": (RECEIVE_SECONDS, "", "receive", "How long it took to arrive, from its first bytes on, seconds."),
    "A": (APPLICATION_SECONDS, "", "application", "How long the application took until its response began, seconds."),
    "S": (SEND_SECONDS, "", "send", "How long the response took from there until it was complete, seconds."),
    "p": (PID, "", "pid", "The process id of the worker, in angle brackets in text."),
    "w": (WORKER, "", "worker", "Which of the workers it is, from 0."),
    "i": (REQUEST_ID, "", "request_id", "X-Request-ID as a trusted proxy has sent it, or else a new id."),
}
# The same for "%({name}x)s".
VARIABLES = {
    "i": (REQUEST_FIELD, "A field of the request; the last of several."),
    "o": (RESPONSE_FIELD, "A field of the response; the last of several."),
    "e": (ENVIRON_VARIABLE, "A variable of environ."),
}
# The members of a line in JSON, where the format names none.
JSON_FIELDS = (
    "time", "remote_addr", "user", "method", "path", "query", "protocol", "status", "bytes", "duration", "queue",
    "referer", "user_agent", "worker", "pid",
)

cdef dict JSON_NAMES = {row[2]: row[:2] for row in FIELDS.values() if row[2]}



def compile_format(str text) -> list:
    """The steps of a format: pairs of what to print and its text or name.

    Raises:
        ConfigError: it names something that is not in FIELDS.
    """
    if is_json(text):
        return json_steps(text)
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


def is_json(str format) -> bool:
    """Whether lines are JSON objects: the format is json, or json: and the names of their members."""
    return format == "json" or format.startswith("json:")


cdef list json_steps(str format):
    """The steps of a JSON object."""
    cdef list steps = []
    cdef str before = "{"
    cdef set keys = set()
    names = [name.strip() for name in format[5:].split(",")] if format != "json" else JSON_FIELDS
    for name in names:
        if name in JSON_NAMES:
            step, key = JSON_NAMES[name], name
        elif name.startswith("{") and "}" in name:
            step, key = step_named(name), name[1:].partition("}")[0]
        else:
            known = ", ".join(JSON_NAMES)
            raise ConfigError(f"access_log_format: JSON has no member {name!r}; there are {known} and {{name}}i, o, e")
        if key in keys:
            # Of one object, which RFC 8259 §4 wants to have each name once.
            key = name
        if key in keys:
            raise ConfigError(f"access_log_format: JSON has the member {name!r} twice")
        keys.add(key)
        steps += [(TEXT, before + quoted(key) + ":"), step]
        before = ","
    steps.append((TEXT, "}"))
    return steps


cdef str quoted(str name):
    """The name of a member, as RFC 8259 §7 has it."""
    data = name.encode("utf-8", "surrogateescape")
    cdef bytes room = PyBytes_FromStringAndSize(NULL, len(data) * GROWTH + 2)
    cdef unsigned char *to = <unsigned char *> PyBytes_AS_STRING(room)
    end = put_json(to, Span(<const unsigned char *> <const char *> data, len(data)))
    return room[:end - to].decode()




cdef tuple step_named(str name):
    """The step for what stands between "%(" and ")s"; ConfigError for an unknown name."""
    cdef Py_ssize_t brace = name.find("}")
    if name in FIELDS:
        return FIELDS[name][:2]
    if name[:1] == "{" and brace > 0 and name[brace + 1:] in VARIABLES:
        kind = VARIABLES[name[brace + 1:]][0]
        return (kind, name[1:brace] if kind == ENVIRON_VARIABLE else name[1:brace].lower())
    raise ConfigError(f"access_log_format: there is no atom %({name})s; there are {', '.join(FIELDS)} and {{name}}i, o, e")


cdef class RequestIds:
    """Gives each request an id: that of its field X-Request-ID, where the peer is a trusted proxy, or else a new one.

    Args:
        is_told: whether the application gets it.
    """

    def __init__(self, bint is_told):
        self.is_told = is_told
        seed = os.urandom(16)
        memcpy(self._state, <const char *> seed, 16)

    cdef bytes new(self, const Facts *facts, bint is_believed):
        """The id of a request, of which a proxy `is_believed` what it says."""
        cdef Span said = request_field(facts, <const unsigned char *> <const char *> b"x-request-id", 12)
        cdef bytes made
        cdef unsigned char *to
        cdef uint64_t word
        cdef int part, at
        if is_believed and 0 < said.length <= LONGEST_ID and is_visible(said):
            return said.start[:said.length]
        made = PyBytes_FromStringAndSize(NULL, 32)
        to = <unsigned char *> PyBytes_AS_STRING(made)
        for part in range(2):
            word = next_random(&self._state[part])
            for at in range(16):
                to[part * 16 + at] = HEXADECIMAL[word & 15]
                word >>= 4
        return made


cdef class AccessFile:
    """The file of the access log, and what workers have gathered for it, in memory that is there when they are not.

    Made before the first fork; pages of the memory that were never written to take none.

    Args:
        path: a file, which is created when missing; "-" is standard output, and None no file at all.
        slots: how many workers there can be at the same time.

    Raises:
        ConfigError: the file cannot be opened.
        MemoryError: the memory cannot be mapped.
    """

    def __cinit__(self):
        self._fd = -1

    def __init__(self, str path, int slots=1):
        cdef void *memory = mmap(
            NULL, <size_t> slots * SHARED, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON | MAP_NORESERVE, -1, 0
        )
        if memory == MAP_FAILED:
            raise MemoryError(f"cannot map memory for the access log of {slots} workers")
        self._memory = <unsigned char *> memory
        self.slots = slots
        self.path = path
        if path is not None:
            # A descriptor of its own: an application that closes standard output must not have a connection take its
            # place.
            self._fd = os.dup(1) if path == "-" else open_log(path)
            self._place = self._directory = None
            if path != "-":
                self._directory = working_directory()
                self._place = os.path.join(self._directory, path)

    def __dealloc__(self):
        if self._fd >= 0:
            close_file(self._fd)
        if self._memory != NULL:
            munmap(self._memory, <size_t> self.slots * SHARED)

    def is_at(self, str path, int slots) -> bool:
        """Whether it is the file that the path names now, for as many workers."""
        return self.path == path and self.slots == slots and (path == "-" or self._directory == working_directory())

    def close(self) -> None:
        """For a process that has no use for it."""
        if self._fd >= 0:
            close_file(self._fd)
        self._fd = -1

    def reopen(self, log) -> bool:
        """Open the path again, for log rotation; whether that has led to another file.

        When it cannot be opened, the log goes on with the file it has, and `log` is told.
        """
        cdef int fresh
        if self._place is None or self._fd < 0:
            return False
        try:
            fresh = open_log(self._place)
        except ConfigError as error:
            log.error("%s; the access log goes on in the file it has", error)
            return False
        is_other = not os.path.sameopenfile(fresh, self._fd)
        os.dup2(fresh, self._fd, False)
        os.close(fresh)
        return is_other

    def bury(self, int slot) -> int:
        """Write the lines that a dead worker has left, and make its slot free; how many could not be written."""
        cdef Gathered *left = self.gathered(slot)
        cdef const unsigned char *data = <const unsigned char *> &left[1]
        cdef Outlet outlet = self.outlet(slot)
        cdef Py_ssize_t end = bounded(left.complete, ROOM), at = bounded(left.written, end)
        # It may have died in the middle of a line that did not fit in the slot.
        cdef bint is_torn = left.written > left.complete
        lost = 0
        if at < end and self._fd >= 0:
            at = put_lines(&outlet, data, at, end, left, load(outlet.torn, ATOMICALLY) == parked(outlet.owner))
            lost = count_lines(data + at, data + end)
        exchange_if(outlet.torn, outlet.owner, NOBODY if is_torn else 0)
        exchange_if(outlet.torn, parked(outlet.owner), NOBODY)
        store(&left.complete, 0, IN_ORDER)
        store(&left.written, 0, IN_ORDER)
        return lost

    cdef Gathered *gathered(self, int slot) except NULL:
        if not 0 <= slot < self.slots:
            raise IndexError(f"no slot {slot} of {self.slots} in the access log")
        return <Gathered *> (self._memory + <size_t> slot * SHARED)

    cdef Outlet outlet(self, int slot) except *:
        """How the worker of a slot writes, as long as the file is not opened anew."""
        cdef Outlet outlet
        outlet.fd = self._fd
        # A pipe or a terminal may be full, and takes only so much of a line at once.
        outlet.is_file = self._fd < 0 or stat.S_ISREG(os.fstat(self._fd).st_mode)
        outlet.memory = self._memory
        outlet.slots = self.slots
        outlet.torn = &(<Gathered *> self._memory).torn
        outlet.owner = slot + 1
        return outlet


cdef class AccessLog:
    """One line for each response.

    Args:
        path: a file, which is created when missing; "-" is standard output, and None no file at all.
        format: as gunicorn's access_log_format, or json.
        log: where trouble with this log is told, once.
        exclude: paths without a line, see `matches`; but for responses of 500 and more.
        sample: which part of the lines is written; those of responses of 400 and more, and slow ones, all are.
        slow: from how many seconds on a response is slow.
        worker: its number.
        statsd: is told of each response.
        syslog: gets each line, as well.
        file: that of the path, which is open already; its slot is the next argument.

    Raises:
        ConfigError: the format is wrong, or the file cannot be opened.
    """

    def __init__(
        self, str path, str format, log, *, exclude=(), double sample=1.0, double slow=1.0, int worker=0,
        Statsd statsd=None, syslog=None, AccessFile file=None, int slot=0,
    ):
        self.path = path
        self._log = log
        self._statsd = statsd
        self._syslog = syslog
        self._excluded = [one.encode("utf-8", "surrogateescape") for one in exclude]
        self._sampled = <uint64_t> (sample * <double> 2.0 ** 64) if sample < 1 else 0
        self._samples = sample < 1
        self._random = int.from_bytes(os.urandom(8), "big")
        self._slow_ns = <int64_t> (slow * 1e9)
        self._own.in_json = is_json(format)
        self._own.pid_length = snprintf(self._own.pid, 24, b"%ld" if self._own.in_json else b"<%ld>", <long> getpid())
        self._own.worker_length = snprintf(self._own.worker, 12, b"%d", worker)
        self._room = ATOM_ROOM
        self._take_steps(self._with_constants(compile_format(format)))
        if syslog is not None:
            self._datagrams = syslog.datagrams
            self._syslog_head = syslog.head("info", "access")
            self._syslog_start = self._syslog_head
            self._syslog_length = <size_t> len(self._syslog_head)
        self._gather_in(file or AccessFile(path), slot if file is not None else 0)
        self._has_lines = path is not None or syslog is not None
        # A signal handler cannot ask.
        self._has_datagrams = self._datagrams is not None
        self._has_statsd = statsd is not None
        self._note_time(0)

    cdef int _gather_in(self, AccessFile file, int slot) except -1:
        self._file = file
        self._outlet = file.outlet(slot)
        self._gathered = file.gathered(slot)
        self._lines.data = <unsigned char *> &self._gathered[1]
        self._lines.capacity = ROOM
        return 0

    cdef list _with_constants(self, list steps):
        """The steps with what is the same in all lines made a part of the text around it."""
        cdef list merged = []
        for atom, text in steps:
            if atom == PID:
                atom, text = TEXT, self._own.pid[:self._own.pid_length].decode()
            elif atom == WORKER:
                atom, text = TEXT, self._own.worker[:self._own.worker_length].decode()
            if atom == TEXT and merged and merged[len(merged) - 1][0] == TEXT:
                text = merged.pop()[1] + text
            merged.append((atom, text))
        return merged

    cdef int _take_steps(self, list steps) except -1:
        cdef int at
        cdef Py_ssize_t length
        self._texts = []
        self._steps = <Step *> malloc(max(len(steps), 1) * sizeof(Step))
        if self._steps == NULL:
            raise MemoryError()
        for at, (atom, text) in enumerate(steps):
            data = text.encode("utf-8", "surrogateescape")
            length = len(data)
            data += bytes(BLOCK)
            self._texts.append(data)
            self._steps[at].atom = atom
            self._steps[at].text = <const unsigned char *> <const char *> data
            self._steps[at].length = length
            self._room += length + ATOM_ROOM
            self.wants_response_head = self.wants_response_head or atom == RESPONSE_FIELD
            self.wants_environ = self.wants_environ or atom == ENVIRON_VARIABLE
            self.wants_phases = self.wants_phases or atom == APPLICATION_SECONDS or atom == SEND_SECONDS
            self.wants_ids = self.wants_ids or atom == REQUEST_ID
        self._step_count = len(steps)
        return 0

    def __dealloc__(self):
        free(self._steps)
        free(self._spilled)

    def reopen(self) -> None:
        """Open the path again, for log rotation; what was gathered goes to the old file."""
        self.flush()
        if self._file.reopen(self._log):
            if self._rest:
                # Of a line that has begun in the old file.
                self.dropped += 1
                self.forget()
            exchange_if(self._outlet.torn, parked(self._outlet.owner), 0)
            self._outlet.is_file = self._file.outlet(0).is_file

    def flush(self) -> None:
        """Write what was gathered."""
        self.flush_lines()
        if self._rest:
            self._flush_file()

    def leave_to_parent(self) -> None:
        """In a child of the process that gathers: leave alone what that one has gathered."""
        cdef int fd = self._outlet.fd
        cdef bint is_file = self._outlet.is_file
        self._memory = AccessFile(None)
        self._gathered = self._memory.gathered(0)
        self._outlet = self._memory.outlet(0)
        self._outlet.fd = fd
        self._outlet.is_file = is_file
        self._lines.data = <unsigned char *> &self._gathered[1]
        self._lines.capacity = ROOM
        self.forget()

    cdef int record(self, const Facts *facts, bytes response_head, dict environ, int64_t now_ns) except -1:
        """Add the line of one response."""
        if self._statsd is not None:
            self._statsd.note(facts.status, facts.duration_ns)
        if not self._has_lines or self._leaves_out(facts):
            return 0
        if now_ns >= self._time_until_ns:
            self._note_time(now_ns)
        # What is behind it is a line in whose making something was raised.
        self._lines.used = self._complete
        if self._complete == self._rest:
            self._oldest_ns = now_ns
        self._print_line(facts, response_head, environ)
        self._is_quick = facts.duration_ns < QUICK_NS
        if self._lines.used > LINES_LIMIT or now_ns - self._oldest_ns > HELD_NS:
            self.flush_lines()
        return 0

    cdef int settle(self, int64_t now_ns, bint is_pressed, bint is_never_held_up) except -1:
        """Between two rounds of the engine: write what was gathered, unless more follows soon.

        Args:
            is_pressed: whether rounds follow each other at once.
            is_never_held_up: whether they do so whatever the application does.
        """
        if self._complete != self._rest and is_pressed and (self._is_quick or is_never_held_up):
            if now_ns - self._oldest_ns < HELD_NS:
                if self._statsd is not None:
                    self._statsd.flush()
                return 0
        return self.flush_lines()

    cdef int64_t due_ns(self) noexcept:
        """When what was gathered has to be written."""
        return self._oldest_ns + HELD_NS if self._complete != self._rest else INT64_MAX

    cdef int _make_room(self, Py_ssize_t more) except -1:
        """Make room for `more` bytes of the line that is being made."""
        if self._lines.capacity - self._lines.used >= more:
            return 0
        return self._spill(more)

    cdef int _spill(self, Py_ssize_t more) except -1:
        """Go on in memory of our own, as the line may be too long for a slot; it is written when it is complete."""
        cdef Py_ssize_t capacity = max(self._lines.capacity * 2, self._lines.used + more)
        cdef unsigned char *data = <unsigned char *> malloc(<size_t> capacity)
        if data == NULL:
            raise MemoryError()
        memcpy(data, self._lines.data, <size_t> self._lines.used)
        self._lines.data = data
        self._lines.capacity = capacity
        free(self._spilled)
        self._spilled = data
        self._oldest_ns = 0
        return 0

    cdef int _print_line(self, const Facts *facts, bytes response_head, dict environ) except -1:
        cdef const Step *step
        cdef Span text
        cdef unsigned char *to
        cdef int at
        self._make_room(self._room)
        to = self._lines.data + self._lines.used
        for at in range(self._step_count):
            step = &self._steps[at]
            if step.atom == TEXT:
                to = put_own(to, step)
                continue
            if step.atom < USER:
                text = text_of(step, facts)
                if text.length == 0:
                    to = put_atom(to, step, text, facts, &self._own)
                    continue
            # Its length is the client's or the application's to choose, and the room may have to move for it.
            self._lines.used = to - self._lines.data
            if step.atom >= USER:
                self._print_found(step, facts, response_head, environ)
            else:
                self._make_room(text.length * GROWTH + self._room)
                to = self._lines.data + self._lines.used
                self._lines.used += put_atom(to, step, text, facts, &self._own) - to
            self._make_room(self._room)
            to = self._lines.data + self._lines.used
        to[0] = c"\n"
        self._complete = self._lines.used = to + 1 - self._lines.data
        if self._spilled == NULL:
            store(&self._gathered.complete, self._complete, IN_ORDER)
        return 0

    cdef bint _leaves_out(self, const Facts *facts) except -1:
        """Whether nobody wants this one."""
        cdef Span path
        if self._excluded and facts.status < 500:
            path = Span(facts.base + facts.head.path, facts.head.path_length)
            for pattern in self._excluded:
                if is_matched(path, Span(<const unsigned char *> <const char *> pattern, len(pattern))):
                    return True
        if self._samples and facts.status < 400 and facts.duration_ns < self._slow_ns:
            return next_random(&self._random) >= self._sampled
        return False

    cdef void record_last(self, const Facts *facts) noexcept nogil:
        """From a signal handler: write what was gathered, and unless `facts` is NULL the line of one more response.

        What takes Python to find out is printed as "-", or null.
        """
        cdef const unsigned char *line
        cdef Py_ssize_t length
        self._send_lines(self._lines.data + max(self._written, self._rest), self._lines.data + self._complete)
        if self._outlet.fd >= 0:
            self._put_lines()
        if facts != NULL and self._has_lines:
            put_time(&self._own, pyserver_unix_time_ns() // SECOND, self._zone_offset)
            self._own.second_ns = facts.ended_ns
            line = put_last_line(self._steps, self._step_count, facts, &self._own, &length)
            self._send_lines(line, line + length)
            # Where the file has not taken all that came before, it ends within a line.
            if self._outlet.fd >= 0 and self._written == self._complete:
                put_lines(&self._outlet, line, 0, length, NULL, False)
        if self._has_statsd:
            if facts != NULL:
                self._statsd.note(facts.status, facts.duration_ns)
            self._statsd.flush()

    cdef void forget(self) noexcept:
        """Drop what was gathered."""
        # In this order: between two of them there is nothing that has not been written.
        store(&self._gathered.complete, 0, IN_ORDER)
        store(&self._gathered.written, 0, IN_ORDER)
        self._complete = self._lines.used = self._written = self._rest = 0
        if self._spilled != NULL:
            self._lines.data = <unsigned char *> &self._gathered[1]
            self._lines.capacity = ROOM
            free(self._spilled)
            self._spilled = NULL

    cdef int flush_lines(self) except -1:
        """Write what was gathered; lines that the file does not take are counted and dropped."""
        if self._statsd is not None:
            self._statsd.flush()
        if self._complete == self._rest:
            return 0
        if self._datagrams is not None:
            self._send_lines(self._lines.data + max(self._written, self._rest), self._lines.data + self._complete)
        elif self._syslog is not None:
            self._syslog.send_lines(
                self._syslog_head, self._lines.data[max(self._written, self._rest):self._complete]
            )
        if self._outlet.fd >= 0:
            return self._flush_file()
        self.forget()
        return 0

    cdef int _flush_file(self) except -1:
        self._put_lines()
        if self._written < self._complete:
            return self._give_up(errno)
        self.forget()
        if self._is_failing:
            self._is_failing = False
            self._log.warning("the access log %s is written again; %d lines are missing", self.path, self.dropped)
        return 0

    cdef void _put_lines(self) noexcept nogil:
        """Write what was gathered, as far as the file takes it."""
        self._written = put_lines(
            &self._outlet, self._lines.data, self._written, self._complete, self._gathered, self._rest > self._written
        )

    cdef int _give_up(self, int number) except -1:
        """Drop the lines that were not written, but for the rest of one that the file has the beginning of."""
        cdef const unsigned char *at = self._lines.data + self._written
        cdef const unsigned char *end = self._lines.data + self._complete
        cdef unsigned char *data
        cdef Py_ssize_t rest = 0
        if self._written < self._rest or (self._written and self._lines.data[self._written - 1] != c"\n"):
            rest = <const unsigned char *> memchr(at, c"\n", <size_t> (end - at)) + 1 - at
        self.dropped += count_lines(at + rest, end)
        if rest and (rest > ROOM or load(self._outlet.torn, ATOMICALLY) != parked(self._outlet.owner)):
            # There is no room for it, or others had to go on before it was told.
            exchange_if(self._outlet.torn, parked(self._outlet.owner), NOBODY)
            self.dropped += 1
            rest = 0
        data = <unsigned char *> &self._gathered[1]
        store(&self._gathered.complete, 0, IN_ORDER)
        memmove(data, at, <size_t> rest)
        self.forget()
        self._complete = self._lines.used = self._rest = rest
        store(&self._gathered.complete, rest, IN_ORDER)
        if not self._is_failing:
            self._is_failing = True
            self._log.error(
                "cannot write the access log %s: %s; requests are served without", self.path, strerror(number).decode()
            )
        return 0

    cdef void _send_lines(self, const unsigned char *line, const unsigned char *end) noexcept nogil:
        """Send whole lines to a syslog that takes each by itself."""
        cdef iovec parts[2]
        cdef const unsigned char *next_line
        if not self._has_datagrams:
            return
        parts[0] = iovec(<void *> self._syslog_start, self._syslog_length)
        while line < end:
            next_line = <const unsigned char *> memchr(line, c"\n", <size_t> (end - line))
            if next_line == NULL:
                return
            parts[1] = iovec(<void *> line, <size_t> (next_line - line))
            self._datagrams.send(parts, 2)
            line = next_line + 1

    # ---- steps ----

    cdef int _note_time(self, int64_t now_ns) noexcept:
        """Once a second, what lines tell of the moment."""
        cdef int64_t unix_ns = pyserver_unix_time_ns()
        self._zone_offset = pyserver_zone_offset(unix_ns // SECOND)
        put_time(&self._own, unix_ns // SECOND, self._zone_offset)
        self._own.second_ns = now_ns - unix_ns % SECOND
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
        cdef Span text
        cdef unsigned char *to
        if value is None:
            data = b"null" if self._own.in_json else b"-"
            return self._append(data)
        if self._own.in_json and type(value) in (int, bool):
            data = str(value).lower().encode()
            return self._append(data)
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")
        text = Span(<const unsigned char *> <const char *> data, len(data))
        self._make_room(len(data) * GROWTH + ATOM_ROOM)
        to = self._lines.data + self._lines.used
        self._lines.used += (put_json(to, text) if self._own.in_json else put_text(to, text)) - to
        return 0

    cdef int _append(self, bytes data) except -1:
        self._make_room(len(data))
        memcpy(self._lines.data + self._lines.used, PyBytes_AS_STRING(data), <size_t> len(data))
        self._lines.used += len(data)
        return 0

    cdef int _print_user(self, const Facts *facts) except -1:
        """The user of Basic authentication; RFC 7617 §2."""
        cdef Span found = request_field(facts, <const unsigned char *> b"authorization", 13)
        cdef bytes value
        if found.length < 6 or not same_text(Span(found.start, 6), Span(<const unsigned char *> b"basic ", 6)):
            return self._print_object(None)
        value = found.start[:found.length]
        import binascii     # a built-in module, wanted only where somebody authenticates
        try:
            return self._print_object(binascii.a2b_base64(value[6:]).split(b":", 1)[0] or None)
        except binascii.Error:
            return self._print_object(None)


cdef class LoggerAccess(AccessLog):
    """Hands each response to a logger of Python's, which makes the line.

    Args:
        put: called with the head of the request and of the response, environ (either None where there is none), the
            address of the peer, the status, the length of the content and how long it took, nanoseconds; has to
            return at once.
        others: as those of AccessLog.
    """

    def __init__(self, put, log, **others):
        super().__init__(None, "", log, **others)
        self._put = put
        self.wants_response_head = self.wants_environ = True

    cdef int record(self, const Facts *facts, bytes response_head, dict environ, int64_t now_ns) except -1:
        cdef unsigned char address[ATOM_ROOM]
        cdef bint collects
        if self._statsd is not None:
            self._statsd.note(facts.status, facts.duration_ns)
        if self._leaves_out(facts):
            return 0
        # Finalizers of the application must not run here: other threads wait for what is held.
        collects = PyGC_Disable()
        try:
            self._put((
                facts.base[:facts.head.position], response_head, environ,
                address[:put_address(address, facts) - address].decode(), facts.status, facts.sent, facts.duration_ns,
            ))
        finally:
            if collects:
                PyGC_Enable()
        return 0


# ---- how lines are written, also from a signal handler ----

cdef Py_ssize_t put_lines(
    const Outlet *outlet, const unsigned char *data, Py_ssize_t at, Py_ssize_t end, Gathered *noted, bint begins_torn
) noexcept nogil:
    """Write `data` from `at` to `end`, whole lines, as far as they are taken.

    Args:
        noted: where it is noted how far that is, as soon as it is written; or NULL.
        begins_torn: the file ends within the first of them.

    Returns:
        How far that is; where it is not the end, errno tells why.
    """
    cdef int number
    if not take_turn(outlet):
        return at
    if noted != NULL:
        # Another may have written the rest of a line in our place.
        at = max(at, min(<Py_ssize_t> load(&noted.written, ATOMICALLY), end))
    at = write_all(outlet, data, at, end, noted)
    number = errno
    if at < end and (data[at - 1] != c"\n" if at else begins_torn):
        # Whoever writes next writes the rest.
        if not exchange_if(outlet.torn, outlet.owner, parked(outlet.owner)):
            exchange_if(outlet.torn, 0, parked(outlet.owner))
    else:
        exchange_if(outlet.torn, outlet.owner, 0)
    set_errno(number)
    return at


cdef Py_ssize_t write_all(
    const Outlet *outlet, const unsigned char *data, Py_ssize_t at, Py_ssize_t end, Gathered *noted
) noexcept nogil:
    """The same without a look at others."""
    cdef Py_ssize_t written
    while at < end:
        written = write_piece(outlet, data + at, end - at)
        if written < 0 and errno != EINTR:
            break
        at += max(written, <Py_ssize_t> 0)
        if noted != NULL:
            store(&noted.written, at, IN_ORDER)
    return at


cdef inline int64_t parked(int64_t owner) noexcept nogil:
    """That the file ends within a line of the owner, in whose slot the rest is."""
    return NOBODY - owner


cdef bint take_turn(const Outlet *outlet) noexcept nogil:
    """Before writing: have a line that another worker could not write to its end ended; False where that fails.

    A pipe takes only so much at once, so whoever writes to it does so alone.
    """
    cdef int64_t found
    cdef int tries = 0
    while True:
        found = load(outlet.torn, ATOMICALLY)
        if found == outlet.owner or (found == 0 and outlet.is_file):
            return True
        if found == 0 or found == parked(outlet.owner):
            if exchange_if(outlet.torn, found, outlet.owner):
                return True
        elif found < 0:
            if exchange_if(outlet.torn, found, outlet.owner):
                break
        elif tries < PATIENCE_MS:
            poll(NULL, 0, 1)
            tries += 1
        elif exchange_if(outlet.torn, found, outlet.owner):
            # Whoever it is was stopped, or has died.
            found = NOBODY
            break
    if end_line(outlet, NOBODY - found):
        return True
    exchange_if(outlet.torn, outlet.owner, found)
    return False


cdef bint end_line(const Outlet *outlet, int64_t owner) noexcept nogil:
    """Write the rest of a line of that owner, or the end of it where that is 0."""
    cdef Gathered *others
    cdef Py_ssize_t end, at
    if not 0 < owner <= outlet.slots:
        return write_piece(outlet, b"\n", 1) == 1
    others = <Gathered *> (outlet.memory + <size_t> (owner - 1) * SHARED)
    end = bounded(load(&others.complete, ATOMICALLY), ROOM)
    at = bounded(load(&others.written, ATOMICALLY), end)
    return write_all(outlet, <const unsigned char *> &others[1], at, end, others) == end


cdef inline Py_ssize_t bounded(int64_t number, Py_ssize_t most) noexcept nogil:
    """It is memory of the application's own process: whatever that has written there, we stay in the slot."""
    return <Py_ssize_t> max(<int64_t> 0, min(number, <int64_t> most))


cdef Py_ssize_t write_piece(const Outlet *outlet, const unsigned char *data, Py_ssize_t length) noexcept nogil:
    """Write lines, or a part of them; -1 and errno where they are not taken."""
    cdef pollfd room
    if not outlet.is_file:
        # A pipe that nobody empties must not hold the worker. It can be written to when this much fits.
        room = pollfd(outlet.fd, POLLOUT, 0)
        if poll(&room, 1, 0) == 0:
            set_errno(EAGAIN)
            return -1
        if length > PIPE_ROOM:
            # Whole lines, if they are no longer than that.
            length = PIPE_ROOM
            while length and data[length - 1] != c"\n":
                length -= 1
            length = length or PIPE_ROOM
    return write_file(outlet.fd, data, <size_t> length)


cdef Py_ssize_t count_lines(const unsigned char *at, const unsigned char *end) noexcept nogil:
    cdef Py_ssize_t count = 0
    while at < end:
        at = <const unsigned char *> memchr(at, c"\n", <size_t> (end - at))
        if at == NULL:
            break
        at += 1
        count += 1
    return count


# ---- what is left out ----

def matches(bytes path, bytes pattern) -> bool:
    """Whether a path is meant: the pattern's own or one below it, or where it has * or ?, one that these stand for."""
    return is_matched(
        Span(<const unsigned char *> <const char *> path, len(path)),
        Span(<const unsigned char *> <const char *> pattern, len(pattern)),
    )


cdef bint is_matched(Span path, Span pattern) noexcept nogil:
    cdef const unsigned char *glob = <const unsigned char *> memchr(pattern.start, c"*", <size_t> pattern.length)
    if glob == NULL:
        glob = <const unsigned char *> memchr(pattern.start, c"?", <size_t> pattern.length)
    if glob != NULL:
        return is_glob_of(path, pattern)
    if path.length < pattern.length or memcmp(path.start, pattern.start, <size_t> pattern.length) != 0:
        return False
    return (
        path.length == pattern.length or pattern.length == 0 or pattern.start[pattern.length - 1] == c"/"
        or path.start[pattern.length] == c"/"
    )


cdef bint is_glob_of(Span path, Span pattern) noexcept nogil:
    """Whether the whole path is what the pattern says: * is any text, ? any character."""
    cdef Py_ssize_t at = 0, its = 0, star = -1, mark = 0
    while at < path.length:
        if its < pattern.length and pattern.start[its] == c"*":
            star, mark = its, at
            its += 1
        elif its < pattern.length and (pattern.start[its] == c"?" or pattern.start[its] == path.start[at]):
            its += 1
            at += 1
        elif star >= 0:
            # The last star stands for one more.
            mark += 1
            at = mark
            its = star + 1
        else:
            return False
    while its < pattern.length and pattern.start[its] == c"*":
        its += 1
    return its == pattern.length


cdef bint is_visible(Span text) noexcept nogil:
    """Whether all of it is ASCII that can be seen."""
    cdef Py_ssize_t at
    for at in range(text.length):
        if text.start[at] < 0x21 or text.start[at] > 0x7E:
            return False
    return True


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    """A number that nobody has to be unable to guess; SplitMix64."""
    cdef uint64_t word
    state[0] += <uint64_t> 0x9E3779B97F4A7C15
    word = state[0]
    word = (word ^ (word >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * <uint64_t> 0x94D049BB133111EB
    return word ^ (word >> 31)


cdef str working_directory():
    """That of this process; empty when it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


cdef int open_log(str path) except -1:
    try:
        # Without O_NONBLOCK a FIFO that nobody reads would be waited for, and a write to one whose reader stalls.
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise not_opened(path, error) from None


cdef object not_opened(str path, object error):
    """The exception for a file that cannot be had."""
    reason = "nobody reads from it" if error.errno == ENXIO else error.strerror
    return ConfigError(f"cannot open the access log {path}: {reason}")


cdef object response_field(bytes head, bytes name):
    """The value of the last response field of that name, or None."""
    for line in (head or b"").split(b"\r\n")[:0:-1]:
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
