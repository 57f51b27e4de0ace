"""What cannot be used ends with one message: file, place, found, expected, what to do."""

import gzip
import re

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.cohort import Roles
from immo_hpc.data.frames import cohort_from_frames
from immo_hpc.data.labels import class_names, require_labels
from immo_hpc.data.read import read_cohort
from immo_hpc.errors import CohortError

HEALTHY = {
    "mg.tsv": "sample_id\ta\tb\ns1\t20\t80\ns2\t50\t50\n",
    "mb.csv": "sample_id,x,y\ns2,1000,3\ns3,5,\n",
    "samples.tsv": "sample_id\tlabel\tsubject_id\ns1\t0\tp1\ns2\t1\tp1\ns3\t1\tp2\n",
    "cohort.yaml": "layers:\n  mg: {kind: composition}\n  mb: {kind: intensity}\nlabel: label\n",
}
# Files to change (None: not there), and what the message must say, in order.
CASES = {
    "sample twice in a layer": (
        {"mg.tsv": "sample_id\ta\tb\ns1\t20\t80\ns2\t1\t99\ns1\t50\t50\n"},
        ["mg.tsv", "each sample_id once", "'s1' at 1, 3", "Keep one row"],
    ),
    "sample twice in the sample table": (
        {"samples.tsv": HEALTHY["samples.tsv"] + "s2\t1\tp1\n"},
        ["samples.tsv", "each sample_id once", "'s2' at 2, 4", "Keep one row"],
    ),
    "feature twice": (
        {"mg.tsv": "sample_id\ta\ta\ns1\t20\t80\n"},
        ["mg.tsv", "each column once", "'a' at 1, 2", "Rename or merge"],
    ),
    "text among numbers": (
        {"mg.tsv": "sample_id\ta\tb\ns1\t20\t80\ns2\t50\t<10\n"},
        ["mg.tsv", "line 3", "'s2'", "column 'b'", "expected a number", "'<10'", "leave the cell"],
    ),
    "decimal comma": (
        {"mg.tsv": "sample_id\ta\tb\ns1\t20\t8,5\n"},
        ["mg.tsv", "line 2", "'b'", "'8,5'"],
    ),
    "infinite": (
        {"mb.csv": "sample_id,x,y\ns2,1000,inf\ns3,5,\n"},
        ["mb.csv", "'s2'", "column 'y'", "found inf", "expected a number", "Leave the cell empty"],
    ),
    "beyond float32": (
        {"mb.csv": "sample_id,x,y\ns2,1000,1e300\ns3,5,\n"},
        ["mb.csv", "'s2'", "column 'y'", "found inf", "3.4e+38"],
    ),
    "negative in a composition": (
        {"mg.tsv": "sample_id\ta\tb\ns1\t20\t80\ns2\t-0.5\t50\n"},
        ["mg.tsv", "'s2'", "column 'a'", "found -0.5", "'composition'", "kind: continuous"],
    ),
    "negative counts": (
        {
            "mg.tsv": "sample_id\ta\tb\ns1\t-20\t-80\ns2\t5\t50\n",
            "cohort.yaml": "layers: {mg: {kind: counts}, mb: {}}",
        },
        ["mg.tsv", "'s1'", "column 'a'", "found -20, and 1 more", "'counts'"],
    ),
    "negative intensity": (
        {"mb.csv": "sample_id,x,y\ns2,1000,3\ns3,-5,\n"},
        ["mb.csv", "'s3'", "column 'x'", "found -5", "'intensity'"],
    ),
    "binary layer with another value": (
        {"cohort.yaml": "layers: {mg: {kind: binary}, mb: {}}"},
        ["mg.tsv", "'s1'", "column 'a'", "found 20", "expected 0 or 1"],
    ),
    "layer of other samples": (
        {"mg.tsv": "sample_id\ta\tb\nt1\t20\t80\nt2\t50\t50\n"},
        ["mg.tsv", "samples.tsv", "'s1'", "'t1'", "same sample_id", "--layers"],
    ),
    "sample without layer": (
        {"samples.tsv": HEALTHY["samples.tsv"] + "s4\t1\tp3\n"},
        ["samples.tsv", "mg, mb", "1 in none: 's4'", "unmeasured: drop"],
    ),
    "layer without any value": (
        {"mb.csv": "sample_id,x,y\ns2,,\ns3,,\n"},
        ["mb.csv", "expected measurements", "only missing", "--layers"],
    ),
    "label absent": (
        {"cohort.yaml": "label: lable\n"},
        ["samples.tsv", "'lable' (label)", "did you mean 'label'", "subject_id"],
    ),
    "subject absent": (
        {"cohort.yaml": "subject: subject\n"},
        ["samples.tsv", "'subject' (subject)", "did you mean 'subject_id'"],
    ),
    "batch absent": ({"cohort.yaml": "batch: site\n"}, ["samples.tsv", "'site' (batch)"]),
    "covariate absent": (
        {"cohort.yaml": "covariates: [age]\n"},
        ["samples.tsv", "'age' (covariates)", "there are: label, subject_id"],
    ),
    "one column for two roles": (
        {"cohort.yaml": "label: label\nsubject: label\n"},
        ["samples.tsv", "'label'", "label and as subject"],
    ),
    "empty file": ({"mg.tsv": ""}, ["mg.tsv", "expected a table", "empty file"]),
    "empty sample table": ({"samples.tsv": ""}, ["samples.tsv", "empty file"]),
    "header alone": ({"mg.tsv": "sample_id\ta\tb\n"}, ["mg.tsv", "rows below the header"]),
    "other separator": (
        {"mg.tsv": "sample_id,a,b\ns1,20,80\n"},
        ["mg.tsv", "separated by tabs", "sample_id,a,b", "Check the separator"],
    ),
    "line cut short": (
        {"mg.tsv": "sample_id\ta\tb\ns1\t20\t80\ns2\t50\n"},
        ["mg.tsv, line 3", "expected 3 cells", "found 2", "truncated"],
    ),
    "line cut short in the sample table": (
        {"samples.tsv": "sample_id\tlabel\ns1\t0\ns2\n"},
        ["samples.tsv, line 3", "expected 2 cells", "found 1"],
    ),
    "row without name": (
        {"mg.tsv": "sample_id\ta\tb\ns1\t20\t80\n\t50\t50\n"},
        ["mg.tsv", "sample_id in each row", "row 2"],
    ),
    "no names of rows": (
        {"mg.tsv": "a\tb\tc\n1.5\t20\t80\n2.5\t50\t50\n"},
        ["mg.tsv", "first column to name the rows", "1.5", "'a'"],
    ),
    "not UTF-8": ({"mg.tsv": b"sample_id\ta\xff\tb\ns1\t1\t2\n"}, ["mg.tsv", "UTF-8"]),
    "broken gz": (
        {"mg.tsv": None, "mg.tsv.gz": b"these bytes are no gzip"},
        ["mg.tsv.gz", "cannot be read", "Copy or write it again"],
    ),
    "truncated gz": (
        {"mg.tsv": None, "mg.tsv.gz": gzip.compress(HEALTHY["mg.tsv"].encode() * 99)[:-30]},
        ["mg.tsv.gz", "cannot be read", "truncated"],
    ),
    "truncated Parquet": (
        {"mg.tsv": None, "mg.parquet": b"PAR1" + bytes(200)},
        ["mg.parquet", "cannot be read", "truncated", "write it again"],
    ),
    "two files of one layer": ({"mg.csv": "sample_id,a\ns1,1\n"}, ["mg.csv", "one file", "mg.tsv"]),
    "layer without file": (
        {"cohort.yaml": "layers: {mgx: {}}"},
        ["mgx.parquet", "did you mean 'mg'", "there are: mb, mg"],
    ),
    "unknown key": (
        {"cohort.yaml": "lable: label\n"},
        ["cohort.yaml", "unknown key 'lable'", "did you mean 'label'", "layers, label, positive"],
    ),
    "unknown key of a layer": (
        {"cohort.yaml": "layers: {mg: {kinds: counts}}"},
        ["cohort.yaml", "'layers.mg.kinds'", "did you mean 'kind'", "kind, columns"],
    ),
    "unknown kind": (
        {"cohort.yaml": "layers: {mg: {kind: count}}"},
        ["cohort.yaml", "'layers.mg.kind'", "'counts'", "found 'count'"],
    ),
    "truth value": (
        {"cohort.yaml": "label: label\npositive: yes\n"},
        ["cohort.yaml", "'positive'", "found True", "in quotes"],
    ),
    "not YAML": ({"cohort.yaml": "layers: [mg\n"}, ["cohort.yaml", "expected YAML"]),
    "YAML of another shape": ({"cohort.yaml": "- mg\n"}, ["cohort.yaml", "expected keys", "list"]),
    "no table": (
        dict.fromkeys(["mg.tsv", "mb.csv", "cohort.yaml"]),
        ["expected at least one table", ".parquet"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_message(tmp_path, case):
    changes, wanted = CASES[case]
    for name, content in {**HEALTHY, **changes}.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(CohortError) as caught:
        read_cohort(tmp_path)
    message = str(caught.value)
    assert re.search(".*".join(map(re.escape, wanted)), message, re.DOTALL), message
    assert "\n" not in message
    assert message.endswith("."), message


def test_healthy_cohort_is_read(tmp_path):
    for name, content in HEALTHY.items():
        (tmp_path / name).write_text(content)
    assert len(read_cohort(tmp_path).samples) == 3


def test_truncated_parquet_of_a_real_table(tmp_path):
    frame = pd.DataFrame({"sample_id": [f"s{i}" for i in range(500)], "a": np.arange(500.0)})
    frame.to_parquet(tmp_path / "mg.parquet")
    whole = (tmp_path / "mg.parquet").read_bytes()
    (tmp_path / "mg.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CohortError, match=r"mg\.parquet: cannot be read; it may be truncated"):
        read_cohort(tmp_path)


def test_text_in_parquet_names_sample_and_column(tmp_path):
    frame = pd.DataFrame({"sample_id": ["s1", "s2"], "a": ["1", "high"], "b": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "mg.parquet")
    with pytest.raises(CohortError, match=r"mg\.parquet, sample 's2', column 'a'.*'high'"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("name", ["absent", "absent.h5mu"])
def test_missing_path(tmp_path, name):
    with pytest.raises(CohortError, match=f"{name}: expected a folder of tables.*nothing there"):
        read_cohort(tmp_path / name)


def test_a_table_is_no_cohort(tmp_path):
    (tmp_path / "mg.tsv").write_text(HEALTHY["mg.tsv"])
    with pytest.raises(CohortError, match=r"mg\.tsv: expected a folder.*Give the folder"):
        read_cohort(tmp_path / "mg.tsv")


def test_layer_that_is_not_there(tmp_path):
    (tmp_path / "mg.tsv").write_text(HEALTHY["mg.tsv"])
    with pytest.raises(CohortError, match=r"layer 'mb', found none.*there are: mg"):
        read_cohort(tmp_path, layers=["mg", "mb"])


def test_frames_are_checked_like_files():
    table = pd.DataFrame({"a": [0.5, 0.5], "b": [0.5, 0.5]}, index=["s1", "s1"])
    with pytest.raises(CohortError, match="layer 'mg': expected each sample_id once.*'s1' at 1, 2"):
        cohort_from_frames({"mg": table})
    text = pd.DataFrame({"a": [1.0, "low"]}, index=["s1", "s2"])
    with pytest.raises(CohortError, match="layer 'mg', sample 's2', column 'a'.*'low'"):
        cohort_from_frames({"mg": text})
    with pytest.raises(CohortError, match="kinds: no layer 'mgg'; did you mean 'mg'"):
        cohort_from_frames({"mg": table}, kinds={"mgg": "counts"})
    with pytest.raises(CohortError, match="kinds and roles.*'layers.mg.kind'.*found 'count'"):
        cohort_from_frames({"mg": table}, kinds={"mg": "count"})
    with pytest.raises(CohortError, match="layer 'a/b': expected a name that can name a file"):
        cohort_from_frames({"a/b": table})
    with pytest.raises(CohortError, match="at least one layer"):
        cohort_from_frames({})


LABELLED = pd.DataFrame({"label": ["0", "1", None], "who": ["p", "q", "q"]}, index=["a", "b", "c"])


@pytest.mark.parametrize(
    ("samples", "roles", "match"),
    [
        (LABELLED, Roles(), "no label column is named.*label, who"),
        (LABELLED, Roles(label="lable"), "no column 'lable'; did you mean 'label'"),
        (LABELLED.assign(label=None), Roles(label="label"), "none of the 3 samples carries"),
        (LABELLED.assign(label="1"), Roles(label="label"), r"one class only \('1', 3 samples\)"),
        (
            LABELLED.assign(who="p"),
            Roles(label="label", subject="who"),
            r"'who'.*one subject only \('p'\)",
        ),
        (LABELLED, Roles(label="label", positive="2"), "said to be '2', but the classes are 0, 1"),
    ],
)
def test_labels_that_cannot_be_learnt(samples, roles, match):
    with pytest.raises(CohortError, match=match):
        require_labels(samples, roles)


def test_labels_that_can_be_learnt():
    found = require_labels(LABELLED, Roles(label="label", subject="who", positive="1"))
    assert found.tolist() == ["0", "1", None]


@pytest.mark.parametrize(
    ("values", "positive", "expected"),
    [
        (["10", "9", "1"], None, ("1", "9", "10")),
        (["IBD", "nonIBD"], "IBD", ("nonIBD", "IBD")),
        (["IBD", "nonIBD"], None, ("IBD", "nonIBD")),
        (["Case", "control"], None, ("control", "Case")),
        (["1", "0"], "0", ("1", "0")),
    ],
)
def test_order_of_classes(values, positive, expected):
    assert class_names(pd.Series([*values, None]), Roles(positive=positive)) == expected
