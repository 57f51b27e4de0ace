"""Cohorts to and from MuData and AnnData (optional extra ``immo-hpc[mudata]``).

One AnnData a layer, each over the samples that have it: nothing is padded. Kinds stand in
``mod.uns["immo_kind"]``, roles in ``mdata.uns["immo_roles"]``, the order of the samples (which
MuData does not keep) in ``mdata.uns["immo_samples"]``, the latent in ``obsm["X_immo"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.anndata_tables import packages, quiet, tables_from_anndata
from immo_hpc.data.assemble import assemble
from immo_hpc.data.check import choices
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.description import CohortDescription, LayerDescription, parse_description
from immo_hpc.data.parts import Parts
from immo_hpc.errors import CohortError

KIND_KEY = "immo_kind"
ROLES_KEY = "immo_roles"
ORDER_KEY = "immo_samples"
LATENT_KEY = "X_immo"


def cohort_from_mudata(mdata: Any) -> Cohort:
    """Make a cohort of a MuData object, one layer a modality.

    Raises:
        CohortError: As for `immo_hpc.data.read.read_cohort`.
        UsageError: If the optional packages are not installed.
    """
    packages()
    description = description_of(mdata)
    return assemble(mudata_parts(mdata, description), description)


def cohort_to_mudata(cohort: Cohort, latent: NDArray[np.float32] | None = None) -> Any:
    """Make a MuData object of a cohort; `cohort_from_mudata` gives the cohort back.

    Args:
        cohort: The cohort.
        latent: Latent of each sample, ``(sample, latent)``, float32, for ``obsm["X_immo"]``.

    Raises:
        UsageError: If the optional packages are not installed.
    """
    anndata, mudata = packages()
    ids = pd.Index(cohort.sample_ids)
    with quiet(mudata):
        modalities = {}
        for name, layer in cohort.layers.items():
            modalities[name] = anndata.AnnData(
                X=layer.values.copy(),
                obs=pd.DataFrame(index=ids[layer.rows]),
                var=pd.DataFrame(index=pd.Index(layer.features)),
                uns={KIND_KEY: layer.kind},
            )
        mdata = mudata.MuData(modalities)
    names = pd.Index(mdata.obs_names)
    for column in cohort.samples.columns:
        mdata.obs[column] = cohort.samples[column].set_axis(ids).reindex(names)
    roles = {key: value for key, value in cohort.roles.to_dict().items() if value}
    if "covariates" in roles:
        roles["covariates"] = np.asarray(roles["covariates"], dtype=object)
    mdata.uns[ROLES_KEY] = roles
    mdata.uns[ORDER_KEY] = np.asarray(cohort.sample_ids, dtype=object)
    if latent is not None:
        mdata.obsm[LATENT_KEY] = np.asarray(latent)[ids.get_indexer(names)]
    return mdata


def description_of(mdata: Any) -> CohortDescription:
    """Layers and roles as `cohort_to_mudata` left them; all modalities without roles if not."""
    saved = mdata.uns.get(ROLES_KEY, {})
    roles = {
        key: tuple(str(name) for name in np.atleast_1d(value)) if key == "covariates" else value
        for key, value in dict(saved).items()
    }
    layers = {str(name): {"kind": _kind(modality)} for name, modality in mdata.mod.items()}
    return parse_description(
        {**roles, "layers": layers or None}, where=f"MuData, uns['{ROLES_KEY}']"
    )


def mudata_parts(
    mdata: Any,
    description: CohortDescription,
    file: Path | None = None,
    scratch: Path | None = None,
) -> Parts:
    """Tables and samples of a MuData object, for the layers of ``description``.

    Args:
        mdata: MuData, or what `opened_mudata` gives.
        description: Names the layers.
        file: File it comes from, if any.
        scratch: Folder for the tables, if the matrices are on disk.

    Raises:
        CohortError: If a layer is no modality, or a modality holds no matrix of numbers.
    """
    names = [str(name) for name in mdata.mod]
    used = list(description.layers or {})
    for name in used:
        if name not in names:
            message = f"{file or 'MuData'}: no modality '{name}'; {choices(name, names)}."
            raise CohortError(message)
    modalities = {name: mdata[name] for name in used}
    tables = tables_from_anndata(modalities, dict.fromkeys(used, file), scratch)
    samples = pd.DataFrame(mdata.obs)
    if not len(samples.columns):
        samples = _combined({name: mdata[name] for name in names}).reindex(samples.index)
    samples = _in_saved_order(samples, mdata.uns.get(ORDER_KEY))
    unused = {name: set(mdata[name].obs_names) for name in names if name not in used}
    return Parts(
        tables,
        samples,
        f"{file or 'MuData'}, obs",
        lambda: unused,
        scratch,
        may_turn=False,
    )


def anndata_parts(
    modalities: Mapping[str, Any],
    samples: pd.DataFrame | None,
    where: str,
    files: Mapping[str, Path | None],
    scratch: Path | None = None,
) -> Parts:
    """Tables and samples of several AnnData objects, one a layer."""
    tables = tables_from_anndata(modalities, files, scratch)
    if samples is None:
        samples, where = _combined(modalities), f"{where}, obs"
    return Parts(tables, samples, where, scratch=scratch, may_turn=False)


def with_saved_kinds(
    description: CohortDescription, modalities: Mapping[str, Any]
) -> CohortDescription:
    """The description with the kinds that the modalities themselves name, where it has none."""
    layers = {
        name: layer
        if layer.kind is not None
        else LayerDescription(kind=_kind(modalities[name]), columns=layer.columns)
        for name, layer in (description.layers or {}).items()
    }
    return description.model_copy(update={"layers": layers})


def _kind(modality: Any) -> str | None:
    kind = modality.uns.get(KIND_KEY)
    return None if kind is None else str(kind)


def _combined(modalities: Mapping[str, Any]) -> pd.DataFrame:
    """Sample columns of all modalities; where two tell something, the first one counts."""
    samples = pd.DataFrame()
    for modality in modalities.values():
        own = pd.DataFrame(modality.obs).astype(object)
        own = own[~own.index.duplicated()]
        index = samples.index.append(own.index.difference(samples.index, sort=False))
        columns = [*samples.columns, *own.columns.difference(samples.columns, sort=False)]
        samples = samples.reindex(index=index, columns=columns).astype(object)
        own = own.reindex(index=index, columns=columns).astype(object)
        samples = samples.where(samples.notna(), own)
    return samples


def _in_saved_order(samples: pd.DataFrame, order: Any) -> pd.DataFrame:
    if order is None:
        return samples
    saved = pd.Index([str(name) for name in order])
    place = saved.get_indexer(samples.index) if saved.is_unique else np.zeros(len(samples))
    place = np.where(place < 0, len(saved), place)
    return samples.iloc[np.argsort(place, kind="stable")]
