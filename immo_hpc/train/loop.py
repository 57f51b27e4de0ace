"""Training from start, or from a checkpoint, to the best model."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.config import ImmoConfig, validated
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.files import refuse_output
from immo_hpc.lease import hold
from immo_hpc.nn import ImmoModel
from immo_hpc.train.agreement import AgreedStop
from immo_hpc.train.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint
from immo_hpc.train.device import (
    own_randomness,
    threads,
    worthwhile_threads,
)
from immo_hpc.train.distributed import ALONE, Group
from immo_hpc.train.distributed.gpu import group_device
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
    group: Group = ALONE,
) -> Training:
    """Train on shards into a run folder (contract 6); one training at a time.

    Args:
        shards: Folder of shards.
        run: Run folder: new; or, with ``resume``, that of a run to go on with (a folder
            that does not exist yet is started, so that a job may always ask to resume).
        config: Resolved configuration; None for the defaults, or the run's own on resume.
        resume: Go on from the last checkpoint. On the CPU, with the same number of threads,
            the result equals that of the uninterrupted run bit for bit.
        wait_s: How long to wait for another process that trains into this folder, seconds.
        on_epoch: Called with each epoch's record.
        group: Processes that share the training, each of which calls this. The first one
            writes and decides: configuration and ``resume`` of the others do not count.

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
    if not group.is_first:
        return _train_run(Path(shards), folder, config, group, resume=resume, on_epoch=on_epoch)
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse_output(folder.path, error)
    with hold(folder.lease, wait_s=wait_s):
        return _train_run(Path(shards), folder, config, group, resume=resume, on_epoch=on_epoch)


def _train_run(
    shards: Path,
    folder: RunFolder,
    config: ImmoConfig | None,
    group: Group,
    *,
    resume: bool,
    on_epoch: OnEpoch | None,
) -> Training:
    def begin() -> str:
        is_old = resume and folder.exists
        chosen = check_run(folder, config, shards) if is_old else config or ImmoConfig()
        if not is_old:
            folder.require_new()
        return json.dumps([is_old, is_old and folder.is_finished, chosen.model_dump(mode="json")])

    is_old, is_finished, values = json.loads(group.on_first(begin))
    if is_finished:
        return group.on_each(lambda: _finished(folder))
    config = validated(values, where="configuration")
    # Refused before the shards are read, which may take minutes.
    device = group_device(config.train.device, group)
    samples, preparation = group.on_each(lambda: load_samples(shards, config.train))

    def create() -> str:
        kept = preparation.to_dict()
        create_run(folder, config, shards=shards, preparation=kept, device=device)
        return ""

    if not is_old:
        group.on_first(create)
    return train(samples, config, run=folder, on_epoch=on_epoch, group=group)


def train(
    cohort: Samples,
    config: ImmoConfig,
    *,
    run: RunFolder | None = None,
    on_epoch: OnEpoch | None = None,
    group: Group = ALONE,
) -> Training:
    """Train on a prepared cohort, in memory or into a run folder.

    Args:
        cohort: Prepared cohort, or opened shards that are streamed; trained on its 'train'
            side, stopped by its 'validation' side. Without a split all samples are trained on.
        config: Resolved configuration.
        run: Existing run folder: gone on with from its newest checkpoint, if it has one,
            and filled. None: nothing is written and no signal is caught.
        on_epoch: Called with each epoch's record.
        group: Processes that share the training, each of which calls this with the same
            cohort and configuration; the first one writes.

    Returns:
        The finished training. Torch's generators and threads are left as they were.

    Raises:
        ConfigError: If the configuration names a device or layer that is not there.
        InterruptedRun, OutputError, RunError, TrainingError: As in `train_run`.
    """
    device = group_device(config.train.device, group)
    stop = StopRequest()
    agreed = AgreedStop(stop, group)
    with own_randomness(config.seed, device):
        trainer = Trainer(cohort, config, device, group, agreed)
        num_threads = config.train.num_threads or worthwhile_threads(
            trainer.model, -(-config.train.batch_size // group.world_size)
        )
        with threads(num_threads), stop if run is not None else nullcontext():
            saver = None
            if run is not None:
                _restore(trainer, run, group)
                saver = Saver(run, config.train, agreed, group)
            _train_epochs(trainer, saver, on_epoch)
            model = trainer.best_model()
            if run is not None and group.is_first:
                features = {name: layer.features for name, layer in cohort.layers.items()}
                save_model(run.path, model, features, cohort.roles, best_epoch=trainer.best_epoch)
            group.barrier()
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


def _restore(trainer: Trainer, run: RunFolder, group: Group) -> None:
    """Put the trainer and the metrics where the newest checkpoint is."""
    found: list[Checkpoint] = []

    def find() -> str:
        for left in run.checkpoints.glob(".*"):
            left.unlink()  # of a write that was killed
        newest, notices = newest_checkpoint(run.checkpoints)
        trainer.notices += notices
        found.extend([newest] if newest else [])
        return newest.file_name if newest else ""

    name = group.on_first(find)
    if name and not found:
        found.append(read_checkpoint(run.checkpoints / name))
    for checkpoint in found:
        trainer.restore(checkpoint)
        trainer.notices.append(
            f"resumed in epoch {checkpoint.epoch} after {checkpoint.step} of "
            f"{trainer.num_batches} steps."
        )
    if group.is_first:
        rewrite_metrics(run.metrics, trainer.records)


def _finished(run: RunFolder) -> Training:
    records = tuple(read_metrics(run.metrics))
    saved = load_model(run.path)
    notice = f"{run.path}: this run is finished after {len(records)} epochs; nothing was trained."
    return Training(saved.model, records, saved.best_epoch, (notice,))
