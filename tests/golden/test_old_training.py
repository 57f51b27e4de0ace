"""A tiny seeded training gives the numbers it gave, and an old checkpoint can be gone on with.

The files under ``training-v1/`` are committed; `write_golden` (``python
tests/golden/test_old_training.py FOLDER``) made them. The metrics may be made again only with
a change that is meant to alter training; the checkpoint, of format version 1, never.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.train import train
from immo_hpc.train.checkpoint import read_checkpoint, write_checkpoint
from immo_hpc.train.device import own_randomness
from immo_hpc.train.metrics import append_metrics, read_metrics
from immo_hpc.train.trainer import Trainer

GOLDEN = Path(__file__).parent / "training-v1"
CHECKPOINT = "epoch-000001-step-00000002.safetensors"
CPU = torch.device("cpu")
# Sums of float32 products round differently on other processors; masks and order do not.
TOLERANCE = 2e-4


def golden_cohort():
    """Values of closed form, so that no generator's version enters."""
    sample = np.arange(24)
    layers = {}
    for place, (name, width) in enumerate({"mg": 5, "mt": 1, "mb": 4}.items()):
        rows = np.flatnonzero(sample % (place + 2) != 0).astype(np.int64)
        grid = np.outer(rows + 1, np.arange(width) + 1.0 + place)
        values = np.sin(grid).astype(np.float32)
        values[np.cos(3 * grid) > 0.9] = np.nan
        features = tuple(f"{name}{number}" for number in range(width))
        layers[name] = PreparedLayer(name, features, values, rows, np.ones(len(rows), np.float32))
    samples = pd.DataFrame(index=pd.Index([f"s{n}" for n in sample], name="sample_id"))
    return PreparedCohort(samples, layers, split=np.where(sample % 4 == 3, "validation", "train"))


def golden_config():
    return ImmoConfig.model_validate(
        {
            "seed": 7,
            "mask": {
                "values": {"p0": 0.75, "growth": 0.05, "p_max": 0.9},
                "layers": {"p0": 0.7},
            },
            "loss": {"scope": "observed"},
            "model": {"latent_dim": 3, "encoder_dims": [6], "decoder_dims": [5], "dropout": 0.2},
            "train": {"epochs": 4, "batch_size": 5, "device": "cpu", "num_threads": 1},
        }
    )


def write_golden(folder: Path) -> None:
    for record in train(golden_cohort(), golden_config()).records:
        append_metrics(folder / "metrics.jsonl", record)
    with own_randomness(golden_config().seed, CPU):
        trainer = Trainer(golden_cohort(), golden_config(), CPU)
        for _ in trainer.steps():
            pass
        trainer.finish_epoch()
        steps = trainer.steps()
        next(steps)
        next(steps)
        write_checkpoint(folder, trainer.checkpoint())


def numbers(record):
    values = json.loads(json.dumps(record.to_dict()))
    del values["seconds"], values["waiting_s"]
    # None, where there is nothing to measure, becomes NaN.
    return pd.json_normalize(values).iloc[0].astype(float).to_dict()


def assert_golden(records):
    expected = read_metrics(GOLDEN / "metrics.jsonl")
    assert len(records) == len(expected) == 4
    for record, golden in zip(records, expected, strict=True):
        assert numbers(record) == pytest.approx(numbers(golden), rel=TOLERANCE, nan_ok=True)


def test_a_seeded_training_gives_its_golden_numbers():
    assert_golden(train(golden_cohort(), golden_config()).records)


def test_an_old_checkpoint_is_gone_on_with():
    checkpoint = read_checkpoint(GOLDEN / CHECKPOINT)
    assert (checkpoint.epoch, checkpoint.step) == (1, 2)
    with own_randomness(99, CPU):
        trainer = Trainer(golden_cohort(), golden_config(), CPU)
        trainer.restore(checkpoint)
        while not trainer.is_over:
            for _ in trainer.steps():
                pass
            trainer.finish_epoch()
    assert_golden(trainer.records)


if __name__ == "__main__":
    write_golden(Path(sys.argv[1]))
