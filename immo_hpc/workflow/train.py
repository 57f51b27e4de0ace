"""From shards to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from immo_hpc.config import ImmoConfig, ModelConfig, load_config
from immo_hpc.data.manifest import Manifest, read_manifest
from immo_hpc.errors import ConfigError
from immo_hpc.train import EpochRecord, RunFolder, Training, train_run
from immo_hpc.train.distributed import ALONE, Group, joined
from immo_hpc.workflow.calibrate import calibrated_after
from immo_hpc.workflow.companion import write_companion
from immo_hpc.workflow.drift import write_drift
from immo_hpc.workflow.outcome import Outcome

# Called with the record of a finished epoch and the most epochs there may be.
OnEpoch = Callable[[EpochRecord, int], None]


def train(
    shards: Path,
    run: Path,
    *,
    config: Path | None = None,
    recipe: str = "default",
    assignments: Sequence[str] = (),
    resume: bool = False,
    wait_s: float = 0.0,
    init_from: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> Outcome | None:
    """Train on shards into a run folder; see `immo_hpc.train.train_run`.

    A resumed run keeps the configuration it was started with unless one is given, and then
    the two must agree. If the environment says that this process is one of several (torchrun,
    srun), they train together. A run that starts from another one (``init_from``) has the shape
    of that one unless another is given. Afterwards the companion of the network is fitted
    (`immo_hpc.workflow.companion`), how far off the model is is measured on validation people
    (`immo_hpc.workflow.calibrate`), and the embeddings of the samples that both have are
    compared (`immo_hpc.workflow.drift`).

    Returns:
        What was trained; None on all processes but the first, which speaks for them.

    Raises:
        ConfigError: If the configuration does not fit the shards.
        BusyError, OutputError, RunError, ShardError, TrainingError, InterruptedRun: As in
            `train_run`.
    """
    manifest = read_manifest(shards)
    folder = RunFolder(run)
    is_given = config is not None or recipe != "default" or bool(assignments)

    def settle() -> ImmoConfig:
        if resume and folder.exists and not is_given:
            return folder.read_config()
        shape = _shape_from(folder, init_from, resume=resume)
        return settings_for(manifest, shards, config, recipe, assignments, shape)

    with joined() as group:
        settings = group.on_each(settle)
        training = train_settled(
            shards,
            run,
            settings,
            resume=resume,
            wait_s=wait_s,
            init_from=init_from,
            on_epoch=on_epoch if group.is_first else None,
            group=group,
        )
    if not group.is_first:
        return None
    companion = write_companion(folder, shards)
    calibration = calibrated_after(folder, shards)
    drift = write_drift(folder, shards)
    later = [notice for notice in (companion, calibration, drift) if notice is not None]
    notices = (*training.notices, *later)
    return Outcome(*_describe(run, training), notices=notices)


def train_settled(
    shards: Path,
    run: Path,
    settings: ImmoConfig,
    *,
    resume: bool = False,
    wait_s: float = 0.0,
    init_from: Path | None = None,
    on_epoch: OnEpoch | None = None,
    group: Group = ALONE,
) -> Training:
    """`train_run` with an ``on_epoch`` that is also told the most epochs."""
    epochs = settings.train.epochs
    tell = None if on_epoch is None else lambda record: on_epoch(record, epochs)
    return train_run(
        shards,
        run,
        settings,
        resume=resume,
        wait_s=wait_s,
        init_from=init_from,
        on_epoch=tell,
        group=group,
    )


def _shape_from(run: RunFolder, init_from: Path | None, *, resume: bool) -> ModelConfig | None:
    """Shape of the network that a training starts from; None if it begins anew."""
    if resume and run.exists and "init_from" in run.read_description():
        return run.read_config().model
    return None if init_from is None else RunFolder(init_from).read_config().model


def settings_for(
    manifest: Manifest,
    shards: Path,
    config: Path | None,
    recipe: str,
    assignments: Sequence[str],
    shape: ModelConfig | None = None,
) -> ImmoConfig:
    """The configuration of a training on these shards.

    Seed, split and preparation start from those the shards were made with; the last two
    cannot be changed any more. The network starts from ``shape``, if there is one.

    Raises:
        ConfigError: If they are, or if a key names a layer that the shards do not have.
    """
    base = dict(manifest.config)
    if shape is not None:
        base["model"] = shape.model_dump(mode="json")
    settings = load_config(config, recipe=recipe, assignments=assignments, base=base)
    made_with = load_config(base=base)
    for section in ("split", "preparation"):
        asked, fixed = getattr(settings, section), getattr(made_with, section)
        if asked != fixed:
            message = (
                f"{section}: the shards in {shards} were prepared with {fixed!r}, and training "
                f"cannot change that to {asked!r}. Give these keys to `immo prepare`."
            )
            raise ConfigError(message)
    require_layers(settings, list(manifest.features))
    return settings


def require_layers(settings: ImmoConfig, layers: Sequence[str]) -> None:
    """Refuse a configuration that names layers which are not there.

    Raises:
        ConfigError: With the key and the layers there are.
    """
    settings.loss.layer_weights(layers)
    unknown = sorted(set(settings.mask.values_by_layer) - set(layers))
    if unknown:
        message = f"mask.values_by_layer names {unknown}, but the layers are {list(layers)}."
        raise ConfigError(message)


def _describe(run: Path, training: Training) -> tuple[dict[str, object], str]:
    last = training.records[-1]
    kept = None
    if training.best_epoch is not None:
        kept = next(r for r in training.records if r.epoch == training.best_epoch)
    values: dict[str, object] = {
        "run": str(run),
        "epochs": len(training.records),
        "best_epoch": training.best_epoch,
        "loss": last.loss,
        "validation": None if kept is None else kept.validation,
        "seconds": sum(record.seconds for record in training.records),
    }
    best = (
        "no held-out samples, so the last epoch's weights are kept"
        if kept is None
        else f"best held-out error {kept.validation:.4f} at epoch {kept.epoch + 1}"
    )
    text = f"{run}: {len(training.records)} epochs in {values['seconds']:.1f} s; {best}"
    return values, text
