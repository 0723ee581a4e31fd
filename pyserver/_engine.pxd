# The contract of _engine: who serves the connections of a worker, and when.
from libc.stdint cimport int64_t

from pyserver._balance cimport Balance
from pyserver._commons cimport Arrival
from pyserver._connection cimport Connection, Source
from pyserver._lane cimport Lane
from pyserver._scoreboard cimport Slot
from pyserver._steward cimport Stewarded
from pyserver._system cimport sockaddr_storage


cdef struct Listener:
    Source source
    int index
    bint is_secure                  # what is spoken there is TLS


cdef enum Moving:
    MOVES_NEVER
    MOVES_WHEN_LEAVING
    MOVES_ALWAYS                    # after each response, for tests


cdef class Engine(Stewarded):
    cdef readonly list listeners
    cdef Listener *_listeners
    cdef int _listener_count
    cdef list _lanes                    # one for each thread; otherwise that of whoever reads
    cdef dict _watches
    cdef list _unwatched
    cdef Slot *_own_slot
    cdef int64_t _looked_ns             # when the watches were looked at last
    cdef int64_t _seen_ns               # what the peers sent until then has been reported; later deadlines have time
    cdef int64_t _full_since_ns         # the first of several reports that had no room for all
    cdef int _full_waits                # … and how many they are
    cdef bint _in_round                 # what was closed in it has not been freed
    cdef bint _owes_accept              # a turn has taken long: somebody may have connected
    cdef int _turns_left                # of those who asked for another turn before this round
    cdef bint _has_turned               # one of them has had it
    cdef int64_t _accept_again_ns       # when accepting goes on after descriptors ran out; 0: it goes on now
    cdef int64_t _said_exhausted_ns
    cdef int _paused_at                 # how many connections were open then
    cdef bint _is_stopped
    cdef bint _has_streams              # requests run beside others, as tasks of an event loop
    cdef bint _accepts                  # whether the listeners are watched
    cdef int _most_connections          # that the descriptors were found to be enough for; 0: not found yet
    cdef int _last_descriptor           # connections beyond it wait until there are fewer
    cdef bint _takes_rest               # what is in the commons is nobody else's to take
    cdef bint _is_pressed               # rounds follow each other at once
    cdef bint _sees_commons             # it is waited for
    cdef Moving _moving
    cdef int64_t _shuns_until_ns        # until then others have what is in the commons; 0: no longer
    cdef int64_t _move_again_ns         # when there may be room for more; 0: nobody waits for that
    cdef Source _bell                   # the read end of a pipe that wakes the thread which waits
    cdef int _bell_rope                 # … its write end
    cdef bint _is_rung
    cdef public int64_t max_requests
    cdef public object on_max_requests

    cdef int _go_on(self, int wait_ms) except -1
    cdef int _lead(self, Lane lane) except -1
    cdef bint _has_lost(self, Lane lane) noexcept
    cdef int _wait(self, int wait_ms, Lane lane) except -1
    cdef int _go_round(self, Lane lane) except -1
    cdef int _end_round(self, Lane lane) except -1
    cdef int _admit(self, Lane lane) except -1
    cdef int _give_held(self, int64_t now_ns) except -1
    cdef int _tell_served(self) except -1
    cdef int _hang_bell(self) except -1
    cdef int _run_signal_handlers(self) except -1
    cdef int _look_around(self, Lane lane) except -1
    cdef int _note_seen(self, int count, int64_t seen_ns) noexcept
    cdef int _dispatch(self, Lane lane, Source *source, int events) except -1
    cdef int _run_again(self, Lane lane) except -1
    cdef int _step_back(self, Listener *listener) except -1
    cdef int _let_in(self, Lane lane) except -1
    cdef int _accept(self, Lane lane, Listener *listener) except -1
    cdef bint _accept_one(self, Listener *listener, Lane lane) except -1
    cdef int _adopt(self, int fd, const sockaddr_storage *address, int listener, Lane lane) except -1
    cdef bint _is_for_another(self, Connection *connection) except -1
    cdef bint _may_begin_http2(self, const Connection *connection) noexcept
    cdef int _watch_commons(self, bint wanted) except -1
    cdef int _take_moved(self, Lane lane) except -1
    cdef bint _take_one(self, Lane lane) except -1
    cdef int _restore(self, Connection *connection, Arrival *arrival) except -1
    cdef int _move_idle(self) except -1
    cdef int _take_rest(self) except -1
    cdef int _even_out(self, int64_t now_ns) except -1
    cdef int _give_some(self, int wanted) except -1
    cdef int _shun(self) except -1
    cdef int _stop_moving(self) except -1
    cdef int _hurry(self) except -1
    cdef int _hurry_secured(self) except -1
    cdef int _look_away(self) except -1
    cdef int _listen(self) except -1
    cdef int _pause_accepting(self, int reason) except -1
    cdef int _resume_accepting(self, int64_t now_ns) except -1
    cdef int _retire(self, double idle_grace, bint takes_queue, bint moves, double stay_grace) except -1
    cdef int _drop_copy(self, Connection *connection) except -1
    cdef int _expire(self, Lane lane) except -1
