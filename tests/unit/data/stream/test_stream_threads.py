"""Tasks shared among threads: each once, errors told, and the same batches for any number."""

import os
import threading

import pytest

from immo_hpc.data.stream import StreamSource, open_shards
from immo_hpc.data.stream.threads import share


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_task_is_done_once(workers):
    lists = [[] for _ in range(workers)]
    share(101, lambda task, done: done.append(task), lists, lambda: False)
    assert sorted(task for done in lists for task in done) == list(range(101))


def test_first_error_is_raised_and_nothing_is_begun_after_it():
    begun = []
    both = threading.Barrier(2, timeout=10)

    def do(task, _):
        begun.append(task)
        both.wait()
        message = f"task {task}"
        raise ValueError(message)

    with pytest.raises(ValueError, match="task 0"):
        share(50, do, [None, None], lambda: False)
    assert sorted(begun) == [0, 1]


def test_stopped_in_the_middle():
    done = []
    share(50, lambda task, _: done.append(task), [None], lambda: len(done) >= 3)
    assert done == [0, 1, 2]


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
