"""The manifest: what is written comes back, and anything else is told apart."""

import hashlib
import json
from dataclasses import replace

import pytest

from immo_hpc.data.cohort import Roles
from immo_hpc.data.manifest import (
    Manifest,
    Pattern,
    ShardFile,
    features_digest,
    read_manifest,
    write_manifest,
)
from immo_hpc.errors import ShardError

MANIFEST = Manifest(
    features={"mg": ("s__é", "b"), "mb": ("c",)},
    dtype="float16",
    columns={"diagnosis": "string", "age": "double"},
    roles=Roles(label="diagnosis", positive="1", covariates=("age",)),
    shards=(
        ShardFile("00000.parquet", 2, 10, "0" * 64),
        ShardFile("00001.parquet", 1, 9, "a" * 64),
    ),
    patterns=(Pattern(("mg", "mb"), 2), Pattern(("mg",), 1)),
    splits={"test": 1, "train": 2},
    preparation={"mean": [0.1, 1e-300, None], "deep": {"list": [1, 2]}},
    config={"seed": 3, "split": {"by": "subject"}},
    source="cohorts/example",
    notices=("layer 'mg' was guessed to be a composition.",),
    created_by={"immo-hpc": "0.1.0"},
)


def test_what_is_written_comes_back(tmp_path):
    write_manifest(MANIFEST, tmp_path)
    found = read_manifest(tmp_path)
    assert found == MANIFEST
    assert list(found.features) == ["mg", "mb"], "the order of the layers is lost"
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_times_are_named_if_there_are_any(tmp_path):
    roles = Roles(subject="who", time="week", time_unit="weeks")
    timed = replace(MANIFEST, roles=roles)
    write_manifest(timed, tmp_path)
    assert read_manifest(tmp_path).roles == roles
    write_manifest(MANIFEST, tmp_path)
    assert "time" not in json.loads((tmp_path / "manifest.json").read_text())["roles"]


def test_counts_follow_from_it():
    assert MANIFEST.num_samples == 3
    assert (MANIFEST.num_measured("mg"), MANIFEST.num_measured("mb")) == (3, 2)


def test_digest_tells_names_and_order_apart():
    one = features_digest({"mg": ["a", "b"]})
    assert one == features_digest({"mg": ("a", "b")})
    others = ({"mg": ["b", "a"]}, {"mb": ["a", "b"]}, {"mg": ["a"], "b": []}, {"mg": ["a,b"]})
    assert one not in {features_digest(features) for features in others}


def test_unknown_keys_are_left_alone(tmp_path):
    """A later writer may add keys within version 1."""
    write_manifest(MANIFEST, tmp_path)
    rewrite(tmp_path, lambda content: content | {"compression": "zstd"})
    assert read_manifest(tmp_path) == MANIFEST


def rewrite(folder, change):
    """Change the content and sign it again, independently of the code under test."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["manifest_sha256"]
    content = change(content)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, r"expected format 'immo-shards', found 'other'"),
        ({"version": 2}, r"format version 2; this program reads version 1"),
        ({"version": None}, r"format version None"),
        ({"dtype": "float64"}, r"dtype: Input should be 'float32' or 'float16'"),
        ({"shards": []}, r"shards: .*at least 1"),
        ({"splits": {"train": 2}}, r"splits count 2 samples, the shards 3"),
        ({"patterns": [{"layers": ["rna"], "samples": 3}]}, r"unknown layers \['rna'\]"),
        ({"patterns": []}, r"patterns count 0 samples, the shards 3"),
        (
            {"shards": [{"name": "../x.parquet", "rows": 3, "bytes": 1, "sha256": "0" * 64}]},
            r"shards.0.name: String should match",
        ),
        (
            {"shards": [{"name": "a.parquet", "rows": -3, "bytes": 1, "sha256": "0" * 64}]},
            r"shards.0.rows",
        ),
        (
            {
                "shards": [
                    {"name": "a.parquet", "rows": 3, "bytes": 1, "sha256": "0" * 64},
                    {"name": "a.parquet", "rows": 0, "bytes": 1, "sha256": "0" * 64},
                ]
            },
            r"a shard is listed twice",
        ),
    ],
)
def test_wrong_content_is_refused(tmp_path, change, message):
    write_manifest(MANIFEST, tmp_path)
    rewrite(tmp_path, lambda content: content | change)
    with pytest.raises(ShardError, match=message) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)


def test_a_missing_key_is_named(tmp_path):
    write_manifest(MANIFEST, tmp_path)
    rewrite(tmp_path, lambda content: {k: v for k, v in content.items() if k != "roles"})
    with pytest.raises(ShardError, match=r"not a manifest of version 1: roles: Field required"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", r"expected a JSON object, found list"),
        (b"", r"not valid JSON"),
        (b'{"format": "\xff"}', r"not valid JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ShardError, match=message):
        read_manifest(tmp_path)


def test_every_truncation_is_refused(tmp_path):
    write_manifest(MANIFEST, tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ShardError, match="truncated or damaged"):
            read_manifest(tmp_path)


def test_a_changed_number_is_noticed(tmp_path):
    write_manifest(MANIFEST, tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("0.1,", "0.2,"))
    with pytest.raises(ShardError, match="does not match its own checksum"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["", "nowhere", "file"])
def test_a_place_without_manifest_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ShardError, match=r"found no manifest\.json in it"):
        read_manifest(tmp_path / name)


def test_a_preparation_that_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ShardError, match="cannot be written as JSON"):
        write_manifest(replace(MANIFEST, preparation={"mean": float("nan")}), tmp_path)
    assert not list(tmp_path.iterdir())
