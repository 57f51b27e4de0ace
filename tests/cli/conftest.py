"""A small cohort as a user would have it, and a way to type commands."""

import sys

import numpy as np
import pandas as pd
import pytest

from immo_hpc.cli import main

NUM_SUBJECTS = 12
VISITS = 3
YAML = """\
layers:
  mg: {kind: composition}
  mb: {kind: intensity}
label: disease
positive: case
subject: subject_id
"""
# Small enough to train in a second.
TINY = [
    "--set=train.epochs=3",
    "--set=model.latent_dim=4",
    "--set=model.encoder_dims=[8]",
    "--set=model.decoder_dims=[8]",
]


def write_small_cohort(folder, seed=0):
    """Two layers as CSV, 12 people with 3 visits each; every third sample lacks mb."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    people = [f"P{n:02d}" for n in range(NUM_SUBJECTS)]
    samples = pd.DataFrame(
        {
            "sample_id": [f"{person}V{visit}" for person in people for visit in range(VISITS)],
            "subject_id": np.repeat(people, VISITS),
            "disease": np.repeat(["case", "control"] * (NUM_SUBJECTS // 2), VISITS),
        }
    )
    shift = np.repeat([1.0, 0.0] * (NUM_SUBJECTS // 2), VISITS)[:, None]
    raw = np.exp(rng.normal(size=(len(samples), 6)) + shift * np.linspace(-1, 1, 6))
    mg = pd.DataFrame(100 * raw / raw.sum(1, keepdims=True), columns=[f"s{i}" for i in range(6)])
    mb = pd.DataFrame(
        np.exp(rng.normal(8, 1, size=(len(samples), 5)) + shift),
        columns=[f"m{i}" for i in range(5)],
    )
    mg.insert(0, "sample_id", samples["sample_id"])
    mb.insert(0, "sample_id", samples["sample_id"])
    samples.to_csv(folder / "samples.tsv", sep="\t", index=False)
    mg.to_csv(folder / "mg.csv", index=False)
    mb[np.arange(len(mb)) % 3 != 0].to_csv(folder / "mb.csv", index=False)
    (folder / "cohort.yaml").write_text(YAML)
    return folder


@pytest.fixture(scope="session")
def tiny():
    return TINY


@pytest.fixture
def small_cohort(tmp_path):
    return write_small_cohort(tmp_path / "cohort")


@pytest.fixture
def immo(monkeypatch, capsys):
    """Type a command; get (exit code, stdout, stderr)."""

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["immo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return typed


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folder with cohort, shards and run of the small cohort."""
    folder = tmp_path_factory.mktemp("trained")
    write_small_cohort(folder / "cohort")
    for words in (
        ["prepare", folder / "cohort", folder / "shards"],
        ["train", folder / "shards", folder / "run"],
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["immo", *map(str, words), *TINY])
            main()
        assert not ended.value.code
    return folder
