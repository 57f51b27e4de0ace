"""Using a trained model: embed, impute, generate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from immo_hpc.errors import OutputError, UsageError
from immo_hpc.files import require_absent
from immo_hpc.inference import embed_samples
from immo_hpc.inference.asked import foretellable
from immo_hpc.inference.calibration.intervals import place_of
from immo_hpc.inference.impute import joined
from immo_hpc.inference.outputs import (
    MUDATA_SUFFIX,
    to_mudata,
    write_imputed,
    write_mudata,
)
from immo_hpc.inference.tables import TABLE_SUFFIXES, table_suffix, table_writer, write_table
from immo_hpc.workflow.distances import Distances, beside_table, distance_columns
from immo_hpc.workflow.imputing import (
    DONE,
    Asked,
    Shares,
    completed,
    other_visits_used,
    require_room,
    with_others,
    without_ends,
)
from immo_hpc.workflow.opened import chosen_samples
from immo_hpc.workflow.outcome import Outcome


def embed(run: Path, cohort: Path | None, out: Path, *, force: bool = False) -> Outcome:
    """Write the latent of every sample to a table, or to a ``.h5mu`` with obsm['X_immo'].

    Samples far from the training data are named; the distances of all stand beside a table in
    ``NAME.distance.tsv``, and in ``obs`` of a ``.h5mu``.

    Raises:
        UsageError: If the suffix of ``out`` is unknown.
        OutputError: If ``out`` exists and ``force`` is False, or cannot be written.
    """
    is_mudata = out.suffix == MUDATA_SUFFIX
    # A wrong suffix is told first, whatever is there.
    for path in [out] if is_mudata else [out, beside_table(out)]:
        require_free(path, force)
    with chosen_samples(run, cohort, out) as (model, chosen):
        latent = embed_samples(model, chosen.samples)
        distances = Distances.of(model, chosen.samples)
    if is_mudata:
        samples = chosen.samples.table.join(distance_columns(distances.table()))
        write_mudata(to_mudata(samples, latent=latent), out, overwrite=force)
    else:
        write_table(latent, out, overwrite=force)
        found = distances.table()
        if found is not None:
            write_table(found, beside_table(out), overwrite=True)
    rows, dims = latent.shape
    return Outcome(
        {"out": str(out), "samples": rows, "latent_dim": dims, "far": distances.far()},
        f"{out}: {rows} samples in {dims} latent dimensions",
        (*chosen.notices, *distances.notices("their place in the latent means little")),
    )


def impute(
    run: Path,
    cohort: Path | None,
    out: Path,
    *,
    layers: Sequence[str] | None = None,
    table_format: str = "parquet",
    level: float | None = None,
    far: str = "abstain",
    visits: bool = True,
    force: bool = False,
) -> Outcome:
    """Write complete layers in original units, and beside them what in them was imputed.

    Args:
        run: Run folder.
        cohort: New samples; the run's own if None.
        out: New folder, or ``.h5mu`` file.
        layers: Layers to complete; None for all.
        table_format: Format of the tables in a folder.
        level: Also write intervals that hold this share of such values of new people.
        far: What to do with samples that are far from all the model knows: 'abstain' leaves
            what they lack missing, 'keep' imputes it all the same.
        visits: Use what the other visits of a sample's person say too, where there are any.
        force: Replace a file that exists.

    Raises:
        UsageError: If the format, a layer, the level or ``far`` is unknown, or the run has no
            calibration to take intervals from.
        OutputError: If ``out`` exists (a file may be replaced with ``force``).
    """
    suffix = "." + table_format.lstrip(".")
    if suffix not in TABLE_SUFFIXES:
        known = ", ".join(name.lstrip(".") for name in TABLE_SUFFIXES)
        message = f"--format {table_format}: the formats of tables are {known}."
        raise UsageError(message)
    if far not in DONE:
        message = f"--far {far}: choose from {', '.join(DONE)}."
        raise UsageError(message)
    if level is not None:
        place_of(level)
    is_mudata = out.suffix == MUDATA_SUFFIX
    require_free(out, force and is_mudata)
    shares = Shares()
    with chosen_samples(run, cohort, out) as (model, chosen):
        samples, distances = chosen.samples, Distances(model)
        num_visited = with_others(model, samples, visits)
        asked = Asked(layers, level, far == "abstain", num_visited > 0)
        portions = shares.counted(completed(model, samples, asked, distances))
        if is_mudata:
            require_room(model, samples, asked, out)
            complete = joined(list(portions))
            mdata = to_mudata(
                samples.table.join(distance_columns(distances.table())),
                latent=embed_samples(model, samples),
                layers=complete.values,
                imputed=complete.imputed,
                bounds={"lower": complete.lower, "upper": complete.upper},
            )
            write_mudata(mdata, out, overwrite=force)
        else:
            write_imputed(
                out, portions, samples=samples.table, distance=distances.table, suffix=suffix
            )
    listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.by_layer.items())
    num_samples = len(samples.table)
    values: dict[str, object] = {"out": str(out), "samples": num_samples}
    values |= {"imputed_share": shares.by_layer, "interval": level, "far": distances.far()}
    values["with_other_visits"] = num_visited
    return Outcome(
        values,
        f"{out}: {num_samples} samples; share of values imputed: {listed}",
        (
            *chosen.notices,
            *other_visits_used(num_visited),
            *distances.notices(DONE[far]),
            *without_ends(model, asked),
        ),
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
