"""The kernel benchmark: fair data, right numbers, no timing of a wrong op, docs as measured."""

import json
from pathlib import Path

import pytest
import torch

from immo_hpc.bench import kernels as bench
from immo_hpc.bench import kernels_check as check
from immo_hpc.bench import kernels_contenders as contenders
from immo_hpc.bench import kernels_timing as timing
from immo_hpc.bench.kernels_cases import (
    HIDDEN,
    LAYER_OPS,
    OPS,
    Case,
    cases,
    make_problem,
    moved_bytes,
)
from immo_hpc.bench.kernels_claims import claims_of
from immo_hpc.bench.kernels_render import page, read_results, render_folder, table
from immo_hpc.bench.kernels_rows import make_row
from immo_hpc.bench.kernels_timing import Quantiles

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


def test_cases_of_a_cpu():
    found = list(cases(CPU, 2**40))
    assert len(found) == 2 * 4 * 2 * 3 + 2 * 3
    assert {case.dtype for case in found} == {"float32"}
    assert max(case.samples * case.features for case in found if case.op in OPS) == 1024 * 20_000
    assert {case.features for case in found if case.op in LAYER_OPS} == {20_000, 200_000}
    quick = list(cases(CPU, 2**40, quick=True))
    assert {(case.absent, case.missing) for case in quick} == {(0.0, 0.3)}
    assert set(quick) < set(found)


def test_cases_of_a_gpu_fit_its_memory():
    gpu = torch.device("cuda")
    everything = list(cases(gpu, 2**40))
    assert {(case.samples, case.features) for case in everything} >= {
        (65_536, 20_000),
        (4_096, 1_000_000),
    }
    assert {case.dtype for case in everything} == {"float32", "bfloat16", "float16"}
    quick = list(cases(gpu, 2**40, quick=True))
    assert set(quick) < set(everything)
    assert Case("training step", 4_096, 1_000_000, "bfloat16") in quick
    assert {case.absent for case in quick} == {0.0, 0.6}
    fitting = list(cases(gpu, 40 * 2**30))
    assert 0 < len(fitting) < len(everything)
    assert max(case.tensor_bytes for case in fitting if case.op in OPS) <= 5 * 2**30


@pytest.mark.parametrize("absent", [0.0, 0.6])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_problem_has_the_shares_of_its_case(absent, missing):
    case = Case("loss", 400, 1_003, absent=absent, missing=missing)
    problem = make_problem(case, CPU)
    share = float(problem.x.isnan().double().mean())
    # 1,600 blocks: 0.05 is four standard errors.
    assert share == pytest.approx(1 - (1 - absent) * (1 - missing), abs=0.05)
    assert (problem.measured is None) == (absent == 0)
    assert problem.segments == [0, 250, 501, 752, 1003]
    assert torch.equal(make_problem(case, CPU).x_hat, problem.x_hat)


def test_bytes_that_must_move():
    whole = Case("mask + loss", 64, 1_000)
    assert moved_bytes(whole, make_problem(whole, CPU)) == 6 * 64 * 1_000 * 4
    part = Case("loss", 64, 1_000, dtype="bfloat16", absent=0.6)
    problem = make_problem(part, CPU)
    present = int(problem.measured.sum()) * 250
    assert moved_bytes(part, problem) == (3 * present + 64 * 1_000) * 2
    last = Case("last layer + loss", 8, 100)
    layer = HIDDEN * 100
    assert moved_bytes(last, make_problem(last, CPU)) == 4 * (2 * 8 * 100 + 2 * layer)
    step = Case("training step", 8, 100)
    # Both layers read x twice; Adam reads four and writes three tensors of the parameters.
    assert moved_bytes(step, make_problem(step, CPU)) == 4 * (4 * 8 * 100 + 4 * layer + 14 * layer)


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_plain_form_computes_the_same(absent):
    """The loss and gradient are equal; the mask keeps the same share of what was measured."""
    case = Case("mask + loss", 60, 1_000, absent=absent)
    problem = make_problem(case, CPU)
    ours, (loss, gradient) = contenders.immo(case)(problem)
    theirs, (plain_loss, plain_gradient) = contenders.plain(case)(problem)
    torch.testing.assert_close(loss, plain_loss)
    torch.testing.assert_close(gradient, plain_gradient)
    observed = ~problem.x.isnan()
    for masked in (ours, theirs):
        assert torch.equal(masked != 0, (masked != 0) & observed)
        assert torch.equal(masked[masked != 0], problem.x[masked != 0])
        assert float((masked[observed] != 0).double().mean()) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("op", LAYER_OPS)
