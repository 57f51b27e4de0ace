"""Every Triton kernel compiled ahead of time, without a GPU: registers, spills, loads, products.

Numbers are those of the machine code, so they hold where the tests of values cannot run.
"""

import functools
import re
import subprocess
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from immo_kernels.dynamic_mask import triton as dynamic_mask  # noqa: E402
from immo_kernels.keep_layers import triton as keep_layers  # noqa: E402
from immo_kernels.masked_wmse import triton as masked_wmse  # noqa: E402

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
NVIDIA = ["sm_80", "sm_90"]
BITS = {"fp32": 32, "bf16": 16, "fp16": 16}
# Values of a thread in a tile of 2,048, and accesses of 16 bytes that move them.
VALUES = {"sm_80": 16, "sm_90": 16, "gfx942": 8}
# 20 products a call of Philox, two calls a thread; a few more for places of rows.
PRODUCTS_MAX = 2 * 20 + 4
# 128 threads a program: 80 registers leave room for 24 of 64 warps on a multiprocessor, whose
# loads of 16 bytes are then more than twice what covers the latency of the memory.
REGISTERS_MAX = {"mask": 48, "loss": 80}


@pytest.fixture(autouse=True, scope="module")
def _fresh_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


def compiled(kernel, target, num_warps, constants, **types):
    """Compile for pointers at multiples of 16 bytes; what is not named is an int32."""
    signature, attributes = {}, {}
    for place, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else types.get(name, "i32")
        if name.endswith("_ptr"):
            attributes[place,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=TARGETS[target], options={"num_warps": num_warps})


def of_layers(num_layers):
    return {
        "tile_starts": ("i32",) * (num_layers + 1),
        "bounds": ("i32",) * (num_layers + 1),
        "thresholds": ("i32",) * num_layers,
        "uid_ptr": "*i64",
        "seed": "i64",
        "epoch": "i64",
        "first_feature": "i64",
        "shown_ptr": "*u8",
        "measured_ptr": "*u8",
    }


