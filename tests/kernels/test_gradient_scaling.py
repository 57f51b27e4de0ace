"""The last step of the gradient: the compiled scaling gives the bits of torch's product."""

import pytest
import torch

from immo_kernels import MaskStream, masked_wmse
from immo_kernels.masked_wmse import cpu

SEGMENTS = [0, 3, 3, 1030]


@pytest.mark.parametrize("rows", [0, 1, 5, 67])
@pytest.mark.parametrize("threads", [1, 2])
def test_scaling_is_torchs_product(request, rows, threads):
    if threads == 2:
        request.getfixturevalue("two_threads")
    residual = torch.randn(rows, 1030, generator=torch.Generator().manual_seed(rows))
    per_layer = torch.tensor([0.3, 5.0, -1e-3])
    expected = residual.clone()
    expected[:, :3] *= per_layer[0]
    expected[:, 3:] *= per_layer[2]
    cpu.scale(residual, per_layer, SEGMENTS)
    assert torch.equal(residual, expected)


def test_scaling_of_columns_leaves_their_neighbours():
    memory = torch.ones(4, 9)
    cpu.scale(memory[:, 2:7], torch.tensor([3.0]), [0, 5])
    assert memory.sum(0).tolist() == [4, 4, 12, 12, 12, 12, 12, 4, 4]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("x_dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("overwrite", [False, True])
def test_gradient_of_every_kind_of_memory(transposed, x_dtype, overwrite):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, 12, generator=generator).to(x_dtype)
    leaf = torch.randn(7, 12, generator=generator, requires_grad=True)
    # The transposed memory of a product has no neighbouring columns.
    x_hat = (leaf.T.contiguous() * 1.0).T if transposed else leaf * 1.0
    expected = 2 / 42 * (x_hat.detach().double() - x.double())
    loss = masked_wmse(
        x_hat,
        x,
        torch.arange(7),
        weight=1.0,
        keep_probability=1.0,
        stream=MaskStream(0, 0),
        segments=[0, 6, 12],
        overwrite_x_hat=overwrite,
    ).loss
    (gradient,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(gradient.double(), expected, rtol=3e-6, atol=1e-8)
