"""A crew of threads: each task once, errors told, and the same batches for any number."""

import os
import threading
import weakref
from functools import partial

import pytest

from immo_hpc.data.stream import StreamSource, open_shards
from immo_hpc.data.stream.threads import Crew, wait


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_task_is_done_once(workers):
    lists = [[] for _ in range(workers)]
    with Crew(lists) as crew:
        wait(crew.give([lambda done, n=number: done.append(n) for number in range(101)]))
    assert sorted(task for done in lists for task in done) == list(range(101))


def test_first_error_is_raised_where_it_is_waited_for():
    done = []

    def do(_, number):
        if number % 2:
            message = f"task {number}"
            raise ValueError(message)
        done.append(number)

    with Crew([None, None]) as crew:
        given = crew.give([partial(do, number=number) for number in range(6)])
        with pytest.raises(ValueError, match="task 1"):
            wait(given)
        wait(given[::2])
    assert sorted(done) == [0, 2, 4]


def test_what_a_task_held_is_free_once_it_is_waited_for():
    class Held:
        pass

    for _ in range(200):
        held = Held()
        left = weakref.ref(held)
        with Crew([None, None]) as crew:
            given = crew.give([lambda _, held=held: None])
            del held
            wait(given)
            assert left() is None


def test_what_is_not_begun_is_left():
    done = []
    begun, may_end = threading.Event(), threading.Event()

    def first(_):
        begun.set()
        assert may_end.wait(10)
        done.append(0)

    with Crew([None]) as crew:
        crew.give([first, lambda _: done.append(1)])
        assert begun.wait(10)
        threading.Timer(0.2, may_end.set).start()
    assert done == [0]


def test_batches_do_not_depend_on_the_number_of_threads(new_cohort, write, monkeypatch):
    index = open_shards(write(new_cohort(num_samples=60, widths=(3, 5000, 4))))
    found = []
    for processors in (1, 3, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=processors: set(range(n)))
        source = StreamSource(index, batch_size=7, seed=1, memory_bytes=400_000)
        batches = [batch for epoch in range(2) for batch in source.epoch(epoch)]
        found.append(
            [
                (batch.sample_uid.tolist(), layer.rows.tolist(), layer.values.numpy().tobytes())
                for batch in batches
                for layer in batch.layers.values()
            ]
        )
    assert found[0] == found[1] == found[2]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("immo-")]
