"""IMMO's latent as one more expert beside the layers."""

from __future__ import annotations

from dataclasses import replace

from immo_hpc.analysis.compare.contender import LabelTask, Learnt
from immo_hpc.analysis.fusion import all_experts, product_of
from immo_hpc.analysis.methods import Method
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort


def learn_immo_fusion(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """The product of one expert per layer and one on the latent."""
    from immo_hpc.inference import forward
    from immo_hpc.train import train

    model = train(training, config).model

    def label(task: LabelTask) -> Method:
        data, folds, seed = task.data, task.folds, task.seed
        latent = forward.embed(model, task.cohort)
        experts = all_experts(latent, task.cohort, data, folds, seed)
        return replace(product_of(experts, data, folds, seed), source="latent")

    return Learnt(label=label)
