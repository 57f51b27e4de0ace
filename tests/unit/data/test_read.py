"""Reading folders of tables: every format gives the same cohort."""

import gzip
import shutil
import time

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.frames import cohort_from_frames
from immo_hpc.data.read import read_cohort, read_table
from immo_hpc.errors import CohortError

MG = pd.DataFrame(
    [[20.0, 80.0, 0.0], [50.5, 49.5, 0.0], [1.0, 98.0, 1.0]],
    index=["s1", "s2", "s3"],
    columns=["a", "b", "c"],
)
MB = pd.DataFrame(
    [[1000.0, np.nan], [5e6, 3.0], [70.0, 2.5]], index=["s2", "s3", "s4"], columns=["x", "y"]
)
SAMPLES = pd.DataFrame(
    {
        "label": ["0", "1", "1", "Unknown"],
        "subject_id": ["p1", "p1", "p2", "p3"],
        "age": [1, 2, 3, 4],
    },
    index=["s1", "s2", "s3", "s4"],
)
YAML = """
layers:
  mg: {kind: composition}
  mb: {kind: intensity}
label: label
positive: 1
subject: subject_id
covariates: [age]
"""


def save(frame, path):
    frame = frame.rename_axis("sample_id").reset_index()
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".parquet":
        frame.to_parquet(plain, index=False)
    else:
        frame.to_csv(plain, sep="\t" if plain.suffix == ".tsv" else ",", index=False)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()


def make(folder, *, suffix=".tsv", tables=None, samples=SAMPLES, yaml=YAML):
    folder.mkdir(exist_ok=True)
    for name, frame in ({"mg": MG, "mb": MB} if tables is None else tables).items():
        save(frame, folder / f"{name}{suffix}")
    if samples is not None:
        save(samples, folder / f"samples{suffix}")
    if yaml is not None:
        (folder / "cohort.yaml").write_text(yaml)
    return folder


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.samples, other.samples)
    assert one.roles == other.roles
    assert list(one.layers) == list(other.layers)
    for name, layer in one.layers.items():
        twin = other.layers[name]
        assert (layer.kind, layer.features) == (twin.kind, twin.features)
        np.testing.assert_array_equal(layer.values, twin.values)
        np.testing.assert_array_equal(layer.rows, twin.rows)


@pytest.mark.parametrize(
    "suffix", [".parquet", ".tsv", ".csv", ".parquet.gz", ".tsv.gz", ".csv.gz"]
)
def test_every_format_gives_the_same_cohort(tmp_path, suffix):
    cohort = read_cohort(make(tmp_path / "c", suffix=suffix))
    assert cohort.sample_ids == ["s1", "s2", "s3", "s4"]
    assert list(cohort.layers) == ["mg", "mb"]
    np.testing.assert_array_equal(cohort.layers["mb"].rows, [1, 2, 3])
    assert cohort.layers["mb"].values.dtype == np.float32
    np.testing.assert_array_equal(cohort.layers["mb"].values, MB.to_numpy(np.float32))
    np.testing.assert_array_equal(cohort.layers["mg"].values, MG.to_numpy(np.float32))
    assert cohort.labels.tolist() == ["0", "1", "1", None]
    assert cohort.samples["age"].tolist() == [1, 2, 3, 4]
    assert cohort.roles.positive == "1"
    assert any("'Unknown' counts as no label" in notice for notice in cohort.notices)


def test_rows_follow_the_sample_table_whatever_their_order(tmp_path):
    shuffled = make(tmp_path / "c", tables={"mg": MG.iloc[::-1], "mb": MB.iloc[[1, 2, 0]]})
    assert_same(read_cohort(shuffled), read_cohort(make(tmp_path / "d")))


def test_without_description_kinds_are_guessed_and_said(tmp_path):
    cohort = read_cohort(make(tmp_path / "c", yaml=None))
    assert {name: layer.kind for name, layer in cohort.layers.items()} == {
        "mb": "intensity",
        "mg": "composition",
    }
    assert cohort.roles.subject == "subject_id"
    assert cohort.roles.label is None
    said = " ".join(cohort.notices)
    assert "mg: kind 'composition' guessed" in said
    assert "'subject_id' is taken as the subject" in said


def test_without_sample_table_the_samples_are_those_of_the_tables(tmp_path):
    cohort = read_cohort(make(tmp_path / "c", samples=None, yaml=None))
    assert sorted(cohort.sample_ids) == ["s1", "s2", "s3", "s4"]
    assert cohort.labels is None


def test_arguments_go_over_the_description(tmp_path):
    folder = make(tmp_path / "c", tables={"mg": MG, "mb": MB, "mt": MG})
    cohort = read_cohort(folder, layers=["mt", "mb"], label="age", subject="label")
    assert list(cohort.layers) == ["mt", "mb"]
    assert cohort.layers["mb"].kind == "intensity"
    assert (cohort.roles.label, cohort.roles.subject) == ("age", "label")
    assert cohort.roles.positive is None  # It belonged to the other label.
    assert read_cohort(folder, positive="0").roles.positive == "0"


