"""Parts of a reproduction as a run leaves them, made up."""

from types import SimpleNamespace

import numpy as np
import pytest

from immo_hpc.analysis.reproduce.auc_tables import auc_tables
from immo_hpc.analysis.reproduce.part_tables import feature_table, mask_tables, search_tables
from immo_hpc.analysis.reproduce.published import IBDMDB
from immo_hpc.analysis.reproduce.results import Reproduction
from immo_hpc.analysis.reproduce.samples import paper_cohort, subset_table
from immo_hpc.analysis.reproduce.verdicts import all_verdicts
from immo_hpc.config import load_config
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort

EVIL = "s__<script>alert(1)</script>|x"


def answer(draw, shift, *, names=("lda", "svm"), sources=("latent", "raw")):
    """40 samples of 10 people; scores of cases are higher by ``shift``, on raw by half of it."""
    y = np.repeat([0, 1], 20)
    subject = [f"p{n // 4}" for n in range(40)]
    scores = {
        source: {
            name: (y * (shift if source == "latent" else shift / 2) + draw.normal(size=40)).tolist()
            for name in names
        }
        for source in sources
    }
    return {"y": y.tolist(), "subject": subject, "scores": scores}


def split_part(seed, shift):
    draw = np.random.default_rng(seed)
    shown = ("mg+mt+mb", "mg+mt", "mg")
    rows = [
        ("mg", EVIL, 1, 0.3, 1),
        ("mg", "s__Prevotella_copri", 14, 0.01, -1),
        ("mg", "s__Bacteroides_ovatus", 2, 0.1, -1),
        ("mg", "s__Bacteroides_dorei", 17, 0.001, -1),
        ("mt", "PWY-1", 1, 0.2, 1),
    ]
    keys = ("layer", "feature", "rank_in_layer", "share", "direction")
    return {
        "subsets": {subset.name: answer(draw, shift) for subset in IBDMDB.subsets},
        "shown": {
            name: answer(draw, shift, names=["neural_net"], sources=["latent"]) for name in shown
        },
        "features": [dict(zip(keys, row, strict=True)) for row in rows],
    }


def mask_part(last, epochs, lowest):
    return {
        "losses": np.linspace(1.0, last, epochs).tolist(),
        "held_out": np.linspace(1.0, lowest, epochs).tolist(),
    }


def trial(number, origin, fixed, own, keep=0.5):
    values = {
        "model.latent_dim": 64,
        "model.dropout": 0.3,
        "train.learning_rate": 0.001,
        "mask.values.p0": keep,
        "train.lr_decay": 0.95,
        "loss.weights": {"mg": 0.2, "mt": 0.3, "mb": 0.5},
    }
    return {"number": number, "origin": origin, "fixed": fixed, "own": own, "values": values}


@pytest.fixture
def parts():
    """Splits, masks and study, as the parts of a run hold them."""
    study = {
        "objective": "held-out",
        "seed": 0,
        "trials": [
            trial(0, "paper", 0.90, 0.50, keep=0.9),
            trial(1, "start", 0.95, 0.40, keep=0.85),
            trial(2, "gp", 0.88, 0.60),
        ],
    }
    return SimpleNamespace(
        splits={
            "sample": [split_part(seed, 2.5) for seed in range(2)],
            "subject": [split_part(seed, 0.5) for seed in range(10, 13)],
        },
        masks={
            (by, kind): [mask_part(0.4, 20, 0.8), mask_part(0.4, 30, 0.8)]
            if kind == "dynamic"
            else [mask_part(0.7, 12, 0.9)]
            for by in ("sample", "subject")
            for kind in ("dynamic", "static")
        },
        study=study,
    )


@pytest.fixture
def reproduction(parts):
    cohort = simulate_cohort(SimulationConfig(num_subjects=12)).cohort
    cohort = paper_cohort(cohort, IBDMDB, "simulated")
    tables = {"subsets": subset_table(cohort, IBDMDB)}
    tables["search"], tables["search_about"] = search_tables(parts.study, IBDMDB)
    tables["masks"], tables["curves"] = mask_tables(parts.masks, IBDMDB)
    tables["auc"], tables["gains"], tables["layers"] = auc_tables(parts.splits, IBDMDB, 0)
    tables["features"] = feature_table(parts.splits["subject"], IBDMDB)
    return Reproduction(
        which="ibdmdb",
        cohort="simulated <b>",
        num_samples=len(cohort.samples),
        num_subjects=12,
        **tables,
        verdicts=all_verdicts(tables, IBDMDB),
        notices=("A notice.",),
        made={"command": "immo reproduce", "versions": {"immo-hpc": "0"}},
    )


@pytest.fixture
def paper_config():
    return load_config(recipe="paper", assignments=["train.num_threads=1"])
