"""Measuring a trial: trainings in its folder, gone on with from their checkpoints."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from immo_hpc.config import ImmoConfig, TrainConfig
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import ConfigError, InterruptedRun, TrainingError
from immo_hpc.search.sides import coded_labels, folds_of, latent_auc, without_test
from immo_hpc.search.study import Measured, Plan, Report, Trial, TrialFailed
from immo_hpc.train import EpochRecord, RunFolder, load_model, read_metrics, train
from immo_hpc.train.checkpoint import list_checkpoints
from immo_hpc.train.device import resolve_device
from immo_hpc.train.run import check_run, create_run

# Epochs between two checkpoints of a trial, where the user does not say. Trials are short: with the
# five of other trainings, checkpoints took a twentieth of a search on IBDMDB.
_CHECKPOINT_EPOCHS = 20


class TrainingObjective:
    """Trains a trial's configuration and measures it, on one worker.

    Every trial sees the same people on the same sides, the same hidden values and the
    same hidden layers, and is trained with the same seed; nobody of the test side is
    there at all.

    Args:
        plan: The study.
        cohort: The prepared cohort; its test side is taken away first.
        shards: Folder it was read from.
        preparation: Its fitted preparation as plain values.

    Raises:
        CohortError: If there is no validation side, too few people for the folds, or no
            label where one is needed.
        ConfigError: If the device is not there.
    """

    def __init__(
        self,
        plan: Plan,
        cohort: PreparedCohort,
        shards: Path,
        preparation: Mapping[str, Any],
    ) -> None:
        self._plan, self._shards, self._preparation = plan, shards, preparation
        self._device = resolve_device(plan.config.train.device)
        seen = without_test(cohort)
        self._folds = folds_of(seen, plan.folds, plan.config.seed)
        self._labels = coded_labels(seen) if "auc" in plan.objectives else None

    def __call__(self, folder: Path, trial: Trial, report: Report) -> Measured:
        """Values of a trial, one an objective, each the mean over folds.

        Raises:
            TrialFailed: If its configuration contradicts itself or its training diverges.
            InterruptedRun: If the process is asked to stop, after a checkpoint.
        """
        try:
            config = self._plan.space.config(self._plan.config, trial.params, trial.seed)
            config = _seldom_written(config)
            by_fold = [
                self._fold(folder / _name(fold, len(self._folds)), cohort, config, report, fold)
                for fold, cohort in enumerate(self._folds)
            ]
        except (TrainingError, ConfigError) as error:
            raise TrialFailed(str(error)) from error
        values = tuple(
            statistics.fmean(fold[name] for fold in by_fold) for name in self._plan.objectives
        )
        return Measured(values, {"by_fold": by_fold})

    def _fold(
        self, path: Path, cohort: PreparedCohort, config: ImmoConfig, report: Report, fold: int
    ) -> dict[str, float]:
        run = RunFolder(path)
        if run.exists:
            check_run(run, config, self._shards)
        else:
            create_run(
                run,
                config,
                shards=self._shards,
                preparation=self._preparation,
                device=self._device,
            )

        def on_epoch(record: EpochRecord) -> None:
            report.check()
            # Later folds refine the value; what compares at an epoch is the first one.
            if fold == 0 and record.validation is not None:
                report(record.epoch, record.validation)

        # What an earlier attempt reported; epochs past its checkpoint come once more.
        for record in read_metrics(run.metrics):
            on_epoch(record)
        if not run.is_finished:
            self._train(cohort, config, run, on_epoch)
        # A finished run needs none of them, and a study has many runs.
        for checkpoint in list_checkpoints(run.checkpoints):
            checkpoint.unlink()
        return self._values(run, cohort)

    def _train(
        self, cohort: PreparedCohort, config: ImmoConfig, run: RunFolder, on_epoch: Any
    ) -> None:
        try:
            train(cohort, config, run=run, on_epoch=on_epoch)
        except InterruptedRun as error:
            message = (
                f"{run.path}: stopped after a checkpoint; the same command, or any other worker "
                "of the study, goes on from there."
            )
            raise InterruptedRun(message) from error

    def _values(self, run: RunFolder, cohort: PreparedCohort) -> dict[str, float]:
        saved = load_model(run.path)
        # By epoch: one that a lost worker wrote as well counts once.
        records = {record.epoch: record for record in read_metrics(run.metrics)}
        assert saved.best_epoch is not None
        kept = records[saved.best_epoch]
        assert kept.validation is not None
        num_weights = sum(parameter.numel() for parameter in saved.model.parameters())
        num_seen = len(records) * len(cohort.indices("train"))
        values = {
            "held-out": kept.validation,
            "paper": kept.loss,
            "cost": 6e-12 * num_weights * num_seen,
        }
        if self._labels is not None:
            values["auc"] = latent_auc(saved.model.to(self._device), cohort, self._labels)
        return values


def _seldom_written(config: ImmoConfig) -> ImmoConfig:
    """The configuration with fewer checkpoints, unless their number was set."""
    if config.train.checkpoint_epochs != TrainConfig.model_fields["checkpoint_epochs"].default:
        return config
    train = config.train.model_copy(update={"checkpoint_epochs": _CHECKPOINT_EPOCHS})
    return config.model_copy(update={"train": train})


def _name(fold: int, num_folds: int) -> str:
    return "run" if num_folds == 1 else f"run-{fold}"
