"""Using a trained model: embed, impute, generate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from immo_hpc.errors import OutputError, UsageError
from immo_hpc.files import require_absent
from immo_hpc.inference.outputs import (
    MUDATA_SUFFIX,
    TABLE_SUFFIXES,
    table_suffix,
    to_mudata,
    write_folder,
    write_mudata,
    write_table,
)
from immo_hpc.workflow.opened import choose_samples
from immo_hpc.workflow.outcome import Outcome


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
    model, chosen = choose_samples(run, cohort)
    latent = model.embed_frame(chosen.cohort)
    if is_mudata:
        mdata = to_mudata(chosen.cohort.samples, latent=latent)
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
    force: bool = False,
) -> Outcome:
    """Write complete layers in original units, and beside them what in them was imputed.

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
    model, chosen = choose_samples(run, cohort)
    complete = model.complete(chosen.cohort, layers, raw=chosen.raw)
    samples = chosen.cohort.samples
    if is_mudata:
        latent = model.embed_frame(chosen.cohort)
        mdata = to_mudata(samples, latent=latent, layers=complete.values, imputed=complete.imputed)
        write_mudata(mdata, out, overwrite=force)
    else:
        write_folder(out, complete.values, complete.imputed, samples=samples, suffix=suffix)
    shares = {name: float(mask.to_numpy().mean()) for name, mask in complete.imputed.items()}
    listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return Outcome(
        {"out": str(out), "samples": len(samples), "imputed_share": shares},
        f"{out}: {len(samples)} samples; share of values imputed: {listed}",
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
    model, chosen = choose_samples(run, cohort)
    frame = model.generate(chosen.cohort, source, target)
    write_table(frame, out, overwrite=force)
    rows, features = frame.shape
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
