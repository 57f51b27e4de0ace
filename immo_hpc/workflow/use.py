"""Using a trained model: embed, impute, generate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from immo_hpc.errors import OutputError, UsageError
from immo_hpc.files import require_absent
from immo_hpc.inference import Imputation, Samples, TrainedModel, embed_samples
from immo_hpc.inference.asked import foretellable
from immo_hpc.inference.impute import joined
from immo_hpc.inference.outputs import (
    MUDATA_SUFFIX,
    to_mudata,
    write_imputed,
    write_mudata,
)
from immo_hpc.inference.tables import TABLE_SUFFIXES, table_suffix, table_writer, write_table
from immo_hpc.workflow.opened import chosen_samples
from immo_hpc.workflow.outcome import Outcome

# Values and masks of an .h5mu file, which are all in memory before it is written.
MOST_MUDATA_BYTES = 4 * 10**9
_IMPUTED_BYTES = 5


def embed(run: Path, cohort: Path | None, out: Path, *, force: bool = False) -> Outcome:
    """Write the latent of every sample to a table, or to a ``.h5mu`` with obsm['X_immo'].

    Raises:
        UsageError: If the suffix of ``out`` is unknown.
        OutputError: If ``out`` exists and ``force`` is False, or cannot be written.
    """
    is_mudata = out.suffix == MUDATA_SUFFIX
    if not is_mudata:
        table_suffix(out)
    require_free(out, force)
    with chosen_samples(run, cohort, out) as (model, chosen):
        latent = embed_samples(model, chosen.samples)
    if is_mudata:
        mdata = to_mudata(chosen.samples.table, latent=latent)
        write_mudata(mdata, out, overwrite=force)
    else:
        write_table(latent, out, overwrite=force)
    rows, dims = latent.shape
    return Outcome(
        {"out": str(out), "samples": rows, "latent_dim": dims},
        f"{out}: {rows} samples in {dims} latent dimensions",
        chosen.notices,
    )


def impute(
    run: Path,
    cohort: Path | None,
    out: Path,
    *,
    layers: Sequence[str] | None = None,
    table_format: str = "parquet",
    visits: bool = False,
    force: bool = False,
) -> Outcome:
    """Write complete layers in original units, and beside them what in them was imputed.

    With ``visits`` what the other visits of a sample's person say is used too.

    Raises:
        UsageError: If the format or a layer is unknown.
        OutputError: If ``out`` exists (a file may be replaced with ``force``).
    """
    suffix = "." + table_format.lstrip(".")
    if suffix not in TABLE_SUFFIXES:
        known = ", ".join(name.lstrip(".") for name in TABLE_SUFFIXES)
        message = f"--format {table_format}: the formats of tables are {known}."
        raise UsageError(message)
    is_mudata = out.suffix == MUDATA_SUFFIX
    require_free(out, force and is_mudata)
    shares = _Shares()
    with chosen_samples(run, cohort, out) as (model, chosen):
        samples = chosen.samples
        portions = shares.counted(_completed(model, samples, layers, visits))
        if is_mudata:
            _require_room(model, samples, layers, out)
            complete = joined(list(portions))
            mdata = to_mudata(
                samples.table,
                latent=embed_samples(model, samples),
                layers=complete.values,
                imputed=complete.imputed,
            )
            write_mudata(mdata, out, overwrite=force)
        else:
            write_imputed(out, portions, samples=samples.table, suffix=suffix)
    listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.by_layer.items())
    num_samples = len(samples.table)
    return Outcome(
        {"out": str(out), "samples": num_samples, "imputed_share": shares.by_layer},
        f"{out}: {num_samples} samples; share of values imputed: {listed}",
        chosen.notices,
    )


def generate(
    run: Path,
    cohort: Path | None,
    out: Path,
    *,
    source: Sequence[str],
    target: str,
    force: bool = False,
) -> Outcome:
    """Write one layer as the source layers alone foretell it, in original units.

    Raises:
        UsageError: If a layer is not given or unknown, or the suffix of ``out`` is.
        OutputError: If ``out`` exists and ``force`` is False.
    """
    if not source or not target:
        message = "generate needs --from LAYER[,LAYER] and --to LAYER."
        raise UsageError(message)
    table_suffix(out)
    require_free(out, force)
    with chosen_samples(run, cohort, out) as (model, chosen):
        samples = chosen.samples
        places = foretellable(samples.rows, source, target, len(samples.table))
        with table_writer(out, overwrite=force) as add:
            for portion in samples.portions(places):
                add(model.generate(portion.cohort, source, target))
    rows, features = len(places), len(model.layers[target])
    return Outcome(
        {"out": str(out), "samples": rows, "features": features, "source": list(source)},
        f"{out}: {target} of {rows} samples, {features} features, from {', '.join(source)}",
        chosen.notices,
    )


def require_free(out: Path, force: bool) -> None:
    """Refuse an output file that exists, before anything is computed.

    Raises:
        OutputError: If something is there that ``force`` does not allow to replace.
    """
    if force and out.is_file():
        return
    try:
        require_absent(out)
    except OutputError as error:
        if not out.is_file():
            raise
        message = f"{out}: the file exists already. Choose another name, or add --force."
        raise OutputError(message) from error


def _completed(
    model: TrainedModel, samples: Samples, layers: Sequence[str] | None, visits: bool
) -> Iterator[Imputation]:
    for portion in samples.portions(visits=visits):
        yield model.complete(portion.cohort, layers, raw=portion.raw)


class _Shares:
    """Share of the values that were imputed, by layer, counted as they pass by."""

    def __init__(self) -> None:
        self._imputed: dict[str, int] = {}
        self._all: dict[str, int] = {}

    def counted(self, portions: Iterable[Imputation]) -> Iterator[Imputation]:
        for portion in portions:
            for name, mask in portion.imputed.items():
                count = int(np.count_nonzero(mask.to_numpy()))
                self._imputed[name] = self._imputed.get(name, 0) + count
                self._all[name] = self._all.get(name, 0) + mask.size
            yield portion

    @property
    def by_layer(self) -> dict[str, float]:
        return {name: count / max(self._all[name], 1) for name, count in self._imputed.items()}


def _require_room(
    model: TrainedModel, samples: Samples, layers: Sequence[str] | None, out: Path
) -> None:
    """Refuse what does not fit memory: a ``.h5mu`` is written from there."""
    names = model.layers if layers is None else layers
    num_features = sum(len(model.layers.get(name, ())) for name in names)
    size = len(samples.table) * num_features * _IMPUTED_BYTES
    if size > MOST_MUDATA_BYTES:
        message = (
            f"{out}: complete layers of {len(samples.table)} samples and {num_features} features "
            f"take {size / 1e9:.1f} GB, and an .h5mu file is written from memory, up to "
            f"{MOST_MUDATA_BYTES / 1e9:g} GB. Name a folder with --out, where tables are written "
            "some rows at a time, or fewer layers with --layers."
        )
        raise UsageError(message)