def test_layers_in_blocks_whole_plain_and_compiled_compute_the_same(op):
    case = Case(op, 30, 500, missing=0.2)
    problem = make_problem(case, CPU)
    makers = [contenders.immo, contenders.whole, contenders.plain]
    ours, whole, plain = (make(case)(problem) for make in makers)
    torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-5)
    if op == "last layer + loss":
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    else:
        # Masks are torch's own there.
        assert type(plain) is type(ours)


@pytest.mark.parametrize("op", LAYER_OPS)
def test_a_right_layer_has_no_fault(op):
    for dtype in ("float32", "bfloat16"):
        assert check.fault(Case(op, 64, 10_000, dtype), CPU) is None


def test_a_wrong_layer_and_step_are_not_timed(monkeypatch):
    right = contenders.immo
    spoilt = lambda case: lambda p: tuple(part * 1.001 for part in right(case)(p))  # noqa: E731  # one line beats a function here
    monkeypatch.setattr(check, "immo", spoilt)
    assert "result is off by" in check.fault(Case("last layer + loss", 8, 100), CPU)
    gradients = check.TrainingStep.gradients
    monkeypatch.setattr(
        check.TrainingStep,
        "gradients",
        lambda self: {n: g * (1 + self._in_blocks) for n, g in gradients(self).items()},
    )
    assert "gradient of" in check.fault(Case("training step", 8, 100), CPU)


def test_a_row_of_a_step_counts_all_that_is_held():
    case = Case("training step", 16, 3_000)
    row, *_ = bench.bench_case(case, CPU, rounds=2, with_compile=False)
    assert {name for name, time in row.ms.items() if time} == {"immo", "plain", "whole", "copy"}
    assert row.over_whole == pytest.approx(row.ms["whole"].median / row.ms["immo"].median)
    held = row.peak_extra_mb["immo"]
    if held is not None:
        # Two matrices of 3,000 x 256: value, gradient and two moments of each.
        assert held > (2 * 4 * 4 * 3_000 * HIDDEN + 4 * 16 * 3_000) / 1e6


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("absent", [0.0, 0.6])
def test_a_right_op_has_no_fault(op, dtype, absent):
    assert check.fault(Case(op, 64, 10_000, dtype, absent), CPU) is None


@pytest.mark.parametrize(
    ("op", "spoil", "part"),
    [
        ("mask", lambda mask: mask.roll(1, 0), "mask"),
        ("mask", lambda mask: mask * 1.001, "mask"),
        ("loss", lambda results: (results[0] * 1.0001, results[1]), "loss"),
        ("loss", lambda results: (results[0], results[1] + 1e-9), "gradient"),
        ("mask + loss", lambda results: (results[0], (results[1][0], -results[1][1])), "gradient"),
    ],
)
def test_a_wrong_op_is_not_timed(monkeypatch, op, spoil, part):
    right = contenders.immo
    monkeypatch.setattr(check, "immo", lambda case: lambda p: spoil(right(case)(p)))
    (row,) = bench.bench_case(Case(op, 8, 100), CPU, rounds=2, with_compile=False)
    assert row.notes[0].startswith(f"not timed: {part} is off by")
    assert set(row.ms.values()) == {None}
    assert row.over_plain is row.copy_share is row.gb_per_s is None
    assert "not timed" in table(bench.KernelBench((row,), ()).to_dict())


def test_a_row_says_what_was_measured(monkeypatch):
    def no_compiler(*arguments, **options):
        message = "no C++ compiler\nmore"
        raise RuntimeError(message)

    monkeypatch.setattr(contenders, "compiled", lambda case: no_compiler)
    row, *_ = bench.bench_case(Case("mask + loss", 16, 3_000, absent=0.3), CPU, rounds=3)
    ours = row.ms["immo"]
    assert 0 < ours.p20 <= ours.median <= ours.p80
    assert row.over_plain == pytest.approx(row.ms["plain"].median / ours.median)
    assert row.copy_share == pytest.approx(row.ms["copy"].median / ours.median)
    assert row.gb_per_s == pytest.approx(row.moved_mb / ours.median)
    assert row.ms["compiled"] is row.over_compiled is None
    assert row.notes == ("compiled: RuntimeError: no C++ compiler",)
    assert {"device", "device_name", "threads", "commit", "versions", "date"} <= set(
        row.environment
    )


