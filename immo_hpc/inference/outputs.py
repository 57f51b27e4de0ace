"""Writing results: one table a file, a folder of tables, or one MuData file.

A folder of imputed layers can be read again as a cohort; what was imputed stands beside
it in ``imputed/``, one true/false table a layer, so that no imputed value can be taken
for a measured one. Ends of intervals stand in ``lower/`` and ``upper/``, distances of the
samples from those the model knows in ``distance/``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from immo_hpc.data.mudata_io import LATENT_KEY
from immo_hpc.errors import UsageError
from immo_hpc.files import atomic_path, make_folder, new_folder
from immo_hpc.inference.impute import Imputation
from immo_hpc.inference.tables import (
    require_free,
    table_suffix,
    table_writer,
    write_table,
)

MUDATA_SUFFIX = ".h5mu"
IMPUTED_KEY = "immo_imputed"
IMPUTED_FOLDER = "imputed"
BOUND_KEYS = {"lower": "immo_lower", "upper": "immo_upper"}
DISTANCE_FILE = "distance/samples.tsv"


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
    everything = Imputation(dict(layers), dict(imputed or {}))
    write_imputed(folder, [everything], samples=samples, suffix=suffix)


def write_imputed(
    folder: Path,
    portions: Iterable[Imputation],
    *,
    samples: pd.DataFrame | None = None,
    distance: Callable[[], pd.DataFrame | None] = lambda: None,
    suffix: str = ".parquet",
) -> None:
    """As `write_folder`, some samples at a time.

    Args:
        folder: As for `write_folder`.
        portions: Imputations of the same layers, in the order in which their samples are to
            stand in the tables.
        samples: As for `write_folder`.
        distance: Asked for after the last portion: how far the samples are from those the model
            knows, index ``sample_id``, or None.
        suffix: As for `write_folder`.

    Raises:
        UsageError, OutputError: As `write_folder`.
    """
    table_suffix(Path(f"table{suffix}"))
    with new_folder(folder) as temporary, ExitStack() as stack:
        writers: dict[Path, Callable[[pd.DataFrame], None]] = {}
        for portion in portions:
            for place, frames in _places(portion):
                for name, frame in frames.items():
                    file = temporary / place / f"{name}{suffix}"
                    if file not in writers:
                        writers[file] = stack.enter_context(table_writer(file))
                    writers[file](frame)
        stack.close()
        if samples is not None:
            write_table(samples, temporary / "samples.tsv")
        found = distance()
        if found is not None:
            write_table(found, temporary / DISTANCE_FILE)


def _places(portion: Imputation) -> tuple[tuple[str, dict[str, pd.DataFrame]], ...]:
    """Each kind of table and the folder it goes to."""
    ends = tuple((name, getattr(portion, name)) for name in BOUND_KEYS)
    return ("", portion.values), (IMPUTED_FOLDER, portion.imputed), *ends


def to_mudata(
    samples: pd.DataFrame,
    *,
    latent: pd.DataFrame | None = None,
    layers: Mapping[str, pd.DataFrame] | None = None,
    imputed: Mapping[str, pd.DataFrame] | None = None,
    bounds: Mapping[str, Mapping[str, pd.DataFrame]] | None = None,
) -> Any:
    """Results as a MuData object.

    Args:
        samples: Sample table, index ``sample_id``; becomes ``obs``.
        latent: Latent space, index ``sample_id``; becomes ``obsm['X_immo']``, NaN for
            samples it does not hold.
        layers: Values by layer, index ``sample_id``; one modality each. Without any, the
            latent is also the only modality, ``immo``.
        imputed: True where a value was imputed; layer ``immo_imputed`` of the modality.
        bounds: Ends of intervals by 'lower' and 'upper', then by layer; the layers
            ``immo_lower`` and ``immo_upper`` of the modality.

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
    for end, ends in (bounds or {}).items():
        for name, table in ends.items():
            modalities[name].layers[BOUND_KEYS[end]] = table.to_numpy(dtype=np.float32)
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
    require_free(path, overwrite)
    make_folder(path.parent)
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
