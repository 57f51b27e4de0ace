"""The whole flow on the real cohorts, from tables to a report."""

import json

import pandas as pd
import pytest

pytestmark = pytest.mark.cohorts


@pytest.mark.parametrize(
    ("name", "layers", "num_samples"),
    [
        ("ibdmdb", ["mg", "mt", "mb"], 1663),
        ("ipop", ["prot", "gut16s", "mb", "cyto", "clin"], 1122),
    ],
)
def test_demo_runs_to_a_report(name, layers, num_samples, cohorts_dir, immo, tmp_path):
    out = tmp_path / "out"
    # Fewer epochs than the default: this is about the way, not about the figures.
    words = ["--cohort", cohorts_dir / name, "--set=train.epochs=15", "--json"]
    code, printed, err = immo("demo", out, *words)
    assert code == 0, err
    values = json.loads(printed)
    assert len(values["verdicts"]) == 2
    page = (out / "report.html").read_text()
    assert name in page
    assert page.count("<svg") >= 10
    assert pd.read_parquet(out / "latent.parquet").shape == (num_samples, 111)
    distances = pd.read_csv(out / "imputed" / "distance" / "samples.tsv", sep="\t", index_col=0)
    is_far = distances["is_far"]
    assert is_far.sum() <= 0.03 * num_samples
    for layer in layers:
        table = pd.read_parquet(out / "imputed" / f"{layer}.parquet").set_index("sample_id")
        assert len(table) == num_samples
        # What is missing is left so where a sample is far from the training data, and only there.
        assert not table[~is_far.loc[table.index]].isna().to_numpy().any()


def test_validate_prints_the_published_subsets(cohorts_dir, immo):
    code, printed, _ = immo("validate", cohorts_dir / "ibdmdb")
    assert code == 0
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    for row in (
        "mg & mt & mb 326 88 238",
        "mg & mt 796 195 601",
        "mt & mb 327 89 238",
        "mg & mb 470 123 347",
        "mg | mt 1588 414 1174",
        "mt | mb 1018 243 775",
        "mg | mb 1661 424 1237",
        "mg | mt | mb 1663 425 1238",
    ):
        assert row in rows, row