@pytest.mark.parametrize("samples", [SAMPLES, None])
def test_features_as_rows_are_recognised_and_turned(tmp_path, samples):
    yaml = None if samples is None else YAML
    turned = make(tmp_path / "c", tables={"mg": MG.T, "mb": MB}, samples=samples, yaml=yaml)
    upright = make(tmp_path / "d", samples=samples, yaml=yaml)
    cohort = read_cohort(turned)
    assert_same(cohort, read_cohort(upright))
    assert any("mg: the table holds features as rows" in notice for notice in cohort.notices)


def test_without_sample_table_two_ways_round_are_refused():
    one = pd.DataFrame(np.eye(2), index=["s1", "s2"], columns=["f1", "f2"])
    with pytest.raises(CohortError, match=r"cannot be told which of them are samples.*samples.tsv"):
        cohort_from_frames({"a": one, "b": one.T})


def test_column_patterns_choose_features_before_text_is_looked_at(tmp_path):
    table = MG.rename(columns={"a": "s__a", "b": "s__b"}).assign(c=["text", "more", "text"])
    folder = make(tmp_path / "c", tables={"mg": table}, samples=None, yaml=None)
    (folder / "cohort.yaml").write_text("layers: {mg: {columns: 's__*'}}")
    assert read_cohort(folder).layers["mg"].features == ("s__a", "s__b")
    (folder / "cohort.yaml").write_text("layers: {mg: {columns: 'g__*'}}")
    save(MG, folder / "mg.tsv")
    with pytest.raises(CohortError, match=r"mg\.tsv: expected columns that fit g__\*.*s.*a, b, c"):
        read_cohort(folder)


def test_tables_that_are_not_named_are_left_alone(tmp_path):
    folder = make(tmp_path / "c")
    (folder / "annotation.tsv").write_text("PeakID\tName\nx\tGlucose\n")
    (folder / "README.md").write_text("words")
    assert_same(read_cohort(folder), read_cohort(make(tmp_path / "d")))


def test_sample_of_an_unused_table_is_left_out_with_a_notice(tmp_path):
    extra = pd.DataFrame({"z": [1.0]}, index=["s5"])
    more = pd.concat([SAMPLES, pd.DataFrame({"label": ["0"], "subject_id": ["p9"]}, index=["s5"])])
    folder = make(tmp_path / "c", tables={"mg": MG, "mb": MB, "nares": extra}, samples=more)
    cohort = read_cohort(folder)
    assert cohort.sample_ids == ["s1", "s2", "s3", "s4"]
    assert any("not used (nares)" in notice and "'s5'" in notice for notice in cohort.notices)


def test_sample_without_any_layer_is_an_error_or_dropped(tmp_path):
    more = pd.concat([SAMPLES, pd.DataFrame({"label": ["0"], "subject_id": ["p9"]}, index=["s5"])])
    folder = make(tmp_path / "c", samples=more)
    with pytest.raises(CohortError, match=r"samples\.tsv.*1 in none: 's5'.*unmeasured: drop"):
        read_cohort(folder)
    (folder / "cohort.yaml").write_text(YAML + "unmeasured: drop\n")
    cohort = read_cohort(folder)
    assert cohort.sample_ids == ["s1", "s2", "s3", "s4"]
    assert any("1 samples have no layer and were dropped" in n for n in cohort.notices)


def test_rows_without_sample_and_rows_without_value_are_said(tmp_path):
    table = pd.concat([MG, pd.DataFrame({"a": [100.0], "b": [0.0], "c": [0.0]}, index=["other"])])
    table.loc["s2"] = np.nan
    cohort = read_cohort(make(tmp_path / "c", tables={"mg": table, "mb": MB}))
    np.testing.assert_array_equal(cohort.layers["mg"].rows, [0, 2])
    said = " ".join(cohort.notices)
    assert "mg: 1 rows have no sample" in said
    assert "'other'" in said
    assert "mg: 1 rows hold no value and count as not measured ('s2')" in said


def test_feature_without_any_value_is_dropped_with_a_notice(tmp_path):
    cohort = read_cohort(make(tmp_path / "c", tables={"mg": MG.assign(d=np.nan), "mb": MB}))
    assert cohort.layers["mg"].features == ("a", "b", "c")
    assert any("1 features hold no value" in n and "'d'" in n for n in cohort.notices)


@pytest.mark.parametrize("marker", ["", "NA", "NaN", "nan", "N/A", "NULL"])
def test_missing_markers(tmp_path, marker):
    file = tmp_path / "mg.tsv"
    file.write_text(f"sample_id\ta\tb\ns1\t1\t{marker}\ns2\t {2.5} \t3\n")
    np.testing.assert_array_equal(read_table(file).values, [[1, np.nan], [2.5, 3]])


