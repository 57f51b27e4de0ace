"""Which path runs, and what happens around it: forcing, threads, forks, the compiled cache."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import immo_kernels
from immo_kernels import (
    MaskStream,
    _paths,
    dynamic_mask,
    keep_layers,
    linear_masked_wmse,
    masked_linear,
    masked_wmse,
)

STREAM = MaskStream(seed=1, epoch=2)
UID = torch.arange(4)


def mask(dtype=torch.float32, device="cpu"):
    x = torch.ones(4, 6, dtype=dtype, device=device)
    return dynamic_mask(x, UID.to(device), keep_probability=0.5, stream=STREAM)


def loss(dtype=torch.float32, device="cpu"):
    x = torch.ones(4, 6, dtype=dtype, device=device)
    return masked_wmse(x, x, UID.to(device), weight=1.0, keep_probability=0.5, stream=STREAM)


def layers(device="cpu"):
    measured = torch.ones(4, 2, dtype=torch.bool, device=device)
    return keep_layers(measured, UID.to(device), keep_probability=0.5, stream=STREAM)


def first(dtype=torch.float32, device="cpu"):
    x = torch.ones(4, 6, dtype=dtype, device=device)
    matrix, bias = x[:2].clone(), x[:2, 0].clone()
    return masked_linear(x, matrix, bias, UID.to(device), keep_probability=0.5, stream=STREAM)


def last(dtype=torch.float32, device="cpu"):
    x = torch.ones(4, 6, dtype=dtype, device=device)
    operands = x[:, :2].clone(), x.T[:, :2].clone(), x[0].clone()
    return linear_masked_wmse(
        *operands, x, UID.to(device), weight=1.0, keep_probability=0.5, stream=STREAM
    )


def forbid(monkeypatch, *paths):
    for op in ("dynamic_mask", "masked_wmse", "keep_layers"):
        for path in paths:
            name = f"immo_kernels.{op}.{path}"
            __import__(name)

            def refuse(*_, name=name):
                raise AssertionError(name)

            monkeypatch.setattr(sys.modules[name], "forward", refuse)


@pytest.mark.parametrize("call", [mask, loss, layers, first, last])
def test_float32_on_cpu_takes_the_compiled_path(monkeypatch, call):
    forbid(monkeypatch, "reference")
    call()


@pytest.mark.parametrize("call", [mask, loss, first, last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_take_the_reference(monkeypatch, call, dtype):
    forbid(monkeypatch, "cpu")
    call(dtype)


@pytest.mark.parametrize("call", [mask, loss, layers, first, last])
def test_forced_path_runs(monkeypatch, call):
    monkeypatch.setenv("IMMO_KERNELS", "cpu")
    compiled = call()
    forbid(monkeypatch, "cpu")
    monkeypatch.setenv("IMMO_KERNELS", "reference")
    torch.testing.assert_close(call(), compiled)


@pytest.mark.parametrize("call", [mask, loss, layers, first, last])
def test_triton_forced_on_the_cpu_needs_its_interpreter(monkeypatch, call):
    monkeypatch.setenv("IMMO_KERNELS", "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        RuntimeError, match="takes cuda tensors, got one on cpu; TRITON_INTERPRET=1, set before"
    ):
        call()


@pytest.mark.parametrize("call", [mask, loss, layers, first, last])
def test_triton_forced_where_it_is_not_installed_is_an_error(monkeypatch, call):
    monkeypatch.setenv("IMMO_KERNELS", "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(_paths, "_is_installed", lambda package: False)
    with pytest.raises(RuntimeError, match="the package triton is not installed"):
        call()


@pytest.mark.parametrize("call", [mask, loss, layers, first, last])
def test_the_interpreter_is_taken_only_when_forced(monkeypatch, call):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    forbid(monkeypatch, "reference")
    call()


@pytest.mark.parametrize("call", [mask, loss, first, last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_forced_path_that_lacks_the_dtype_is_an_error(monkeypatch, call, dtype):
    monkeypatch.setenv("IMMO_KERNELS", "cpu")
    with pytest.raises(RuntimeError, match=f"it takes torch.float32 data, got {dtype}"):
        call(dtype)


@pytest.mark.parametrize("call", [mask, loss, layers, first, last])
def test_unknown_path_is_an_error_that_lists_the_paths(monkeypatch, call):
    monkeypatch.setenv("IMMO_KERNELS", "fast")
    with pytest.raises(ValueError, match="'fast' is no path; the paths are triton, cpu, reference"):
        call()


@pytest.mark.gpu
@pytest.mark.parametrize("call", [mask, loss, layers, first, last])
def test_cuda_takes_triton_and_agrees_with_the_cpu(monkeypatch, call):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    expected = call()
    forbid(monkeypatch, "reference")
    for found, value in zip(call(device="cuda"), expected, strict=True):
        torch.testing.assert_close(found.cpu(), value)
    monkeypatch.setenv("IMMO_KERNELS", "cpu")
    with pytest.raises(RuntimeError, match="it takes cpu tensors, got one on cuda"):
        call(device="cuda")


def test_calls_from_several_threads_give_what_one_gives(two_threads):
    x = torch.randn(64, 501)
    uid = torch.arange(64)
    expected = dynamic_mask(x, uid, keep_probability=0.5, stream=STREAM)
    found = {}

    def work(name):
        torch.set_num_threads(2)
        found[name] = [dynamic_mask(x, uid, keep_probability=0.5, stream=STREAM) for _ in range(50)]

    workers = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    assert all(torch.equal(masked, expected) for part in found.values() for masked in part)


FORK = """
import os, torch
import immo_kernels._cpu as _cpu
from immo_kernels import MaskStream, dynamic_mask
_cpu.PARALLEL_MIN = 0
torch.set_num_threads(2)
x, uid, stream = torch.randn(64, 501), torch.arange(64), MaskStream(1, 2)
expected = dynamic_mask(x, uid, keep_probability=0.5, stream=stream)
child = os.fork()
if child == 0:
    same = torch.equal(dynamic_mask(x, uid, keep_probability=0.5, stream=stream), expected)
    os._exit(0 if same else 7)
