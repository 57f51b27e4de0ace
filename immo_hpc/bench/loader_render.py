"""Results of `immo bench loader` as a table for the terminal, a page of the docs and a figure.

python -m immo_hpc.bench.loader_render benchmarks/results docs/bench-loader.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from immo_hpc.files import atomic_path, write_text

_HEADER = (
    "cohort",
    "cache",
    "contender",
    "MB/s epoch 1 (20 - 80 %)",
    "MB/s epoch 2 (20 - 80 %)",
    "samples/s",
    "of floor",
    "private MB",
    "total MB",
    "batches",
)
_INTRODUCTION = """# Speed of the loader

Written by `python -m immo_hpc.bench.loader_render benchmarks/results docs/bench-loader.md` from
the results of `immo bench loader`; not edited by hand. Where the time goes:
[notes/loader-speed.md](notes/loader-speed.md).

Shuffled batches of a cohort that is larger than the memory allowed, two epochs, every contender
in a process of its own, in turns, several rounds. Before timing, batches are compared with what
was written, to the bit: all of them for immo, three for each other loader.

- **read**: the floor: the shards from end to end into one buffer of 1 MiB, right before and right
  after immo in the same round. **of floor**: rate over it, epoch 1 / epoch 2. For comparison:
  **read, 2 threads**: the same files by two threads; **read, kept**: into a buffer of a quarter of
  the limit, filled from its start to its end again and again, since a batch that somebody holds
  has to be written to memory, which costs more than filling the processor's cache.
- **cache**: *cold*: before each epoch the files were dropped from the page cache, and looked at
  page by page, and an epoch of the same contender that is not counted came before, since a virtual
  machine's memory is as fast as the process before left it; *warm*: all of them were in it.
- **MB/s**: values delivered as float32 tensors, 10^6 bytes a second. In epoch 1 immo also verifies
  the checksum of every page.
- **private MB**: largest resident private memory in epoch 1 / epoch 2 (`RssAnon`, with its worker
  processes). **total MB**: with mapped files and shared memory, counted in each process; mapped
  files are pages of the page cache, which the system takes back when it wants them.
- Every other loader has a copy of its own: one file a layer with the measured rows only, without
  compression. Nothing is padded for anybody. Where *batches* has no "all", the rate is that of so
  many batches of each epoch.
- **npy**: `DataLoader` over memory-mapped `.npy`, in the process and with two workers. **anndata**:
  backed `.h5ad`, sorted rows of a batch at once. **parquet**: one column a feature; files of 4,096
  samples in random order, each shuffled by itself, since no sample can be read alone. **datasets**:
  Hugging Face, torch format. **torchdata**: its `StatefulDataLoader` over the `.npy`.
"""


def table(result: Mapping[str, Any]) -> str:
    """A result (``LoaderBench.to_dict()``) as aligned text."""
    lines = [_HEADER, *map(_cells, result["rows"])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    text = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join([*text, *notes_of(result), *map(_claim, result["claims"])])


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of the docs for several results, by the name of their figure."""
    parts = [_INTRODUCTION]
    for figure, result in results.items():
        place = result["environment"]
        versions = place["versions"]
        names = ("torch", "pyarrow", "anndata", "datasets", "torchdata")
        used = [f"{name} {versions[name]}" for name in names if name in versions]
        parts.append(
            f"## {place['device_name']}, {place['cpu_count']} cores, {place['date'][:10]}, "
            f"{figure.removeprefix('bench-').removesuffix('.svg')}\n"
        )
        parts.append(
            f"{', '.join(used)}, Python {place['python']}, "
            f"commit {(place['commit'] or 'unknown')[:12]}.\n"
        )
        parts += [
            f"- {name}: {cohort['samples']:,} samples, "
            f"{sum(cohort['features'].values()):,} features in {len(cohort['features'])} layers, "
            f"{cohort['value_bytes'] / 1e9:.2f} GB of measured values, "
            f"{cohort['full_bytes'] / 1e9:.2f} GB if every sample had every layer"
            for name, cohort in result["cohorts"].items()
        ]
        settings = result["settings"]
        parts.append(
            f"- batches of {settings['batch_size']:,}, {settings['repeats']} rounds; "
            f"{result['limit']}"
        )
        parts += ["", *(f"- {_claim(claim)}" for claim in result["claims"]), ""]
        parts.append("| " + " | ".join(_HEADER) + " |")
        parts.append("|" + "---|" * len(_HEADER))
        parts += ["| " + " | ".join(_cells(row)) + " |" for row in result["rows"]]
        parts += ["", *(f"- {note}" for note in notes_of(result))]
        parts += ["", f"![Resident memory over two epochs]({figure})", ""]
    return "\n".join(parts).rstrip() + "\n"


