"""Results of `immo bench train --processes` as text for the terminal and as a page of the docs.

python -m immo_hpc.bench.processes_render benchmarks/results docs/bench-processes.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from immo_hpc.files import write_text

_HEADER = ("processes", "samples/s", "ideal", "of ideal", "start-up s", "waiting", "loss")
_INTRODUCTION = """# Training by several processes, and as jobs

Written by `python -m immo_hpc.bench.processes_render benchmarks/results docs/bench-processes.md`
from the results of `immo bench train --processes`; not edited by hand. How such trainings are run:
[cluster.md](cluster.md).

- **samples/s**: training samples a second, median over epochs, held-out error included.
  **ideal**: the rate of one process times their number, whether or not there are as many cores.
- **start-up**: from the start of `immo train` to its first step.
- **waiting**: share of the epochs' time in which the first process waited for its next batch
  (not in older results). A whole step beside the bytes it has to move:
  [bench-kernels.md](bench-kernels.md).
- **loss**: of the last epoch, which the number of processes must not change.
- **submitted**: from the start of `immo submit` to the first step, of it `immo submit` itself.
"""


def table(result: Mapping[str, Any]) -> str:
    """A result (``ProcessesBench.to_dict()``) as aligned text."""
    lines = [_HEADER, *map(_cells, result["rates"])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    text = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join([_case(result), *text, *_sentences(result)])


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The page of the docs for several results, each as read from its JSON file."""
    parts = [_INTRODUCTION]
    for result in results:
        place, versions = result["environment"], result["versions"]
        parts += [
            f"## {place['device_name']}, {result['cores']} cores, {result['date'][:10]}\n",
            f"torch {versions['torch']}, commit {(result['commit'] or 'unknown')[:12]}. "
            f"{_case(result)}.\n",
            "| " + " | ".join(_HEADER) + " |",
            "|" + "---|" * len(_HEADER),
            *("| " + " | ".join(_cells(rate)) + " |" for rate in result["rates"]),
            "",
            *(f"- {sentence}" for sentence in _sentences(result)),
            "",
        ]
    return "\n".join(parts).rstrip() + "\n"


def render_folder(results: Path, target: Path) -> None:
    """Write the page for every ``processes-*.json`` of a folder, in the order of their names."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(results.glob("processes-*.json"))
    ]
    write_text(target, page(found))


def _case(result: Mapping[str, Any]) -> str:
    return (
        f"{result['samples']:,} samples, {result['features']:,} features, batches of "
        f"{result['batch_size']}, {result['environment']['device']}, {result['cores']} cores"
    )


def _cells(rate: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(rate["processes"]),
        f"{rate['samples_per_s']:.0f}",
        f"{rate['ideal']:.0f}",
        f"{rate['samples_per_s'] / rate['ideal']:.0%}",
        f"{rate['start_up_s']:.1f}",
        f"{rate['waiting']:.1%}" if "waiting" in rate else "-",
        f"{rate['loss']:.5f}",
    )


def _sentences(result: Mapping[str, Any]) -> list[str]:
    submitted = [
        f"submitted with profile {start['profile']}: {start['first_step_s']:.1f} s to the first "
        f"step, of it {start['submit_s']:.1f} s of immo submit"
        for start in result["submitted"]
    ]
    return [
        *submitted,
        f"a checkpoint of {result['checkpoint_mb']:.1f} MB: {1e3 * result['checkpoint_s']:.0f} ms "
        f"to write, {1e3 * result['restore_s']:.0f} ms to read",
        f"resuming: {result['resume_s']:.1f} s to the first step",
        f"killed, with a checkpoint every {60 * result['checkpoint_min']:.0f} s: "
        f"{result['lost_s']:.1f} s lost ({result['lost_share']:.0%} of the time since the first "
        "step)",
    ]


if __name__ == "__main__":
    render_folder(Path(sys.argv[1]), Path(sys.argv[2]))
