"""Memory of large results: used again when nobody holds it, and never before."""

import gc
import threading

import pytest
import torch

from immo_kernels import MaskStream, _outputs, dynamic_mask, masked_wmse


@pytest.fixture(autouse=True)
def _all_results_are_large(monkeypatch):
    gc.collect()
    monkeypatch.setattr(_outputs, "KEPT_MIN", 1)
    _outputs.release_memory()
    yield
    gc.collect()
    _outputs.release_memory()


def num_blocks():
    return len(_outputs._blocks)


def test_memory_is_used_again_once_the_tensor_is_gone():
    first = _outputs.empty((100, 10))
    place = first.data_ptr()
    del first
    second = _outputs.empty((10, 100))
    assert second.data_ptr() == place
    assert num_blocks() == 1


@pytest.mark.parametrize(
    "part",
    [
        lambda t: t,
        lambda t: t[3:5],
        lambda t: t.detach(),
        lambda t: t.numpy(),
        lambda t: t.untyped_storage(),
        lambda t: torch.from_dlpack(t),
        lambda t: torch.nn.Parameter(t),
    ],
)
def test_memory_that_is_still_held_is_not_given_out(part):
    first = _outputs.empty((100, 10))
    place = first.data_ptr()
    held = part(first)
    del first
    second = _outputs.empty((100, 10))
    assert second.data_ptr() != place
    del held
    assert _outputs.empty((100, 10)).data_ptr() == place


def test_free_blocks_go_back_when_none_fits():
    small = _outputs.empty((10, 10))
    held = _outputs.empty((10, 10))
    del small
    assert num_blocks() == 2
    large = _outputs.empty((4096, 1024))
    assert num_blocks() == 2
    del large
    # A block more than twice as large as needed is not taken for it.
    another = _outputs.empty((10, 10))
    assert num_blocks() == 2
    del held, another
    _outputs.release_memory()
    assert num_blocks() == 0


def test_small_results_are_torchs_own(monkeypatch):
    monkeypatch.setattr(_outputs, "KEPT_MIN", 401)
    assert _outputs.empty((10, 10)).shape == (10, 10)
    assert num_blocks() == 0


@pytest.mark.parametrize("shape", [(0, 7), (3, 0), (1, 1), (1031, 517)])
def test_unwritten_elements_show_as_nan(shape):
    for _ in range(2):
        found = _outputs.empty(shape)
        assert found.shape == shape
        assert found.dtype == torch.float32
        assert found.isnan().all()
        found.fill_(1.0)
        del found


def test_results_of_earlier_calls_stay_as_they_were():
    """Masks and gradients held over many calls are what calls on their own give."""
    uid = torch.arange(33)
    held = []
    for epoch in range(6):
        generator = torch.Generator().manual_seed(epoch)
        x = torch.randn(33, 70, generator=generator)
        x[x > 1] = torch.nan
        x_hat = torch.randn(33, 70, generator=generator, requires_grad=True)
        arguments = {"keep_probability": 0.6, "stream": MaskStream(seed=3, epoch=epoch)}
        masked = dynamic_mask(x, uid, **arguments)
        loss = masked_wmse(x_hat, x, uid, weight=1.0, scope="kept", **arguments).loss
        (gradient,) = torch.autograd.grad(loss, x_hat)
        held.append((x, masked, masked.clone(), gradient, gradient.clone()))
        if epoch == 3:
            del held[0]
    for x, masked, masked_then, gradient, gradient_then in held:
        assert torch.equal(masked, masked_then)
        assert torch.equal(gradient, gradient_then)
        assert torch.equal(masked != 0, (masked != 0) & ~x.isnan())
        assert torch.equal(gradient != 0, masked != 0)


def test_threads_never_share_a_block():
    wrong = []

    def work(number):
        for _ in range(200):
            tensor = _outputs.empty((50, 20))
            tensor.fill_(number)
            if not bool((tensor == number).all()):
                wrong.append(number)
            del tensor

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_results_of_several_sizes_find_their_blocks_again():
    """As of the layers of a batch: what was in use at once is kept."""
    sizes = [1 << 19, 1 << 21, 1 << 22]

    def one_step():
        return sorted(result.data_ptr() for result in [_outputs.empty((n, 1)) for n in sizes])

    places = one_step()
    sizes.reverse()
    assert one_step() == places
    assert num_blocks() == 3