def test_both_kinds_of_memory_are_timed():
    rows = bench.bench_case(Case("mask", 8, 400), CPU, rounds=2, with_compile=False)
    assert rows[0].memory == "fresh"
    assert [row.memory for row in rows[1:]] in ([], ["kept"])


def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "_calls", lambda run, once: 2)
    order = []
    runs = {name: lambda call, name=name: order.append(f"{name}{call}") for name in "abc"}
    found = timing.time_in_turns(runs, CPU, rounds=3)
    assert set(found) == set("abc")
    assert "".join(order) == "a0a1b0b1c0c1" + "b0b1c0c1a0a1" + "c0c1a0a1b0b1"


def test_quantiles():
    assert timing.quantiles([float(v) for v in range(11)]) == Quantiles(2.0, 5.0, 8.0)
    assert timing.quantiles([3.0]) == Quantiles(3.0, 3.0, 3.0)


def test_peak_memory_counts_results_and_what_is_between():
    def run(call):
        first = torch.ones(20 << 20, dtype=torch.uint8)
        second = torch.ones(30 << 20, dtype=torch.uint8)
        del first
        return second

    peak = timing.peak_extra_bytes(run, CPU)
    if peak is None:
        pytest.skip("this system does not tell")
    assert 45 << 20 < peak < 60 << 20


def row_of(ms, **case):
    times = {name: Quantiles(value, value, value) for name, value in ms.items()}
    values = {"op": "mask + loss", "samples": 1_024, "features": 20_000} | case
    return make_row(Case(**values), "kept", times, {}, 400_000_000, [], CPU)


def test_claims_are_held_against_the_numbers():
    fast = row_of({"immo": 10.0, "plain": 80.0, "compiled": 39.0, "copy": 5.0})
    other = row_of({"immo": 10.0, "plain": 10.0, "compiled": 10.0, "copy": 1.0}, missing=0.0)
    assert [(c.found, c.bound, c.holds) for c in claims_of([fast, other])] == [
        (8.0, 8, True),
        (3.9, 4, False),
        (2.0, 2 * 5 / 6, False),
    ]
    text = table(bench.KernelBench((fast, other), claims_of([fast])).to_dict())
    assert "plain PyTorch, at least 8: 8, holds" in text
    assert "torch.compile, at least 4: 3.9, MISSED" in text


def test_claims_of_a_gpu():
    def on_gpu(ms, **case):
        row = row_of({"immo": ms, "plain": 60.0, "compiled": 14.0, "copy": 8.5}, **case)
        row.environment["device"] = "cuda"
        return row

    rows = [on_gpu(10.0), on_gpu(4.0, absent=0.6), on_gpu(6.0, absent=0.6, missing=0.0)]
    assert [(c.found, c.bound, c.holds) for c in claims_of(rows)] == [
        (0.85, 0.9, False),
        (6.0, 6, True),
        (1.4, 1.5, False),
        (0.4, 0.5, True),
    ]


def test_memory_of_the_largest_step_is_held_against_its_limit():
    case = {"op": "training step", "features": 1_000_000, "dtype": "bfloat16"}
    times = {"immo": Quantiles(1.0, 1.0, 1.0)}
    rows = [
        make_row(Case(samples=samples, **case), "kept", times, {"immo": 41 * 10**9}, 1, [], CPU)
        for samples in (4_096, 64)
    ]
    (claim,) = claims_of(rows)
    assert (claim.found, claim.bound, claim.holds) == (41_000, 40_000, False)


def test_quick_run_is_written_and_rendered(monkeypatch, tmp_path):
    few = [Case(op, 8, 64) for op in OPS]
    monkeypatch.setattr(bench, "cases", lambda *arguments, **options: iter(few))
    said = []
    result = bench.bench_kernels(
        with_compile=False, rounds=2, device="cpu", out=tmp_path / "kernels-x.json", say=said.append
    )
    assert len(said) == 3
    assert [row.case.op for row in result.rows if row.memory == "fresh"] == list(OPS)
    written = json.loads((tmp_path / "kernels-x.json").read_text())
    assert written == json.loads(json.dumps(result.to_dict()))
    render_folder(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert text.count("| mask + loss | 8 x 64 | float32 | 0% | 30% | fresh |") == 1
    assert "compiled: not asked for" in text


def test_docs_are_what_was_measured():
    results = read_results(ROOT / "benchmarks" / "results")
    assert results, "no kernels-*.json under benchmarks/results"
    assert (ROOT / "docs" / "bench-kernels.md").read_text(encoding="utf-8") == page(results)
