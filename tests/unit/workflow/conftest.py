"""A small cohort, and a run that was trained on it for one epoch."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import load_config
from immo_hpc.workflow.prepare import CohortOptions, prepare
from immo_hpc.workflow.train import train

TINY = (
    "train.epochs=1",
    "train.num_threads=1",
    "model.latent_dim=3",
    "model.encoder_dims=[6]",
    "model.decoder_dims=[6]",
)


def write_use_cohort(folder, *, num_samples=90, seed=0, prefix="s"):
    """Composition, counts and intensities with holes, of people with 3 visits each."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    ids = np.array([f"{prefix}{number:03d}" for number in range(num_samples)])
    people = [f"{prefix}p{number // 3}" for number in range(num_samples)]
    group = np.where(np.arange(num_samples) // 3 % 2, "case", "control")
    samples = pd.DataFrame({"sample_id": ids, "subject_id": people, "group": group})
    samples.to_csv(folder / "samples.tsv", sep="\t", index=False)
    shift = (group == "case")[:, None] * np.linspace(0, 2, 6)
    parts = np.exp(draw.normal(size=(num_samples, 6)) + shift)
    tables = {
        "mg": 100 * parts / parts.sum(axis=1, keepdims=True),
        "rna": draw.poisson(draw.lognormal(4, 1, 5), (num_samples, 5)).astype(float),
        "mb": np.exp(8 + draw.normal(size=(num_samples, 4)) + shift[:, :4]),
    }
    tables["mb"][draw.random((num_samples, 4)) < 0.1] = np.nan
    for place, (name, values) in enumerate(tables.items()):
        frame = pd.DataFrame(values, columns=[f"{name}{n}" for n in range(values.shape[1])])
        frame.insert(0, "sample_id", ids)
        # Rows in another order than the samples, and every layer missing in a third of them.
        frame = frame[(np.arange(num_samples) + place) % 3 != 0].iloc[::-1]
        frame.to_csv(folder / f"{name}.csv", index=False)
    (folder / "cohort.yaml").write_text(
        "layers: {mg: {kind: composition}, rna: {kind: counts}, mb: {kind: intensity}}\n"
        "label: group\npositive: case\nsubject: subject_id\n"
    )
    return folder


@pytest.fixture(scope="session")
def use_cohort(tmp_path_factory):
    return write_use_cohort(tmp_path_factory.mktemp("use") / "cohort")


@pytest.fixture(scope="session")
def new_run(use_cohort, tmp_path_factory):
    """Trains a run for one epoch, with more settings if some are given."""

    def made(*assignments):
        folder = tmp_path_factory.mktemp("run")
        settings = load_config(assignments=["split.test_fraction=0.4"])
        prepare([use_cohort], folder / "shards", settings, CohortOptions())
        train(folder / "shards", folder / "run", assignments=[*TINY, *assignments])
        return folder / "run"

    return made


@pytest.fixture(scope="session")
def run(new_run):
    return new_run()