def draw(result: Mapping[str, Any], target: Path) -> None:
    """Draw resident memory over two epochs, from a cold cache, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for row in result["rows"]:
        if row["state"] != "cold" or row["cohort"] != "ibdmdb" or not row["curve"]:
            continue
        times, *sizes = zip(*row["curve"], strict=True)
        # Each over its own time: other loaders were watched for a part of an epoch only.
        share = [time / max(times[-1], 1e-9) * 2 for time in times]
        for axis, size in zip(axes, sizes, strict=True):
            width = 2.2 if row["contender"] == "immo" else 1
            axis.plot(share, size, label=row["contender"], linewidth=width)
    limit = result["settings"]["memory_bytes"] / 1e6
    for axis, title in zip(axes, ("private", "with mapped files and shared memory"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("epochs measured")
        axis.axhline(limit, color="black", linestyle=":", linewidth=1)
    axes[0].set_ylabel("resident MB (dotted: the limit)")
    axes[0].legend(fontsize=7)
    with atomic_path(target) as temporary, mpl.rc_context({"svg.hashsalt": "immo"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def render_folder(results: Path, target: Path) -> None:
    """Write the page and its figures for every ``loader-*.json`` of a folder, by their names."""
    found = {}
    for path in sorted(results.glob("loader-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        figure = f"bench-{path.stem}.svg"
        draw(result, target.parent / figure)
        found[figure] = result
    write_text(target, page(found))


def notes_of(result: Mapping[str, Any]) -> list[str]:
    """What the result has to say beside its numbers, each sentence once."""
    rows = [f"{row['contender']}: {note}" for row in result["rows"] for note in row["notes"]]
    for row in result["rows"]:
        if row["resident_before"] is None:
            continue
        least, most = row["resident_before"]
        # A hundredth of the pages is less than a round differs from the next.
        if (row["state"] == "cold" and most > 0.01) or (row["state"] == "warm" and least < 0.99):
            rows.append(
                f"{row['contender']}, {row['state']}: {least:.0%} to {most:.0%} of its files "
                "were in the page cache before an epoch"
            )
    return list(dict.fromkeys([*result["notes"], *rows]))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    rates = [
        f"{_number(rate['median'])} ({_number(rate['p20'])} - {_number(rate['p80'])})"
        for rate in row["mb_per_s"]
    ]
    samples = " / ".join(_number(found) for found in row["samples_per_s"] if found)
    batches = f"all {row['batches']}" if row["is_whole"] else str(row["batches"])
    return (
        row["cohort"],
        row["state"],
        row["contender"],
        *[*rates, "-", "-"][:2],
        samples or "-",
        " / ".join(f"{share['median']:.0%}" for share in row["of_floor"]) or "-",
        " / ".join(f"{size:.0f}" for size in row["private_mb"]) or "-",
        " / ".join(f"{size:.0f}" for size in row["total_mb"]) or "-",
        batches if row["batches"] else "-",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _claim(claim: Mapping[str, Any]) -> str:
    verdict = "holds" if claim["holds"] else "MISSED"
    return f"{claim['statement']} {claim['bound']:.3g}: {claim['found']:.3g}, {verdict}"


if __name__ == "__main__":
    render_folder(Path(sys.argv[1]), Path(sys.argv[2]))