def test_spellings_of_text_tables(tmp_path):
    file = tmp_path / "mg.tsv"
    plain = read_table_of(file, "sample_id\ta\tb\ns1\t1\t2\n007\t3\t4\n")
    assert plain.sample_ids == ("s1", "007")
    for text in (
        "\ufeff#SampleID\ta\tb\r\ns1\t1\t2\r\n007\t3\t4\r\n",  # byte order mark, other name
        "a\tb\ns1\t1\t2\n007\t3\t4\n",  # R's write.table
        '\n\ta\tb\n"s1"\t1\t2\n\n007\t3\t4',  # blank lines, quotes, no last newline
    ):
        table = read_table_of(file, text)
        assert (table.sample_ids, table.features) == (plain.sample_ids, plain.features), text
        np.testing.assert_array_equal(table.values, plain.values)


def read_table_of(file, text):
    file.write_text(text, newline="")
    return read_table(file)


def test_parquet_types_and_saved_index(tmp_path):
    file = tmp_path / "mg.parquet"
    frame = pd.DataFrame(
        {"i": [1, 2], "b": [True, False], "t": ["1.5", "NA"], "n": [None, None], "d": [1e300, 0.5]},
        index=pd.Index(["s1", "s2"]),
    )
    frame.to_parquet(file)
    table = read_table(file)
    assert table.sample_ids == ("s1", "s2")
    expected = [[1, 1, 1.5, np.nan, np.inf], [2, 0, np.nan, np.nan, 0.5]]
    np.testing.assert_array_equal(table.values, np.array(expected, dtype=np.float32))


def test_sample_table_forms(tmp_path):
    samples = SAMPLES.assign(
        label=[1.0, 0.0, 1.0, np.nan],
        subject_id=["p1", None, "p2", "p3"],
        week=[0.5, np.nan, 2, 3],
        site=[" MGH ", "NA", "Emory", ""],
    )
    cohort = read_cohort(make(tmp_path / "c", suffix=".parquet", samples=samples))
    assert cohort.labels.tolist() == ["1", "0", "1", None]
    assert cohort.samples["site"].tolist() == ["MGH", None, "Emory", None]
    np.testing.assert_array_equal(cohort.samples["week"], [0.5, np.nan, 2, 3])
    assert cohort.subjects.tolist() == ["p1", "s2", "p2", "p3"]
    assert any("1 samples name no subject" in notice for notice in cohort.notices)
    text = read_cohort(make(tmp_path / "d", suffix=".csv", samples=samples))
    assert text.labels.tolist() == ["1.0", "0.0", "1.0", None]
    assert text.roles.positive == "1.0"  # 'positive: 1' means the same class.


def test_new_samples_without_label_are_read(tmp_path):
    cohort = read_cohort(make(tmp_path / "c", samples=None, yaml="layers: {mb: {kind: intensity}}"))
    assert cohort.roles.label is None
    assert len(cohort.samples) == 3


def test_wide_text_is_read_at_speed(tmp_path):
    values = np.round(np.random.default_rng(0).normal(size=(60, 10_000)), 4)
    frame = pd.DataFrame(values, index=[f"s{i}" for i in range(60)]).add_prefix("f")
    save(frame, tmp_path / "mg.tsv")
    start = time.perf_counter()
    table = read_table(tmp_path / "mg.tsv")
    assert time.perf_counter() - start < 10  # About 0.6 s; a reader by cell takes far longer.
    np.testing.assert_array_equal(table.values, values.astype(np.float32))


@pytest.mark.cohorts
@pytest.mark.parametrize(
    ("name", "samples", "layers"),
    [
        ("ibdmdb", 1663, {"mg": 1585, "mt": 799, "mb": 546}),
        ("ipop", 1122, {"prot": 945, "gut16s": 855, "mb": 441, "cyto": 955, "clin": 961}),
        ("citeseq_pbmc", 1372, {"rna": 1372, "adt": 1372}),
    ],
)
def test_real_cohorts(cohorts_dir, name, samples, layers):
    cohort = read_cohort(cohorts_dir / name)
    assert len(cohort.samples) == samples
    assert {layer.name: len(layer.rows) for layer in cohort.layers.values()} == layers
    assert cohort.measured().any(axis=1).all()


@pytest.mark.cohorts
@pytest.mark.parametrize("name", ["ibdmdb", "ipop", "citeseq_pbmc"])
def test_guessed_kinds_of_real_cohorts(cohorts_dir, tmp_path, name):
    described = read_cohort(cohorts_dir / name)
    folder = tmp_path / name
    shutil.copytree(cohorts_dir / name, folder)
    folder.chmod(0o755)
    (folder / "cohort.yaml").chmod(0o644)
    names = ", ".join(layer for layer in described.layers if layer != "gut16s")  # nested ranks
    (folder / "cohort.yaml").unlink()
    guessed = read_cohort(folder, layers=names.split(", "))
    for layer in guessed.layers.values():
        assert layer.kind == described.layers[layer.name].kind, layer.name
