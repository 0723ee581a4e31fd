"""Why a worker died, in words: what is known, and nothing that is guessed."""

import signal

import pytest

from pyserver.arbiter.autopsy import Findings, OutOfMemory, cause_of_death, how_it_ended, is_told_to_stop
from pyserver.workers.messages import WorkerState

CORE = 0x80


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with code 0"),
        (3 << 8, "exited with code 3"),
        (255 << 8, "exited with code 255: an error that stands above"),
        (signal.SIGSEGV, "crashed with SIGSEGV: its stack stands above"),
        (signal.SIGSEGV | CORE, "crashed with SIGSEGV and left a core dump: its stack stands above"),
        (signal.SIGABRT, "crashed with SIGABRT: its stack stands above"),
        (signal.SIGTERM, "was ended by SIGTERM, not sent by the arbiter"),
        (signal.SIGXCPU | CORE, "was ended by SIGXCPU and left a core dump, not sent by the arbiter"),
        (50, "was ended by signal 50, not sent by the arbiter"),
    ],
)
def test_an_end_is_told_in_words(status, text):
    assert how_it_ended(status) == text


@pytest.mark.parametrize(
    ("out_of_memory", "text"),
    [
        (OutOfMemory.COUNTED, "was ended by SIGKILL, sent by the kernel: out of memory"),
        (
            OutOfMemory.ON_THE_MACHINE,
            "was ended by SIGKILL, not sent by the arbiter, and the machine has counted an out-of-memory kill",
        ),
        (
            OutOfMemory.NOT_COUNTED,
            "was ended by SIGKILL, not sent by the arbiter, and no out-of-memory kill was counted",
        ),
        (
            OutOfMemory.UNKNOWN,
            "was ended by SIGKILL, not sent by the arbiter, and whether memory was out cannot be told on this system",
        ),
    ],
)
def test_memory_is_blamed_only_where_the_kernel_says_so(out_of_memory, text):
    assert how_it_ended(signal.SIGKILL, out_of_memory) == text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (WorkerState.BOOTING, "exited with code 9 while it booted: the application ended its process"),
        (WorkerState.READY, "exited with code 9 while it served: the application ended its process"),
        (WorkerState.RETIRING, "exited with code 9 while it retired: the application ended its process"),
    ],
)
def test_the_stage_is_told(state, text):
    assert cause_of_death(Findings(status=9 << 8, state=state)) == text


def test_an_error_of_the_worker_is_not_blamed_on_the_application():
    findings = Findings(status=255 << 8, state=WorkerState.READY)
    assert cause_of_death(findings) == "exited with code 255 while it served: an error that stands above"


def test_all_that_is_known_is_one_line():
    findings = Findings(
        status=signal.SIGKILL,
        state=WorkerState.READY,
        out_of_memory=OutOfMemory.COUNTED,
        request="it was running GET /report for 3.1 s",
        peak_bytes=512 * 1024 * 1024,
        private_bytes=300 * 1024 * 1024,
    )
    assert cause_of_death(findings) == (
        "was ended by SIGKILL while it served, sent by the kernel: out of memory; "
        "it was running GET /report for 3.1 s; it had 512 MB of memory at most; "
        "300 MB to itself when it was last looked at"
    )


@pytest.mark.parametrize(
    ("status", "told"),
    [(0, False), (3 << 8, False), (signal.SIGKILL, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
)
def test_a_worker_that_was_told_to_stop_is_known_from_one_that_crashed(status, told):
    assert is_told_to_stop(status) is told
