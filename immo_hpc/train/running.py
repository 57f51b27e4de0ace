"""Training on shards into a run folder: begun, gone on with, or found finished."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.config import ImmoConfig, validated
from immo_hpc.files import make_folder
from immo_hpc.lease import hold
from immo_hpc.train.checkpoint import list_checkpoints
from immo_hpc.train.distributed import ALONE, Group
from immo_hpc.train.distributed.gpu import group_device
from immo_hpc.train.loop import OnEpoch, Training, train
from immo_hpc.train.metrics import read_metrics
from immo_hpc.train.model_file import load_model
from immo_hpc.train.run import RunFolder, check_run, create_run
from immo_hpc.train.samples import features_of, load_samples
from immo_hpc.train.warm_start import check_start, require_same, warm_start


def train_run(
    shards: Path,
    run: Path,
    config: ImmoConfig | None = None,
    *,
    resume: bool = False,
    wait_s: float = 0.0,
    init_from: Path | None = None,
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
        init_from: Finished run whose weights a new run starts from, matched by the names of
            layers and features; a resumed run knows its own.
        on_epoch: Called with each epoch's record.
        group: Processes that share the training, each of which calls this. The first one
            writes and decides: configuration and ``resume`` of the others do not count.

    Returns:
        The finished training.

    Raises:
        BusyError: If another living process trains into this folder for longer than that.
        InterruptedRun: On SIGINT, SIGTERM or SIGUSR2, after a checkpoint was written.
        OutputError: If ``run`` holds something and ``resume`` is not asked for.
        RunError: If the run is of another format version, configuration or other shards, or
            started from another run; or if that one is not finished.
        ShardError: If the shards are damaged or missing.
        TrainingError: If the loss is not finite or there is nothing to learn from.
    """
    folder = RunFolder(Path(run))
    asked = _Asked(Path(shards), folder, config, resume, init_from, on_epoch)
    if not group.is_first:
        return _train_run(asked, group)
    make_folder(folder.path.parent)
    with hold(folder.lease, wait_s=wait_s):
        return _train_run(asked, group)


@dataclass(frozen=True)
class _Asked:
    """The arguments of `train_run`."""

    shards: Path
    folder: RunFolder
    config: ImmoConfig | None
    resume: bool
    init_from: Path | None
    on_epoch: OnEpoch | None

    def begin(self) -> str:
        """What is to be done, as JSON: what was begun before, and the configuration."""
        folder, is_old = self.folder, self.resume and self.folder.exists
        if is_old:
            config = check_run(folder, self.config, self.shards)
            recorded = check_start(folder, self.init_from)
        else:
            folder.require_new()
            config, recorded = self.config or ImmoConfig(), None
        return json.dumps(
            {
                "is_old": is_old,
                "is_finished": is_old and folder.is_finished,
                "has_checkpoint": is_old and bool(list_checkpoints(folder.checkpoints)),
                "recorded": recorded,
                "config": config.model_dump(mode="json"),
            }
        )


def _train_run(asked: _Asked, group: Group) -> Training:
    folder = asked.folder
    plan = json.loads(group.on_first(asked.begin))
    if plan["is_finished"]:
        return group.on_each(lambda: _finished(folder))
    config, recorded = validated(plan["config"], where="configuration"), plan["recorded"]
    # Refused before the shards are read, which may take minutes.
    device = group_device(config.train.device, group)
    samples, preparation = group.on_each(lambda: load_samples(asked.shards, config.train))
    origin = Path(recorded["run"]) if recorded else asked.init_from
    start = None
    if origin is not None and not plan["has_checkpoint"]:
        start = group.on_each(lambda: warm_start(origin, features_of(samples), config.model))
        if recorded:
            require_same(start, recorded, folder.path)

    def create() -> str:
        create_run(
            folder,
            config,
            shards=asked.shards,
            preparation=preparation.to_dict(),
            device=device,
            processes=group.world_size,
            init_from=None if start is None else start.to_dict(),
        )
        return ""

    if not plan["is_old"]:
        group.on_first(create)
    return train(samples, config, run=folder, start=start, on_epoch=asked.on_epoch, group=group)


def _finished(run: RunFolder) -> Training:
    records = tuple(read_metrics(run.metrics))
    saved = load_model(run.path)
    notice = f"{run.path}: this run is finished after {len(records)} epochs; nothing was trained."
    return Training(saved.model, records, saved.best_epoch, (notice,))
