"""What is kept of a run under load, and what is computed of it."""

import json
from collections import Counter

import pytest
from comparison.recording import Recording, RecordingError, Second, SecondsWriter, merge, read, read_seconds, write

FACTS = {"server": "pyserver sync", "demo": "flask", "others": 0.0}


def test_each_second_is_a_line(tmp_path):
    writer = SecondsWriter(tmp_path / "seconds")
    writer.add(10.1, "GET /", 1.234, waits=False, failure="")
    writer.add(10.9, "GET /events", 50.0, waits=True, failure="")
    writer.add(12.0, "GET /", 3.0, waits=False, failure="status 502 and not 200")
    writer.close()
    assert read_seconds(tmp_path / "seconds") == [
        Second(10, [1.23], [50.0], Counter({"GET /": 1, "GET /events": 1})),
        Second(12, quick=[3.0], names=Counter({"GET /": 1}), failures=Counter({"status 502 and not 200": 1})),
    ]


def test_what_the_processes_use_is_a_line(tmp_path):
    writer = SecondsWriter(tmp_path / "seconds")
    writer.sample(10.5, 0.25, 4096)
    writer.close()
    assert read_seconds(tmp_path / "seconds") == [Second(10, processor=0.25, memory=4096)]


@pytest.mark.parametrize("line", ["{", "3", '{"at": 1, "colour": 2}', '{"quick": [1]}'])
def test_a_line_that_is_no_second_is_named(line, tmp_path):
    (tmp_path / "seconds").write_text(f'{{"at": 1}}\n{line}\n')
    with pytest.raises(RecordingError, match="seconds, line 2: "):
        read_seconds(tmp_path / "seconds")


def test_merged_seconds_have_what_each_part_says():
    requests = [Second(at, [float(at)], [], Counter(GET=1), Counter(lost=1)) for at in (1, 2, 3)]
    samples = [Second(at, processor=at / 10, memory=at) for at in (0, 1, 2, 3, 4)]
    assert merge(requests, samples) == [Second(2, [2.0], [], Counter(GET=1), Counter(lost=1), processor=0.2, memory=2)]


def test_a_second_in_which_nothing_was_answered_is_there():
    merged = merge([Second(1, quick=[1.0]), Second(2, quick=[1.0]), Second(4, quick=[1.0]), Second(5, quick=[1.0])])
    assert [(second.at, second.requests) for second in merged] == [(2, 1), (3, 0), (4, 1)]


def test_processor_time_is_divided_by_the_requests_between_the_samples():
    seconds = [
        Second(1, quick=[1.0] * 9, processor=5.0),
        Second(2, quick=[1.0] * 3, waiting=[1.0], processor=5.5),
        Second(3, quick=[1.0] * 6),
        Second(4, processor=6.0),
    ]
    made = Recording(FACTS, seconds, 2.0)
    assert made.processor_per_request() == pytest.approx(0.1)
    assert made.processor_rates() == [(2, pytest.approx(0.125))]


def test_without_samples_there_is_no_processor_time():
    assert Recording(FACTS, [Second(1, quick=[1.0])], 1.0).processor_per_request() is None


def test_a_recording_is_read_as_it_was_written(tmp_path):
    first = Second(1, [1.5], [50.0], Counter(GET=2), Counter(lost=2), 0.5, 4096)
    made = Recording(FACTS, [first, Second(2)], reloaded_at=1.5)
    write(tmp_path / "one.json", made)
    assert read(tmp_path / "one.json") == made
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"facts": {}, "seconds": [], "reloaded_at": 1})])
def test_a_file_that_is_no_recording_is_named(content, tmp_path):
    (tmp_path / "one.json").write_text(content)
    with pytest.raises(RecordingError, match=r"one\.json is not a recording"):
        read(tmp_path / "one.json")
