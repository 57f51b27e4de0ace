"""Tables and resamples from answers made by hand."""

import json

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from immo_hpc.analysis.compare.calibration import (
    brier,
    calibration_error,
    calibration_slope,
)
from immo_hpc.analysis.compare.page import render_comparison
from immo_hpc.analysis.compare.registry import CONTENDERS
from immo_hpc.analysis.compare.resampled import auc_of, r2_of, subject_draws
from immo_hpc.analysis.compare.summary import summarise

NAMES = ("mean", "ridge", "immo")


def _label(generator, strength, number=20):
    y = np.arange(number) % 2
    scores = generator.normal(size=number) + strength * y
    probability = 1 / (1 + np.exp(-scores))
    subjects = [f"p{code}" for code in generator.permutation(40)[:number]]
    y = np.array([int(name[1:]) % 2 for name in subjects])
    scores = generator.normal(size=number) + strength * y
    return {
        "scored": number,
        "subject": subjects,
        "y": y.tolist(),
        "scores": scores[:, None].tolist(),
        "probability": probability.tolist(),
    }


def _items(seed=0, splits=4):
    generator = np.random.default_rng(seed)
    items = []
    for split in range(splits):
        draw = generator.integers(1000)
        for name, strength in zip(NAMES, (0.5, 0.0, 2.0), strict=True):
            label = {
                "classes": ["control", "case"],
                "setting": "C=1",
                "training_auc": 0.7,
                "parts": {"all": _label(np.random.default_rng(draw), strength)},
            }
            error = {
                "subject": ["p0", "p1", "p2"],
                "residual": [1.0, 2.0, {"mean": 3.0, "ridge": 2.0, "immo": 2.5}[name]],
                "total": [1.0, 2.0, 3.0],
                "num_values": 6,
                "pearson": 0.5,
                "spearman": None if name == "mean" else 0.4,
            }
            item = {
                "method": name,
                "missing": "none",
                "split": split,
                "seconds": {"learn": 1.0, "layers": 0.5},
                "peak_mb": 10.0 + split,
                "layers": {"mb": error},
            }
            items.append(item if name == "ridge" else {**item, "label": label})
    return items


def _summary(items):
    return summarise(
        items,
        [CONTENDERS[name] for name in NAMES],
        cohort="hand",
        label="disease",
        num_subjects=40,
        num_bootstrap=200,
        seed=0,
        notices=("a <notice>",),
    )


def test_tables_hold_means_over_splits():
    items = _items()
    result = _summary(items)
    scores = result.label_scores.set_index("method")
    for name in ("mean", "immo"):
        parts = [i["label"]["parts"]["all"] for i in items if i["method"] == name]
        values = [roc_auc_score(part["y"], np.ravel(part["scores"])) for part in parts]
        assert scores.loc[name, "auc"] == pytest.approx(np.mean(values))
        assert scores.loc[name, "auc_sd"] == pytest.approx(np.std(values, ddof=1))
        y, p = (np.concatenate([part[key] for part in parts]) for key in ("y", "probability"))
        assert scores.loc[name, "brier"] == pytest.approx(brier_score_loss(y, p))
    layers = result.imputation.set_index("method")
    assert layers.loc["ridge", "r2"] == pytest.approx(1 / 6)
    assert layers.loc["ridge", "rmse_ratio"] == pytest.approx(np.sqrt(5 / 6))
    assert layers.loc["ridge", "rmse"] == pytest.approx(np.sqrt(5 / 6))
    assert layers.loc["immo", "difference"] == pytest.approx(-0.5 / 6)
    assert layers["is_reference"].tolist() == [False, True, False]
    assert result.cost.set_index("method").loc["immo", "peak_mb"] == 13
    assert result.cost["seconds"].tolist() == [1.5] * 3
    json.dumps(result.to_dict(), allow_nan=False)


def test_words_say_when_a_simple_method_wins():
    result = _summary(_items())
    label, layer = result.verdicts
    assert "the best simple method is Mean fill" in label
    assert "IMMO" in label
    assert "better" in label
    assert "Ridge regression" in layer
    assert "and it wins" in layer


def test_words_do_not_call_a_draw_a_victory():
    items = _items()
    for item in items:
        if item["method"] == "immo":
            item["layers"]["mb"]["residual"] = [1.0, 2.0, 2.0]
    assert _summary(items).verdicts[1].endswith("(R² 0.167); IMMO does the same.")


def test_a_failed_fit_is_told_and_leaves_the_others_alone():
    items = _items()
    place = next(i for i, item in enumerate(items) if item["method"] == "immo")
    items[place] = {
        "method": "immo",
        "missing": "none",
        "split": items[place]["split"],
        "failed": "TrainingError: the loss is not finite",
    }
    result = _summary(items)
    assert result.failures["reason"].tolist() == ["TrainingError: the loss is not finite"]
    assert result.label_scores.set_index("method").loc["immo", "splits"] == 3
    page = render_comparison(result, "seed: 0")
    assert "the loss is not finite" in page


def test_the_page_holds_everything_and_nothing_from_outside():
    result = _summary(_items())
    page = render_comparison(result, "seed: 0")
    assert page == render_comparison(result, "seed: 0")
    assert "a &lt;notice&gt;" in page
    assert "<script" not in page
    assert page.count("<svg") == 2
    for name in NAMES:
        assert CONTENDERS[name].title in page


def test_a_method_differs_from_itself_by_nothing():
    answers = {split: _label(np.random.default_rng(split), 1.0) for split in range(3)}
    draws = subject_draws(list(answers.values()), 100, 0)
    own = auc_of(answers, draws)
    gap = own.minus(own)
    assert (gap.value, gap.lower, gap.upper) == (0, 0, 0)


def test_resamples_are_those_of_subjects_drawn_once_for_all_splits():
    answers = {split: _label(np.random.default_rng(split), 1.0) for split in range(2)}
    draws = subject_draws(list(answers.values()), 50, 0)
    resampled = auc_of(answers, draws).by_split
    for split, answer in answers.items():
        for number in (0, 17):
            weight = draws.drawn[number, draws.of(answer["subject"])]
            expected = roc_auc_score(answer["y"], np.ravel(answer["scores"]), sample_weight=weight)
            assert resampled[split][1][number] == pytest.approx(expected)


def test_r2_of_resamples_counts_subjects_as_often_as_they_were_drawn():
    answer = {"subject": ["a", "b"], "residual": [1.0, 4.0], "total": [2.0, 4.0]}
    draws = subject_draws([answer], 20, 1)
    value, resampled = r2_of({0: answer}, draws).by_split[0]
    assert value == pytest.approx(1 / 6)
    for row, said in zip(draws.drawn, resampled, strict=True):
        assert said == pytest.approx(1 - (row @ [1, 4]) / (row @ [2, 4]))


def test_calibration_of_true_probabilities_is_good_and_of_doubled_odds_is_not():
    generator = np.random.default_rng(0)
    odds = generator.normal(size=20000)
    y = (generator.random(20000) < 1 / (1 + np.exp(-odds))).astype(int)
    right, sure = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-2 * odds))
    assert calibration_slope(right, y) == pytest.approx(1, abs=0.05)
    assert calibration_slope(sure, y) == pytest.approx(0.5, abs=0.05)
    assert calibration_error(right, y) < 0.02 < calibration_error(sure, y)
    assert brier(right, y) < brier(sure, y)
    assert np.isnan(calibration_slope(np.full(4, 0.5), np.array([0, 1, 0, 1])))
