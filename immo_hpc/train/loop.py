"""Training from start, or from a checkpoint, to the best model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.files import refuse_output
from immo_hpc.lease import hold
from immo_hpc.nn import ImmoModel
from immo_hpc.train.checkpoint import newest_checkpoint
from immo_hpc.train.device import (
    own_randomness,
    resolve_device,
    threads,
    worthwhile_threads,
)
from immo_hpc.train.interrupt import StopRequest
from immo_hpc.train.metrics import EpochRecord, read_metrics, rewrite_metrics
from immo_hpc.train.model_file import load_model, save_model
from immo_hpc.train.run import RunFolder, check_run, create_run
from immo_hpc.train.samples import Samples, load_samples
from immo_hpc.train.saving import Saver
from immo_hpc.train.trainer import Trainer

OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        model: The network with the best weights, in eval mode.
        records: One record an epoch, oldest first.
        best_epoch: Epoch of the best weights; None if no held-out samples chose one.
        notices: What the user should know, as sentences.
    """

    model: ImmoModel
    records: tuple[EpochRecord, ...]
    best_epoch: int | None
    notices: tuple[str, ...]


def train_run(
    shards: Path,
    run: Path,
    config: ImmoConfig | None = None,
    *,
    resume: bool = False,
    wait_s: float = 0.0,
    on_epoch: OnEpoch | None = None,
) -> Training:
    """Train on shards into a run folder (contract 6); one process at a time.

    Args:
        shards: Folder of shards.
        run: Run folder: new; or, with ``resume``, that of a run to go on with (a folder
            that does not exist yet is started, so that a job may always ask to resume).
        config: Resolved configuration; None for the defaults, or the run's own on resume.
        resume: Go on from the last checkpoint. On the CPU, with the same number of threads,
            the result equals that of the uninterrupted run bit for bit.
        wait_s: How long to wait for another process that trains into this folder, seconds.
        on_epoch: Called with each epoch's record.

    Returns:
        The finished training.

    Raises:
        BusyError: If another living process trains into this folder for longer than that.
        InterruptedRun: On SIGINT, SIGTERM or SIGUSR2, after a checkpoint was written.
        OutputError: If ``run`` holds something and ``resume`` is not asked for.
        RunError: If the run is of another format version, configuration or other shards.
        ShardError: If the shards are damaged or missing.
        TrainingError: If the loss is not finite or there is nothing to learn from.
    """
    folder = RunFolder(Path(run))
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse_output(folder.path, error)
    with hold(folder.lease, wait_s=wait_s):
        return _train_run(shards, folder, config, resume=resume, on_epoch=on_epoch)


def _train_run(
    shards: Path,
    folder: RunFolder,
    config: ImmoConfig | None,
    *,
    resume: bool,
    on_epoch: OnEpoch | None,
) -> Training:
    is_old = resume and folder.exists
    if is_old:
        config = check_run(folder, config, shards)
        if folder.is_finished:
            return _finished(folder)
    config = config or ImmoConfig()
    # Refused before the shards are read, which may take minutes.
    device = resolve_device(config.train.device)
    if not is_old:
        folder.require_new()
    samples, preparation = load_samples(Path(shards), config.train)
    if not is_old:
        create_run(
            folder,
            config,
            shards=shards,
            preparation=preparation.to_dict(),
            device=device,
        )
    return train(samples, config, run=folder, on_epoch=on_epoch)


def train(
    cohort: Samples,
    config: ImmoConfig,
    *,
    run: RunFolder | None = None,
    on_epoch: OnEpoch | None = None,
) -> Training:
    """Train on a prepared cohort, in memory or into a run folder.

    Args:
        cohort: Prepared cohort, or opened shards that are streamed; trained on its 'train'
            side, stopped by its 'validation' side. Without a split all samples are trained on.
        config: Resolved configuration.
        run: Existing run folder: gone on with from its newest checkpoint, if it has one,
            and filled. None: nothing is written and no signal is caught.
        on_epoch: Called with each epoch's record.

    Returns:
        The finished training. Torch's generators and threads are left as they were.

    Raises:
        ConfigError: If the configuration names a device or layer that is not there.
        InterruptedRun, OutputError, RunError, TrainingError: As in `train_run`.
    """
    device = resolve_device(config.train.device)
    stop = StopRequest()
    with own_randomness(config.seed, device):
        trainer = Trainer(cohort, config, device)
        num_threads = config.train.num_threads or worthwhile_threads(
            trainer.model, config.train.batch_size
        )
        with threads(num_threads), stop if run is not None else nullcontext():
            saver = None
            if run is not None:
                _restore(trainer, run)
                saver = Saver(run, config.train, stop)
            _train_epochs(trainer, saver, on_epoch)
            model = trainer.best_model()
            if run is not None:
                features = {name: layer.features for name, layer in cohort.layers.items()}
                save_model(run.path, model, features, cohort.roles, best_epoch=trainer.best_epoch)
    return Training(model, tuple(trainer.records), trainer.best_epoch, tuple(trainer.notices))


def fit(
    cohort: PreparedCohort,
    config: ImmoConfig,
    *,
    run: RunFolder | None = None,
    on_epoch: OnEpoch | None = None,
) -> ImmoModel:
    """The model of `train`, for callers that need nothing else."""
    return train(cohort, config, run=run, on_epoch=on_epoch).model


def _train_epochs(trainer: Trainer, saver: Saver | None, on_epoch: OnEpoch | None) -> None:
    while not trainer.is_over:
        with closing(trainer.steps()) as steps:
            for _ in steps:
                if saver is not None:
                    saver.after_step(trainer)
        record = trainer.finish_epoch()
        if saver is not None:
            saver.after_epoch(trainer, record)
        if on_epoch is not None:
            on_epoch(record)


def _restore(trainer: Trainer, run: RunFolder) -> None:
    """Put the trainer and the metrics where the newest checkpoint is."""
    for left in run.checkpoints.glob(".*"):
        left.unlink()  # of a write that was killed
    checkpoint, notices = newest_checkpoint(run.checkpoints)
    trainer.notices += notices
    if checkpoint is not None:
        trainer.restore(checkpoint)
        trainer.notices.append(
            f"resumed in epoch {checkpoint.epoch} after {checkpoint.step} of "
            f"{trainer.num_batches} steps."
        )
    rewrite_metrics(run.metrics, trainer.records)


def _finished(run: RunFolder) -> Training:
    records = tuple(read_metrics(run.metrics))
    saved = load_model(run.path)
    notice = f"{run.path}: this run is finished after {len(records)} epochs; nothing was trained."
    return Training(saved.model, records, saved.best_epoch, (notice,))
