"""`immo compare` as a user types it."""

import json

import pandas as pd
import pytest

METHODS = "mean,product,ridge"


def test_it_writes_tables_json_and_a_page(immo, small_cohort, tmp_path):
    out = tmp_path / "out"
    words = [
        "--methods",
        METHODS,
        "--splits",
        2,
        "--missing",
        "none",
        "--missing",
        "block:0.5:test",
    ]
    code, printed, said = immo("compare", small_cohort, out, *words, "--json")
    assert code == 0, said
    values = json.loads(printed)
    assert values["num_splits"] == 2
    assert values["patterns"] == ["none", "block:0.5:test"]
    saved = json.loads((out / "comparison.json").read_text())
    assert saved["label_scores"] == values["label_scores"]
    table = pd.read_csv(out / "label.tsv", sep="\t")
    assert set(table["method"]) == {"mean", "product"}
    assert set(table["part"]) == {"all", "mg", "mb"}
    hidden = pd.read_csv(out / "imputation.tsv", sep="\t")
    assert set(hidden["method"]) == {"mean", "ridge"}
    assert set(hidden["task"]) == {"layers", "values"}
    assert "Ridge regression" in (out / "report.html").read_text()
    # Nothing is left beside the result.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort", "out"]
    code, _, said = immo("compare", small_cohort, out)
    assert code == 1
    assert "expected nothing there" in said


def test_one_split_has_no_spread_and_samples_without_people_are_said(immo, small_cohort, tmp_path):
    path = small_cohort / "samples.tsv"
    samples = pd.read_csv(path, sep="\t").drop(columns="subject_id")
    samples.to_csv(path, sep="\t", index=False)
    description = small_cohort / "cohort.yaml"
    description.write_text(description.read_text().replace("subject: subject_id\n", ""))
    out = tmp_path / "out"
    words = ["--methods", METHODS, "--splits", 1, "--tasks", "layers,values"]
    code, printed, said = immo("compare", small_cohort, out, *words)
    assert code == 0, said
    assert "cohort: 1 split of 36 people" in printed
    assert "nan" not in printed
    assert "±" not in printed
    assert said.count("every sample counts as a subject of its own") == 1
    assert "± \N{EN DASH}" not in (out / "report.html").read_text()


def test_it_goes_on_where_it_was(immo, small_cohort, tmp_path, monkeypatch):
    from immo_hpc.workflow import compare as flow

    out, words = tmp_path / "out", ["--methods", "mean", "--tasks", "values"]

    def refuse(*given):
        message = "no space"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(flow, "_save", refuse)
        with pytest.raises(RuntimeError):
            immo("compare", small_cohort, out, "--splits", 1, *words)
    work = tmp_path / ".out.compare"
    made = (work / "mean" / "none" / "0.json").stat().st_mtime_ns
    seen = []
    monkeypatch.setattr(
        flow, "_save", lambda *given: seen.append((work / "mean/none/0.json").stat())
    )
    code, _, said = immo("compare", small_cohort, out, "--splits", 2, *words)
    assert code == 0, said
    assert seen[0].st_mtime_ns == made


def test_answers_of_other_inputs_are_refused(immo, small_cohort, tmp_path):
    work = tmp_path / ".out.compare"
    work.mkdir()
    (work / "inputs.json").write_text(json.dumps({"files": [], "tasks": ["label"]}))
    code, _, said = immo("compare", small_cohort, tmp_path / "out", "--methods", "mean")
    assert code == 1
    assert "they differ in: files" in said


def test_without_a_label_the_rest_is_compared(immo, small_cohort, tmp_path):
    yaml = (small_cohort / "cohort.yaml").read_text()
    (small_cohort / "cohort.yaml").write_text(yaml.replace("label: disease\npositive: case\n", ""))
    code, printed, said = immo("compare", small_cohort, "--methods", "mean", "--splits", 1)
    assert code == 0, said
    assert "The label is not compared" in said
    assert "R²" in printed
    code, _, said = immo("compare", small_cohort, "--methods", "mean", "--tasks", "label")
    assert code == 1
    assert "--label" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--methods", "magic"], "choose from layers_only"),
        (["--tasks", "magic"], "choose from label, layers, values"),
        (["--tasks", "revisited"], "'revisited' is asked with --visits"),
        (["--missing", "nmar:0.3"], "mcar, mar, mnar, block, own"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(immo, small_cohort, tmp_path, words, told):
    code, _, said = immo("compare", small_cohort, tmp_path / "out", *words)
    assert code == 2
    assert told in said
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.compare").exists()
