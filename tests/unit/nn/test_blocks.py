import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from immo_hpc.nn.blocks import DenseBlock, DenseBlocks, dropout_scale


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
    scale = dropout_scale(torch.empty(1000, 999), rate)
    # Four values share a draw: every one of the four has to have the right rate.
    for lane in range(4):
        share = float((scale.view(-1)[lane::4] == 0).float().mean())
        assert share == pytest.approx(rate, abs=0.004)
    assert float(scale.mean()) == pytest.approx(1.0, abs=0.01)
    assert scale.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)], rel=1e-4)


def test_nothing_to_drop():
    assert dropout_scale(torch.empty(3, 2), 0.0) is None
    assert dropout_scale(torch.empty(0, 2), 0.5) is None


def test_a_block_drops_while_training():
    torch.manual_seed(0)
    block = DenseBlock(30, 200, dropout=0.5)
    out, tape = block.taped(torch.randn(100, 30))
    assert_close(out == 0, tape.dropped == 0)
    assert float((out == 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert not bool((block.eval()(torch.randn(100, 30)) == 0).any())
