"""IMMO's latent as one more expert beside the layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from immo_hpc.analysis.baselines import product_of
from immo_hpc.analysis.compare.contender import LabelTask, Learnt
from immo_hpc.analysis.experts import layer_experts, learn_expert
from immo_hpc.analysis.methods import Method
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort


def learn_immo_fusion(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """The product of one logistic regression per layer and one on the latent."""
    from immo_hpc.inference import forward
    from immo_hpc.train import train

    model = train(training, config).model

    def label(task: LabelTask) -> Method:
        data, folds, seed = task.data, task.folds, task.seed
        latent = forward.embed(model, task.cohort)
        experts = layer_experts(task.cohort, data, folds, seed)
        # Names of layers are the user's: this one cannot be among them.
        experts["(latent)"] = learn_expert(latent, np.asarray(data.index), data, folds, seed)
        return replace(product_of(experts, data, folds, seed), source="latent")

    return Learnt(label=label)
