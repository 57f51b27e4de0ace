"""Writing results: one table a file, a folder of tables, or one MuData file.

A folder of imputed layers can be read again as a cohort; what was imputed stands beside
it in ``imputed/``, one true/false table a layer, so that no imputed value can be taken
for a measured one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from immo_hpc.data.mudata_io import LATENT_KEY
from immo_hpc.errors import OutputError, UsageError
from immo_hpc.files import atomic_path, new_folder, require_absent

TABLE_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
MUDATA_SUFFIX = ".h5mu"
IMPUTED_KEY = "immo_imputed"
IMPUTED_FOLDER = "imputed"


def table_suffix(path: Path) -> str:
    """Suffix of a table file, one of `TABLE_SUFFIXES`.

    Raises:
        UsageError: If the name ends in none of them.

    Example:
        >>> table_suffix(Path("out/latent.tsv.gz"))
        '.tsv.gz'
    """
    name = path.name.lower()
    for suffix in sorted(TABLE_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    message = (
        f"{path}: a table is written to a name that ends in {', '.join(TABLE_SUFFIXES)}; "
        f"found '{path.suffix or path.name}'."
    )
    raise UsageError(message)


def write_table(frame: pd.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Write one table; the suffix of ``path`` decides the format.

    Args:
        frame: Index: sample names, written as the first column ``sample_id``. Numbers are
            written with as many digits as reading them back exactly takes.
        path: Place ending in one of `TABLE_SUFFIXES`. Missing folders are made.
        overwrite: Replace a file that is there already.

    Raises:
        UsageError: If the suffix is none of those.
        OutputError: If the file exists and ``overwrite`` is False, or cannot be written.
    """
    suffix = table_suffix(path)
    _require_free(path, overwrite)
    table = frame.rename_axis("sample_id").reset_index()
    table["sample_id"] = table["sample_id"].astype(str)
    _make_parent(path)
    with atomic_path(path) as temporary:
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary)
        else:
            separator = "\t" if suffix.startswith(".tsv") else ","
            # A fixed time in the gzip header keeps two writes of one table equal.
            packing: Any = {"method": "gzip", "mtime": 1} if suffix.endswith(".gz") else None
            table.to_csv(temporary, sep=separator, index=False, compression=packing)


def write_folder(
    folder: Path,
    layers: Mapping[str, pd.DataFrame],
    imputed: Mapping[str, pd.DataFrame] | None = None,
    *,
    samples: pd.DataFrame | None = None,
    suffix: str = ".parquet",
) -> None:
    """Write layers as one table each, and beside them what in them was imputed.

    Args:
        folder: New folder; gets ``LAYER.parquet``, ``imputed/LAYER.parquet`` and
            ``samples.tsv``.
        layers: Values by layer, index ``sample_id``.
        imputed: True where a value was imputed, by layer, same shape as the layer.
        samples: Sample table, index ``sample_id``.
        suffix: One of `TABLE_SUFFIXES`.

    Raises:
        UsageError: If ``suffix`` is none of those.
        OutputError: If ``folder`` exists and is not empty, or cannot be written.
    """
    table_suffix(Path(f"table{suffix}"))
    with new_folder(folder) as temporary:
        for name, frame in layers.items():
            write_table(frame, temporary / f"{name}{suffix}")
        for name, frame in (imputed or {}).items():
            write_table(frame, temporary / IMPUTED_FOLDER / f"{name}{suffix}")
        if samples is not None:
            write_table(samples, temporary / "samples.tsv")


def to_mudata(
    samples: pd.DataFrame,
    *,
    latent: pd.DataFrame | None = None,
    layers: Mapping[str, pd.DataFrame] | None = None,
    imputed: Mapping[str, pd.DataFrame] | None = None,
) -> Any:
    """Results as a MuData object.

    Args:
        samples: Sample table, index ``sample_id``; becomes ``obs``.
        latent: Latent space, index ``sample_id``; becomes ``obsm['X_immo']``, NaN for
            samples it does not hold.
        layers: Values by layer, index ``sample_id``; one modality each. Without any, the
            latent is also the only modality, ``immo``.
        imputed: True where a value was imputed; layer ``immo_imputed`` of the modality.

    Returns:
        A ``mudata.MuData``.

    Raises:
        UsageError: If the optional packages anndata and mudata are not installed.
    """
    anndata, mudata = _mudata_packages()
    # A MuData object needs a modality; a latent that comes alone is one.
    tables = dict(layers) if layers else {"immo": _required(latent)}
    modalities = {
        name: anndata.AnnData(
            X=table.to_numpy(dtype=np.float32),
            obs=pd.DataFrame(index=table.index.astype(str)),
            var=pd.DataFrame(index=table.columns.astype(str)),
        )
        for name, table in tables.items()
    }
    for name, mask in (imputed or {}).items():
        modalities[name].layers[IMPUTED_KEY] = mask.to_numpy(dtype=np.bool_)
    with _quiet(mudata):
        result = mudata.MuData(modalities)
    result.obs = samples.set_axis(samples.index.astype(str), axis=0).reindex(result.obs_names)
    if latent is not None:
        placed = latent.set_axis(latent.index.astype(str), axis=0).reindex(result.obs_names)
        result.obsm[LATENT_KEY] = placed.to_numpy(dtype=np.float32)
    return result


def write_mudata(mdata: Any, path: Path, *, overwrite: bool = False) -> None:
    """Write a MuData object to ``path`` (``.h5mu``) in one step.

    Raises:
        UsageError: If ``path`` does not end in ``.h5mu``.
        OutputError: If the file exists and ``overwrite`` is False, or cannot be written.
    """
    if path.suffix.lower() != MUDATA_SUFFIX:
        message = f"{path}: MuData is written to a name that ends in {MUDATA_SUFFIX}."
        raise UsageError(message)
    _require_free(path, overwrite)
    _make_parent(path)
    with _quiet(_mudata_packages()[1]), atomic_path(path) as temporary:
        mdata.write_h5mu(temporary)


def _mudata_packages() -> tuple[Any, Any]:
    try:
        import anndata
        import mudata
    except ImportError as error:
        message = "MuData needs the packages that 'pip install immo-hpc[mudata]' brings."
        raise UsageError(message) from error
    return anndata, mudata


@contextmanager
def _quiet(mudata: Any) -> Iterator[None]:
    """Leave out what mudata warns about and is meant: shared feature names, no pulled columns."""
    with mudata.set_options(pull_on_update=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="var_names are not unique")
        yield


def _required(latent: pd.DataFrame | None) -> pd.DataFrame:
    if latent is None:
        message = "a MuData result needs a latent or at least one layer."
        raise UsageError(message)
    return latent


def _require_free(path: Path, overwrite: bool) -> None:
    if not overwrite or path.is_dir():
        require_absent(path)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"{path}: its folder cannot be made ({error.strerror}). Choose another output place."
        )
        raise OutputError(message) from error
