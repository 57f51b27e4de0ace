"""`immo explain`: stability, permutation, exclusions and retrained networks, as typed."""

import json

import pandas as pd
import pytest

from immo_hpc.errors import CohortError

SETTINGS = [
    "--set=train.epochs=3",
    "--set=model.latent_dim=6",
    "--set=model.encoder_dims=[12]",
    "--set=model.decoder_dims=[12]",
]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run on the simulated cohort."""
    import sys

    from immo_hpc.cli import main

    folder = tmp_path_factory.mktemp("simulated")
    for words in (
        ["simulate", folder / "cohort", "--subjects", "30", "--visits", "3"],
        ["prepare", folder / "cohort", folder / "shards"],
        ["train", folder / "shards", folder / "run", *SETTINGS],
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["immo", *map(str, words)])
            main()
        assert not ended.value.code, words
    return folder


def test_every_table_is_written(immo, simulated, tmp_path):
    words = ["--out", tmp_path / "out", "--top", 3, "--permute", 4]
    code, out, err = immo("explain", simulated / "run", *words)
    assert code == 0, err
    assert "among the top in" in out
    assert "immo classify goes by the product of experts on layers and latent" in out
    assert "AUC by person: held out" in out
    names = ["features", "layers", "subjects", "permutation"]
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "out").glob("*.csv")}
    assert set(tables) == {*names, *(f"product_{name}" for name in names)}
    for prefix in ("", "product_"):
        features, layers = tables[f"{prefix}features"], tables[f"{prefix}layers"]
        assert features["top_share"].between(0, 1).all()
        assert (layers["share_lower"] <= layers["share"] + 1e-9).all()
        assert (layers["share"] <= layers["share_upper"] + 1e-9).all()
        assert {"stability", "permutation_spearman"} <= set(layers)
        per_layer = tables[f"{prefix}permutation"].groupby(["layer", "chosen"]).size()
        assert (per_layer <= 4).all()
    values = json.loads((tmp_path / "out" / "attribution.json").read_text())
    assert "all z-scores 0" in values["baseline"]
    assert values["product"]["stability"]["num_refits"] == 10


def test_excluded_features_are_left_out_and_compared(immo, simulated, tmp_path, monkeypatch):
    from immo_hpc.workflow import report

    def left_out(opened):
        message = "Not what this is about, and slow."
        raise CohortError(message)

    monkeypatch.setattr(report, "classified", left_out)
    monkeypatch.setattr(report, "imputed", left_out)
    code, printed, err = immo("explain", simulated / "run", "--json", "--permute", -1)
    assert code == 0, err
    first = json.loads(printed)["features"][0]
    file = tmp_path / "exclude.txt"
    file.write_text(f"# what stands first\n{first['layer']}:{first['feature']}\n")
    words = ["--exclude", file, "--permute", -1, "--out", tmp_path / "out"]
    code, out, err = immo("explain", simulated / "run", *words)
    assert code == 0, err
    assert "without 1 excluded features" in out
    assert "difference" in out
    kept = pd.read_csv(tmp_path / "out" / "features.csv")
    assert first["feature"] not in kept.query(f"layer == '{first['layer']}'")["feature"].tolist()
    gone = pd.read_csv(tmp_path / "out" / "product_excluded.csv")
    assert gone["feature"].tolist() == [first["feature"]]
    assert (tmp_path / "out" / "with_and_without.csv").exists()
    page = tmp_path / "report.html"
    code, _, err = immo("report", simulated / "run", page, "--exclude", file)
    assert code == 0, err
    text = page.read_text()
    assert "With and without excluded features" in text
    assert "How far to believe it" in text


def test_mistyped_exclusions_are_refused(immo, simulated, tmp_path):
    file = tmp_path / "exclude.txt"
    for words in (
        ["explain", simulated / "run", "--out", tmp_path / "out"],
        ["prepare", simulated / "cohort", tmp_path / "shards"],
        ["report", simulated / "run", tmp_path / "report.html"],
    ):
        file.write_text("no_such_feature\n")
        code, _, err = immo(*words, "--exclude", file)
        assert code == 1
        assert "'no_such_feature'" in err
        file.write_text("# nothing\n")
        code, _, err = immo(*words, "--exclude", file)
        assert code == 2
        assert "found none besides comments" in err
    assert [path.name for path in tmp_path.iterdir()] == ["exclude.txt"]


def test_shards_without_features(immo, simulated, tmp_path):
    columns = pd.read_parquet(next((simulated / "cohort").glob("mb.*"))).columns
    file = tmp_path / "exclude.txt"
    file.write_text(f"mb:{columns[1]}\n")
    code, printed, err = immo(
        "prepare", simulated / "cohort", tmp_path / "s", "--exclude", file, "--json"
    )
    assert code == 0, err
    counts = json.loads(printed)["layers"]["mb"]
    code, printed, _ = immo("prepare", simulated / "cohort", tmp_path / "all", "--json")
    every = json.loads(printed)["layers"]["mb"]
    assert counts["features"] == every["features"]
    assert counts["kept"] in (every["kept"] - 1, every["kept"])
    manifest = (tmp_path / "s" / "manifest.json").read_text()
    assert json.loads(manifest)["config"]["preparation"]["exclude"] == [f"mb:{columns[1]}"]


def test_suggestions_are_a_file(immo, simulated):
    code, out, err = immo("explain", simulated / "run", "--suggest-exclusions")
    assert code == 0
    assert out.startswith("# Features whose names look like drugs")
    assert "for you to decide" in err
    code, out, _ = immo("explain", simulated / "run", "--suggest-exclusions", "--json")
    assert json.loads(out)["suggested"] == []


def test_networks_are_trained_anew_and_gone_on_with(immo, simulated, tmp_path, monkeypatch):
    from immo_hpc.workflow.explaining import retrain

    words = ["explain", simulated / "run", "--out", tmp_path / "out", "--permute", -1, "--refit", 2]
    whole = retrain.retrain

    def ended(cohort, config, number, **more):
        if len(list(tmp_path.glob(".out.explain/network-*.json"))) == 1:
            raise KeyboardInterrupt
        return whole(cohort, config, number, **more)

    monkeypatch.setattr(retrain, "retrain", ended)
    assert immo(*words)[0] != 0
    made = [path.name for path in (tmp_path / ".out.explain").glob("network-*.json")]
    assert len(made) == 1
    trained = []
    monkeypatch.setattr(
        retrain, "retrain", lambda c, g, n, **m: trained.append(n) or whole(c, g, n, **m)
    )
    code, out, err = immo(*words)
    assert code == 0, err
    assert len(trained) == 1
    assert "of networks)" in out
    table = pd.read_csv(tmp_path / "out" / "features.csv")
    assert set(table["retrained_top_share"]) <= {0, 0.5, 1}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_work_of_another_command_is_not_gone_on_with(immo, simulated, tmp_path):
    work = tmp_path / ".out.explain"
    work.mkdir()
    (work / "inputs.json").write_text(json.dumps({"run": "elsewhere"}))
    code, _, err = immo("explain", simulated / "run", "--out", tmp_path / "out", "--refit", 2)
    assert code == 1
    assert "differ in: run" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--refit", 1], "at least 2 networks"),
        (["--baseline", "zero"], "found 'zero'; choose from mean, class"),
    ],
)
def test_wrong_wishes_are_refused(immo, simulated, words, told):
    code, _, err = immo("explain", simulated / "run", *words)
    assert code == 2
    assert told in err
