"""Stacks shared among processes give what one process gives, in float64.

The processes are threads here: what they exchange is all that connects them.
"""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from immo_hpc.config import ModelConfig
from immo_hpc.nn import GradientPass, ImmoModel
from immo_hpc.nn.gradient import DECODER
from immo_hpc.nn.shared import RowShare, SharedStacks

FEATURES = {"mg": 4, "mt": 1, "mb": 6}


class Threads:
    """The exchange of several threads that stand for processes."""

    def __init__(self, world_size):
        self.world_size = world_size
        self._buffers = [None] * world_size
        self._barrier = threading.Barrier(world_size, timeout=30)

    def of(self, rank):
        return _Rank(self, rank)

    def exchange(self, rank, buffer):
        self._buffers[rank] = buffer.clone()
        self._barrier.wait()
        table = torch.stack(self._buffers)
        self._barrier.wait()
        return table

    def run(self, work):
        """Call ``work`` with each rank in a thread of its own; results by rank."""
        results, failures = [None] * self.world_size, []

        def one(rank):
            try:
                results[rank] = work(rank)
            except Exception as error:  # noqa: BLE001 - raised again below
                failures.append(error)
                self._barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return results


class _Rank:
    def __init__(self, threads, rank):
        self._threads, self._rank = threads, rank

    def all_sum(self, buffer):
        return buffer.copy_(self._threads.exchange(self._rank, buffer).sum(0))

    def gathered(self, buffer):
        return self._threads.exchange(self._rank, buffer)


def new_model(dims):
    torch.manual_seed(0)
    config = ModelConfig(latent_dim=3, encoder_dims=dims[0], decoder_dims=dims[1], dropout=0.0)
    model = ImmoModel(FEATURES, config).double().train()
    for parameter in model.parameters():
        # What a step before has left must not stay.
        parameter.grad = torch.full_like(parameter, torch.nan)
    return model


def gradients_and_buffers(model):
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return gradients, {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_as_one(dims, measured, visible, rank_of, world_size):
    """Compare one pass of threads that share samples with the pass of one alone."""
    torch.manual_seed(1)
    size = len(rank_of)
    names = [name for name in FEATURES if measured[name]]
    values = {n: torch.randn(size, FEATURES[n], dtype=torch.float64) for n in names}
    upstream = {n: torch.randn(size, FEATURES[n], dtype=torch.float64) for n in names}

    def part(samples):
        """What a process with these samples gives to its pass, and gets."""
        place = {sample: number for number, sample in enumerate(samples)}
        here = {n: [s for s in visible[n] if s in place] for n in names}
        rows = {n: [s for s in measured[n] if s in place] for n in names}
        at = {n: torch.tensor([place[s] for s in rows[n]], dtype=torch.int64) for n in names}
        batch = {
            n: (values[n][here[n]], torch.tensor([place[s] for s in here[n]], dtype=torch.int64))
            for n in names
        }
        return batch, at, {n: upstream[n][rows[n]] for n in names}, rows

    alone = new_model(dims)
    batch, at, gradient, _ = part(list(range(size)))
    forward = GradientPass(alone)
    expected = forward({n: b for n, b in batch.items() if len(b[1])}, size, at)
    forward.backward(gradient)

    threads = Threads(world_size)
    # Not by the threads: they would draw their weights from one generator.
    models = [new_model(dims) for _ in range(world_size)]

    def work(rank):
        samples = [sample for sample in range(size) if rank_of[sample] == rank]
        batch, at, gradient, rows = part(samples)
        model = models[rank]
        stacks = SharedStacks(threads.of(rank))
        stacks.shares = {
            model.place[n]: RowShare(
                len(visible[n]),
                torch.tensor([k for k, s in enumerate(visible[n]) if s in samples]).long(),
            )
            for n in names
        } | {DECODER: RowShare(size, torch.tensor(samples).long())}
        shared = GradientPass(model, stacks)
        x_hat = shared(batch, len(samples), at)
        shared.backward(gradient)
        return x_hat, rows, *gradients_and_buffers(model)

    results = threads.run(work)
    gradients, buffers = gradients_and_buffers(alone)
    for x_hat, rows, _, running in results:
        for name in names:
            where = [measured[name].index(sample) for sample in rows[name]]
            assert_close(x_hat[name], expected[name][where], rtol=1e-9, atol=1e-11, msg=name)
        assert_close(running, buffers, rtol=1e-9, atol=1e-12)
    summed = {n: sum(result[2][n] for result in results) for n in gradients}
    assert_close(summed, gradients, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("dims", [((5,), (7,)), ((5, 3), (4, 6, 2))])
@pytest.mark.parametrize("world_size", [2, 3])
def test_shared_rows_give_the_pass_of_one(dims, world_size):
    draw = np.random.default_rng(0)
    measured = {n: np.flatnonzero(draw.random(20) < 0.7).tolist() for n in FEATURES}
    visible = {n: [s for s in measured[n] if draw.random() < 0.8] for n in FEATURES}
    assert_as_one(dims, measured, visible, draw.integers(0, world_size, 20), world_size)


@settings(max_examples=25, deadline=None)
@given(
    samples=st.lists(
        st.tuples(st.integers(0, 2), *[st.sampled_from(["no", "hidden", "shown"])] * len(FEATURES)),
        min_size=2,
        max_size=6,
    ).filter(lambda samples: any("shown" in sample for sample in samples))
)
def test_any_pattern_of_layers_and_owners(samples):
    """Processes without a sample, layers of one row, on one process, or seen by nobody."""
    measured = {
        n: [s for s, (_, *state) in enumerate(samples) if state[column] != "no"]
        for column, n in enumerate(FEATURES)
    }
    visible = {
        n: [s for s, (_, *state) in enumerate(samples) if state[column] == "shown"]
        for column, n in enumerate(FEATURES)
    }
    assert_as_one(((5,), (4,)), measured, visible, [owner for owner, *_ in samples], 3)