def tile_constants(dtype, aligned, num_layers, unit):
    return {
        "HAS_SHOWN": True,
        "ALIGNED": aligned,
        "SHARED": min(unit, 128 // BITS[dtype]) < 8,
        "UNIT": unit,
        "NUM_LAYERS": num_layers,
        "CALLS": 256,
    }


@functools.cache
def mask(target, dtype, aligned, num_layers=1, unit=8):
    constants = tile_constants(dtype, aligned, num_layers, unit)
    types = of_layers(num_layers) | {"masked_ptr": "*" + dtype, "x_ptr": "*" + dtype}
    return compiled(dynamic_mask._dynamic_mask_fwd_kernel, target, 4, constants, **types)


@functools.cache
def loss(target, dtype, aligned, num_layers=1, unit=8):
    constants = tile_constants(dtype, aligned, num_layers, unit)
    constants |= {"SCOPE": "kept", "ONLY_COUNTS": False, "HAS_RESIDUAL": True}
    constants |= {"SLOPE": "counted", "HAS_MEASURED": True}
    types = of_layers(num_layers) | {"sum_ptr": "*fp32", "count_ptr": "*i32"}
    types |= {"slope_ptr": "*fp32", "slopes": ("fp32",) * num_layers}
    types |= dict.fromkeys(("residual_ptr", "x_hat_ptr", "x_ptr"), "*" + dtype)
    return compiled(masked_wmse._masked_wmse_fwd_kernel, target, 4, constants, **types)


def fold(target):
    types = {"part_sum_ptr": "*fp64", "part_count_ptr": "*i64"}
    types |= {"sum_ptr": "*fp32", "count_ptr": "*i32", "tile_starts": ("i32",) * 4}
    constants = {"NUM_LAYERS": 3, "NUM_PARTS": 128, "BLOCK": 1024}
    return compiled(masked_wmse._masked_wmse_fold_kernel, target, 4, constants, **types)


def reduce(target):
    types = dict.fromkeys(("loss_ptr", "layer_sum_ptr", "slope_ptr"), "*fp32")
    types |= {"layer_count_ptr": "*i64", "sum_ptr": "*fp64", "count_ptr": "*i64"}
    types |= {"weight": ("fp32",) * 3, "normalizer": ("fp32",) * 3, "run_starts": ("i32",) * 4}
    constants = {"BY_COUNT": True, "IS_SCALED": False, "NUM_LAYERS": 3, "BLOCK": 1024}
    return compiled(masked_wmse._masked_wmse_loss_kernel, target, 4, constants, **types)


def scale(target):
    types = of_layers(2) | dict.fromkeys(("gradient_ptr", "slope_ptr", "upstream_ptr"), "*fp32")
    constants = {"UNIT": 8, "NUM_LAYERS": 2, "CALLS": 256, "ROWS": 16}
    return compiled(masked_wmse._masked_wmse_bwd_kernel, target, 4, constants, **types)


def layers(target):
    types = dict.fromkeys(("shown_ptr", "measured_ptr"), "*u8")
    types |= {"uid_ptr": "*i64", "threshold": "i64", "seed": "i64", "epoch": "i64"}
    constants = {"ROWS": 64, "LAYERS": 4}
    return compiled(keep_layers._keep_layers_fwd_kernel, target, 1, constants, **types)


def registers_and_spills(kernel, target, folder):
    """What the assembler reports: registers of a thread and bytes, or registers, spilled."""
    if target not in NVIDIA:
        text = kernel.asm["amdgcn"]
        spilled = re.findall(r"\.[sv]gpr_spill_count:\s+(\d+)", text)
        assert len(spilled) == 2
        (used,) = re.findall(r"\.vgpr_count:\s+(\d+)", text)
        return int(used), sum(map(int, spilled))
    ptxas = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    source = folder / "kernel.ptx"
    source.write_text(kernel.asm["ptx"])
    architecture = re.search(r"\.target (\w+)", kernel.asm["ptx"])[1]
    command = [ptxas, "-v", f"--gpu-name={architecture}", source, "-o", folder / "kernel.cubin"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spilled = re.findall(r"(\d+) bytes spill", report)
    assert len(spilled) == 2, report
    return int(re.search(r"Used (\d+) registers", report)[1]), sum(map(int, spilled))


def wide_accesses(kernel, target):
    """Loads and stores of 16 bytes."""
    if target in NVIDIA:
        text = kernel.asm["ptx"]
        wide = r"{}\.global\S*\.v4\.[bfu]32"
        return len(re.findall(wide.format("ld"), text)), len(re.findall(wide.format("st"), text))
    text = kernel.asm["amdgcn"]
    wide = r"(?:buffer|global)_{}_dwordx4"
    return len(re.findall(wide.format("load"), text)), len(re.findall(wide.format("store"), text))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("target", TARGETS)
def test_data_moves_16_bytes_at_a_time_and_nothing_spills(tmp_path, target, dtype, aligned):
    num_vectors = VALUES[target] * BITS[dtype] // 128
    for name, kernel, operands in (
        ("mask", mask(target, dtype, aligned), 1),
        ("loss", loss(target, dtype, aligned), 2),
    ):
        assert wide_accesses(kernel, target) == (operands * num_vectors, num_vectors), name
        used, spilled = registers_and_spills(kernel, target, tmp_path)
        assert spilled == 0, name
        assert used <= REGISTERS_MAX[name], name


@pytest.mark.parametrize("unit", [8, 1])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("target", NVIDIA)
def test_eight_values_share_one_call_of_philox(target, dtype, aligned, unit):
    # With unit 1 single elements are loaded, and eight threads hold the values of a call.
    for kernel in (mask(target, dtype, aligned, 1, unit), loss(target, dtype, aligned, 1, unit)):
        products = re.findall(r"mul\.(?:wide|hi)\.u32", kernel.asm["ptx"])
        assert 30 < len(products) <= PRODUCTS_MAX


@pytest.mark.parametrize("kernel", [fold, reduce, scale, layers])
@pytest.mark.parametrize("target", TARGETS)
def test_small_kernels_do_not_spill(tmp_path, target, kernel):
    used, spilled = registers_and_spills(kernel(target), target, tmp_path)
    assert spilled == 0
    assert used <= 96


@pytest.mark.parametrize("target", TARGETS)
def test_a_gradient_is_scaled_16_bytes_at_a_time(target):
    num_vectors = VALUES[target] // 4
    assert wide_accesses(scale(target), target) == (num_vectors, num_vectors)


@pytest.mark.parametrize("target", TARGETS)
def test_many_layers_are_one_kernel_without_spills(tmp_path, target):
    for kernel in (mask(target, "fp32", False, 12), loss(target, "fp32", False, 12)):
        _, spilled = registers_and_spills(kernel, target, tmp_path)
        assert spilled == 0


@pytest.mark.parametrize("target", NVIDIA)
def test_no_kernel_uses_atomics(target):
    kernels = (loss(target, "fp32", True), mask(target, "fp32", True), fold(target), reduce(target))
    for kernel in kernels:
        assert not re.findall(r"\b(?:atom|red)\.global", kernel.asm["ptx"])


class _DriverWithoutGpu:
    """What Triton asks before it launches, answered for one sm_90."""

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return TARGETS["sm_90"]


@pytest.fixture
def launches(monkeypatch):
    """Launches end once the kernel is compiled for their arguments; counts the variants."""
    run = triton.JITFunction.run
    launched = set()

    def compile_only(kernel, *arguments, warmup, **more):
        launched.add(kernel)
        return run(kernel, *arguments, warmup=True, **more)

    monkeypatch.setattr(triton.JITFunction, "run", compile_only)
    monkeypatch.setattr(triton.runtime.driver, "_active", _DriverWithoutGpu())
    yield lambda: sum(len(kernel.device_caches[0][0]) for kernel in launched)
    for kernel in launched:
        kernel.device_caches.clear()


def launch_all(shape, segments, *, first_feature, thresholds, weight, seed):
    num_layers = len(segments) - 1
    x, uid = torch.zeros(shape), torch.arange(shape[0])
    table = torch.ones(shape[0], num_layers, dtype=torch.bool)
    place = (seed, 3, segments, first_feature)
    dynamic_mask.forward(x, uid, thresholds, *place, table)
    for normalizer in (None, weight):
        residual = torch.empty_like(x)
        *_, slope = masked_wmse.forward(
            *(x, x, uid, weight, thresholds, seed, 3, "kept", normalizer, segments),
            *(first_feature, table, table, residual),
        )
        masked_wmse.backward(residual, slope, torch.ones(()), segments)
    keep_layers.forward(table, uid, 2**31, seed, 3)


def test_blocks_of_a_wide_tensor_take_the_kernels_of_a_whole_one(launches):
    """Slices at the columns where feature blocks begin are aligned, so loads stay wide."""
    x, uid = torch.zeros(16, 4096), torch.arange(16)
    memory = torch.zeros(16 * 512)

    def both(low, high):
        part, x_hat = x[:, low:high], memory[: 16 * (high - low)].view(16, high - low)
        dynamic_mask.forward(part, uid, [7], 1, 3, [0, high - low], low, None)
        place = ("kept", [1.0], [0, high - low], low, None, None)
        masked_wmse.forward(x_hat, part, uid, [0.5], [7], 1, 3, *place, x_hat)

    both(0, 512)
    num_variants = launches()
    for low, high in ((512, 1024), (3584, 4096), (256, 512)):
        both(low, high)
    assert launches() == num_variants


def test_launches_compile_for_what_they_are_given_and_only_once(monkeypatch, launches):
    monkeypatch.setattr(masked_wmse, "_COUNT_FIRST_MIN", 0)
    monkeypatch.setattr(masked_wmse, "_FOLD_MIN", 0)
    # Triton turns arguments that are 1 or multiples of 16 into other kernels unless told not to.
    ones = {"first_feature": 8, "thresholds": [1, 16], "weight": [1.0, 2.0], "seed": 1}
    launch_all((16, 512), [0, 1, 512], **ones)
    num_variants = launches()
    other = {"first_feature": 16, "thresholds": [65536, 7], "weight": [0.3, 16.0], "seed": 32}
    launch_all((17, 512), [0, 256, 512], **other)
    assert launches() == num_variants
    launch_all((1, 1), [0, 1], first_feature=1, thresholds=[1], weight=[1.0], seed=2**40)
    assert launches() > num_variants