print("child", os.waitpid(child, 0)[1])
"""


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_forked_child_works_after_its_parent_ran_in_parallel():
    done = run_python(FORK)
    assert done.stdout.strip() == "child 0", done.stderr


ONE_CALL = """
import torch
from immo_kernels import MaskStream, keep_layers
measured = torch.ones(2, 2, dtype=torch.bool)
shown = keep_layers(measured, torch.arange(2), keep_probability=1.0, stream=MaskStream(1, 2))
print(bool(shown.all()))
"""


def test_compiled_code_is_kept_in_the_folder_that_is_named(tmp_path):
    assert run_python(ONE_CALL, NUMBA_CACHE_DIR=str(tmp_path)).stdout.strip() == "True"
    assert list(tmp_path.rglob("*.nbi"))


def test_without_a_folder_for_compiled_code_the_ops_run_and_say_so(tmp_path):
    # A copy of the package with files where numba would make folders, and no user's cache.
    package = Path(immo_kernels.__file__).parent
    copy = tmp_path / "immo_kernels"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [copy, *(path for path in copy.iterdir() if path.is_dir())]:
        (folder / "__pycache__").write_text("not a folder")
    blocked = tmp_path / "blocked"
    blocked.write_text("not a folder")
    done = run_python(
        ONE_CALL,
        PYTHONPATH=str(tmp_path),
        PYTHONDONTWRITEBYTECODE="1",
        HOME=str(blocked),
        XDG_CACHE_HOME=str(blocked),
    )
    assert done.stdout.strip() == "True", done.stderr
    assert "compiled in every process. Set NUMBA_CACHE_DIR" in done.stderr


def test_importing_the_package_imports_no_compiler_and_sets_no_threads():
    code = (
        "import sys, torch; before = torch.get_num_threads(), 'triton' in sys.modules; "
        "import immo_kernels; print('numba' in sys.modules, "
        "(torch.get_num_threads(), 'triton' in sys.modules) == before)"
    )
    assert run_python(code).stdout.strip() == "False True"
