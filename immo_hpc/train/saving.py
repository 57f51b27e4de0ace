"""When a training is written down: checkpoints by epoch, by the clock and on request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from immo_hpc.config import TrainConfig
from immo_hpc.errors import InterruptedRun
from immo_hpc.train.agreement import AgreedStop
from immo_hpc.train.checkpoint import write_checkpoint
from immo_hpc.train.distributed import ALONE, Group
from immo_hpc.train.metrics import EpochRecord, append_metrics
from immo_hpc.train.run import RunFolder

if TYPE_CHECKING:
    from immo_hpc.train.trainer import Trainer


class Saver:
    """Writes metrics and checkpoints of one training into its run folder.

    Args:
        run: The run folder.
        config: How often to write.
        stop: Asked after every step whether to stop.
        group: The processes; the first one writes.
    """

    def __init__(
        self, run: RunFolder, config: TrainConfig, stop: AgreedStop, group: Group = ALONE
    ) -> None:
        self._run, self._config, self._stop, self._group = run, config, stop, group
        self._written_at = time.monotonic()

    def after_step(self, trainer: Trainer) -> None:
        """Write a checkpoint if one is due or asked for.

        Raises:
            InterruptedRun: After the checkpoint, if the training was asked to stop.
            OutputError: If the checkpoint cannot be written.
        """
        if self._stop.name is not None:
            self._write(trainer)
            self._interrupt(trainer)
        elif time.monotonic() - self._written_at >= 60 * self._config.checkpoint_min:
            self._write(trainer)

    def after_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Write the epoch's metrics, and a checkpoint as in `after_step` or by epoch.

        Raises:
            InterruptedRun: As in `after_step`; not after the last epoch.
            OutputError: As in `after_step`.
        """
        if self._group.is_first:
            append_metrics(self._run.metrics, record)
        is_due = (record.epoch + 1) % self._config.checkpoint_epochs == 0
        if is_due or trainer.is_over or self._stop.name is not None:
            self._write(trainer)
        if self._stop.name is not None and not trainer.is_over:
            self._interrupt(trainer)

    def _write(self, trainer: Trainer) -> None:
        if self._group.is_first:
            write_checkpoint(self._run.checkpoints, trainer.checkpoint())
        self._written_at = time.monotonic()

    def _interrupt(self, trainer: Trainer) -> None:
        # Whatever started the processes may end them all once one has ended.
        self._group.barrier()
        message = (
            f"{self._run.path}: stopped on {self._stop.name} in epoch {trainer.epoch} after "
            f"{trainer.sums.steps} of {trainer.num_batches} steps; a checkpoint is written. "
            f"Go on with: immo train SHARDS {self._run.path} --resume"
        )
        raise InterruptedRun(message)
