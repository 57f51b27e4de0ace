"""One timed preparation in a process of its own; prints time and memory as JSON.

``python -m immo_hpc.bench.prepare_child immo|pandas TABLE OUT WORKERS``
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from immo_hpc.config import ImmoConfig
from immo_hpc.workflow.prepare import CohortOptions, prepare


def by_pandas(table: Path, out: Path) -> None:
    """Read whole, log and z-score in float64, write one Parquet file.

    Args:
        table: Table of one layer, CSV or Parquet; first column ``sample_id``.
        out: File to write.
    """
    read = pd.read_csv if table.suffix == ".csv" else pd.read_parquet
    frame = read(table).set_index("sample_id").astype(np.float64)
    frame = np.log2(frame + frame.where(frame > 0).min() / 2)
    frame = (frame - frame.mean()) / frame.std(ddof=0)
    frame.astype(np.float32).to_parquet(out)


def main() -> None:
    """Run one contender."""
    name, table, out, workers = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    before = _peak_mb()
    began = time.perf_counter()
    if name == "pandas":
        by_pandas(table, out)
    else:
        config, work = ImmoConfig(), out.with_name(f"{out.name}-work")
        prepare([table.parent], out, config, CohortOptions(), work=work, workers=workers)
    seconds = time.perf_counter() - began
    # One of several processes is as large as another.
    values = {"seconds": seconds, "rss_mb": _peak_mb(), "rss_before_mb": before}
    print(json.dumps(values))  # noqa: T201 - read by the process that started this one


def _peak_mb() -> float:
    # Not getrusage: its peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
