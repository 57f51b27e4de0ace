"""Results of `immo bench kernels` as a table for the terminal and as a page of the docs.

python -m immo_hpc.bench.kernels_render benchmarks/results docs/bench-kernels.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from immo_hpc.files import write_text

_HEADER = (
    "op",
    "samples x features",
    "dtype",
    "absent",
    "missing",
    "memory",
    "immo ms (20 - 80 %)",
    "plain ms",
    "compiled ms",
    "whole ms",
    "copy ms",
    "GB/s",
    "of copy",
    "over plain",
    "over compiled",
    "over whole",
    "peak MB",
)
_INTRODUCTION = """# Speed of the kernels

Written by `python -m immo_hpc.bench.kernels_render benchmarks/results docs/bench-kernels.md` from
the results of `immo bench kernels`; not edited by hand.

- **mask**: `dynamic_mask`. **loss**: `masked_wmse` over observed values, with its gradient.
  **mask + loss**: both. **mask + first layer**, **last layer + loss**: `masked_linear` and
  `linear_masked_wmse` with 256 hidden units and all their gradients, in feature blocks.
  **training step**: all of a step, 4 layers, 256 hidden units, Adam.
- **plain**: ordinary tensor operations with `torch.rand_like` and autograd. **compiled**:
  `torch.compile` of that. **whole**: the same ops with whole tensors instead of feature blocks.
  **copy**: copying as many bytes as the op must move (inputs read once, but the data of a loss
  twice, as they are counted before they can be divided by; results written once; absent blocks
  not read), in memory that is already there. Results of format 1 took the data of a loss once.
  All contenders in one process, in turns.
- **of copy**: time of the copy over time of immo. **over plain**, **over compiled**, **over
  whole**: their median over that of immo.
- **memory**: *fresh*: as the C library gives it: tensors beyond 32 MB come from the system at each
  call, smaller ones often do, as it hands freed memory back (immo keeps the memory of its own
  results between calls). *kept*: the C library is told to keep freed memory, for all alike.
- **peak MB**: memory of one call at its peak, results included: immo / plain / compiled / whole; of
  a training step all that is held: data, parameters, gradients, Adam's state.

On a machine with a GPU `immo bench kernels --device cuda --out
benchmarks/results/kernels-gpu-DATE.json` times every case there, the training step at 4,096 x
1,000,000 in bfloat16 too, and then the first line above writes this page; `--quick` leaves out what
no claim is about. `python -m pytest -m gpu tests/kernels` compares values before.
"""


def table(result: Mapping[str, Any]) -> str:
    """A result (``KernelBench.to_dict()``) as aligned text."""
    lines = [_HEADER, *(_cells(row) for row in result["rows"])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    text = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join([*text, *_notes(result["rows"]), *(_claim(c) for c in result["claims"])])


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The page of the docs for several results, each as read from its JSON file."""
    parts = [_INTRODUCTION]
    for result in results:
        rows = result["rows"]
        place = rows[0]["environment"]
        versions = place["versions"]
        parts.append(
            f"## {place['device_name']}, {place['threads']} threads, {place['date'][:10]}\n\n"
            f"torch {versions['torch']}, numba {versions['numba']}, Python {place['python']}, "
            f"commit {(place['commit'] or 'unknown')[:12]}, format {result['format_version']}.\n"
        )
        parts += [f"- {_claim(claim)}" for claim in result["claims"]] + [""] * bool(
            result["claims"]
        )
        parts.append("| " + " | ".join(_HEADER) + " |")
        parts.append("|" + "---|" * len(_HEADER))
        parts += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
        parts += ["", *(f"- {note}" for note in _notes(rows))]
    return "\n".join(parts).rstrip() + "\n"


def render_folder(results: Path, target: Path) -> None:
    """Write the page for every ``kernels-*.json`` of a folder, in the order of their names."""
    write_text(target, page(read_results(results)))


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Results in a folder, in the order of their names."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("kernels-*.json"))
    ]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    case, ms, peaks = row["case"], row["ms"], row["peak_extra_mb"]
    ours = ms["immo"]
    return (
        case["op"],
        f"{case['samples']:,} x {case['features']:,}",
        case["dtype"],
        f"{case['absent']:.0%}",
        f"{case['missing']:.0%}",
        row["memory"],
        f"{_ms(ours)} ({_number(ours['p20'])} - {_number(ours['p80'])})" if ours else "-",
        _ms(ms["plain"]),
        _ms(ms["compiled"]),
        _ms(ms.get("whole")),
        _ms(ms["copy"]),
        _number(row["gb_per_s"]),
        "-" if row["copy_share"] is None else f"{row['copy_share']:.0%}",
        _number(row["over_plain"]),
        _number(row["over_compiled"]),
        _number(row.get("over_whole")),
        " / ".join("-" if peaks[name] is None else f"{peaks[name]:.0f}" for name in peaks),
    )


def _ms(quantiles: Mapping[str, float] | None) -> str:
    return "-" if quantiles is None else _number(quantiles["median"])


def _number(value: float | None) -> str:
    """Three digits at least."""
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the rows have to say, each sentence once."""
    return list(
        dict.fromkeys(
            f"{row['case']['op']}, {row['case']['samples']:,} x {row['case']['features']:,} "
            f"{row['case']['dtype']}: {note}"
            for row in rows
            for note in row["notes"]
        )
    )


def _claim(claim: Mapping[str, Any]) -> str:
    verdict = "holds" if claim["holds"] else "MISSED"
    return f"{claim['statement']} {claim['bound']:g}: {_number(claim['found'])}, {verdict}"


if __name__ == "__main__":
    render_folder(Path(sys.argv[1]), Path(sys.argv[2]))
