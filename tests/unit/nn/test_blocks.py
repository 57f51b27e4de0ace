import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from immo_hpc.nn.blocks import DenseBlock, DenseBlocks, dropout


def test_block_follows_equations_4_to_6():
    torch.manual_seed(0)
    block = DenseBlock(3, 4, dropout=0.0)
    h = torch.randn(6, 3)

    swished = h @ block.weight.T + block.bias
    swished = swished * torch.sigmoid(swished)
    mean, var = swished.mean(0), swished.var(0, unbiased=False)
    expected = (swished - mean) / torch.sqrt(var + 1e-5) * block.scale + block.shift

    assert_close(block(h), expected)
    assert_close(block.running_mean, 0.1 * mean)
    assert_close(block.running_var, 0.9 + 0.1 * swished.var(0))


def test_evaluation_uses_running_statistics_and_no_dropout():
    torch.manual_seed(0)
    block = DenseBlock(3, 4, dropout=0.5)
    block(torch.randn(9, 3))
    block.eval()
    h = torch.randn(5, 3)
    swished = F.silu(F.linear(h, block.weight, block.bias))
    expected = (swished - block.running_mean) / torch.sqrt(block.running_var + 1e-5)
    assert_close(block(h), expected)


@pytest.mark.parametrize("num_rows", [0, 1])
def test_without_statistics_the_running_ones_serve_and_stay(num_rows):
    torch.manual_seed(0)
    block = DenseBlock(3, 4, dropout=0.0)
    block(torch.randn(9, 3))
    before = block.running_mean.clone(), block.running_var.clone()
    h = torch.randn(num_rows, 3)

    trained = block(h)
    trained.sum().backward()

    assert trained.shape == (num_rows, 4)
    assert_close((block.running_mean, block.running_var), before, rtol=0, atol=0)
    assert bool(block.weight.grad.isfinite().all())
    assert_close(trained, block.eval()(h))


def test_blocks_stand_one_after_the_other():
    torch.manual_seed(0)
    blocks = DenseBlocks(3, (5, 2), dropout=0.0).eval()
    h = torch.randn(4, 3)
    assert_close(blocks(h), blocks.blocks[1](blocks.blocks[0](h)))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.47329, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    h = torch.ones(1000, 999)
    dropped = dropout(h, rate)
    # Four values share a draw: every one of the four has to have the right rate.
    for lane in range(4):
        share = float((dropped.view(-1)[lane::4] == 0).float().mean())
        assert share == pytest.approx(rate, abs=0.004)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)], rel=1e-4)


def test_dropout_at_rate_0_and_without_values_is_the_identity():
    h = torch.randn(3, 2)
    assert dropout(h, 0.0) is h
    assert dropout(h[:0], 0.5).shape == (0, 2)


def test_dropped_units_carry_no_gradient():
    torch.manual_seed(0)
    h = torch.randn(20, 30, requires_grad=True)
    dropped = dropout(h, 0.5)
    dropped.sum().backward()
    assert_close(h.grad, torch.where(dropped == 0, 0.0, 2.0), rtol=1e-4, atol=0)
