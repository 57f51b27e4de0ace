"""A report's content as a cohort like IBDMDB would give it, small enough for a test."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from immo_hpc.analysis.report import ReportContent
from immo_hpc.analysis.results import (
    AttributionResult,
    ClassificationResult,
    ImputationResult,
    Interval,
    MethodScore,
    RandomisationCheck,
    RocCurve,
)
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Roles

LAYERS = ("mg", "mt", "mb")
FEATURES = {
    "mg": ["s__Prevotella_copri", "s__Faecalibacterium_prausnitzii", "s__Bacteroides_vulgatus"],
    "mt": ["PWY-5100: pyruvate fermentation to acetate and lactate II", "ARGSYN-PWY", "PWY-6305"],
    "mb": ["C18-neg: docosapentaenoate", "urobilin", "1-palmitoyl-2-oleoyl-glycerophosphocholine"],
}
TITLES = {
    "svm": "SVM (RBF)",
    "gbdt": "Gradient boosting",
    "mlp": "Neural net",
    "lda": "LDA (shrinkage)",
    "ridge": "Ridge",
    "rf": "Random forest",
    "elastic_net": "Elastic net",
}
BASELINES = {
    "late_fusion": "Late fusion: logistic regression per layer, averaged",
    "layers_only": "Which layers exist, nothing else",
}


def make_content(num_people=60, visits=5, seed=0, **changes):
    """Content of a cohort of ``num_people`` with some visits each; ``changes`` replace parts."""
    draw = np.random.default_rng(seed)
    person = np.repeat(np.arange(num_people), draw.poisson(visits - 1, num_people) + 1)
    size = len(person)
    ill = person % 4 != 0
    measured = draw.random((size, 3)) < [0.95, 0.5, 0.35]
    measured[~measured.any(axis=1), 0] = True
    samples = pd.DataFrame(
        {
            "diagnosis": np.where(ill, "IBD", "nonIBD"),
            "subject_id": [f"C{3000 + number}" for number in person],
            "site": np.array(["Cedars-Sinai", "Cincinnati", "MGH", "Emory"])[person % 4],
        },
        index=pd.Index([f"S{number:04d}" for number in range(size)], name="sample_id"),
        dtype=object,
    )
    centre = draw.normal(size=(num_people, 20))
    latent = (
        centre[person] + 0.4 * draw.normal(size=(size, 20)) + ill[:, None] * np.linspace(1, 0, 20)
    )
    side = np.where(person % 5 == 0, "test", np.where(person % 5 == 1, "validation", "train"))
    values = {
        "cohort": "IBD stool multi-omics",
        "samples": samples,
        "roles": Roles(label="diagnosis", positive="IBD", subject="subject_id", batch="site"),
        "layers": LAYERS,
        "measured": measured,
        "kinds": {"mg": "composition", "mt": "composition", "mb": "intensity"},
        "num_features": {"mg": 212, "mt": 186, "mb": 551},
        "split": side,
        "latent": latent.astype(np.float32),
        "metrics": make_metrics(),
        "classification": make_classification(),
        "imputation": make_imputation(),
        "attribution": make_attribution(),
        "config": ImmoConfig().to_yaml(),
        "seed": 7,
        "versions": {"python": "3.11.9", "torch": "2.13.0", "scikit-learn": "1.7.0"},
        "commit": "0123abc",
        "notices": ("mg: kind 'composition' was guessed because the rows sum to 100.",),
    }
    return ReportContent(**{**values, **changes})


def make_metrics(epochs=60):
    """Records of a run, one an epoch."""
    records = []
    for epoch in range(epochs):
        fall = 0.8 * np.exp(-epoch / 12)
        held_out = 0.85 + 0.3 * np.exp(-epoch / 8) + 0.002 * max(0, epoch - 40)
        records.append(
            {
                "epoch": epoch,
                "loss": 0.45 + fall,
                "validation": held_out,
                "keep": {name: min(0.95, 0.75 * 1.01**epoch) for name in LAYERS},
                "keep_layers": 0.7,
                "validation_values": {"mg": held_out - 0.1, "mt": held_out, "mb": held_out + 0.02},
                "validation_layers": {"mg": held_out + 0.1, "mt": held_out, "mb": held_out - 0.05},
                "seconds": 0.21,
            }
        )
    return records


def make_classification(latent=0.72, late_fusion=0.79, half=0.15, test_people=(4, 12), sample=0.95):
    """Scores around the given AUCs, with intervals of ``half`` the width on each side."""

    def score(name, title, source, value):
        interval = Interval(value, value - half, min(1.0, value + half))
        return MethodScore(name, title, source, "C=1", value, interval, interval, sample)

    step = 0.01
    scores = [
        score(name, title, source, latent - place * step - (0.05 if source == "raw" else 0))
        for source in ("latent", "raw")
        for place, (name, title) in enumerate(TITLES.items())
    ]
    scores += [
        score("late_fusion", BASELINES["late_fusion"], "baseline", late_fusion),
        score("layers_only", BASELINES["layers_only"], "baseline", 0.45),
    ]
    grid = np.linspace(0, 1, 51)
    curves = []
    for name, source, value in (
        ("svm", "latent", latent),
        ("late_fusion", "baseline", late_fusion),
    ):
        true_positive = grid ** (1 / value - 1)
        lower, upper = np.clip(true_positive - half, 0, 1), np.clip(true_positive + half, 0, 1)
        curves += [
            RocCurve(name, source, level, grid, true_positive, lower, upper)
            for level in ("subject", "sample")
        ]
    difference = latent - late_fusion
    return ClassificationResult(
        label="diagnosis",
        classes=("nonIBD", "IBD"),
        headline="svm",
        scores=tuple(scores),
        curves=tuple(curves),
        difference=Interval(difference, difference - half / 2, difference + half / 2),
        counts=pd.DataFrame(
            {
                "side": ["training", "training", "test", "test"],
                "class": ["nonIBD", "IBD"] * 2,
                "samples": [60, 180, 20, 60],
                "subjects": [11, 33, *test_people],
            }
        ),
        predictions=pd.DataFrame(),
        verdict=f"The latent reaches {latent:.2f}; late fusion reaches {late_fusion:.2f}.",
    )


def make_imputation(immo=0.12, ridge=0.10, half=0.03):
    """The same R² in every layer and task, but for the metabolites, where ridge is ahead."""
    rows = []
    for task in ("values", "layers"):
        for layer in LAYERS:
            behind = 0.05 if layer == "mb" else 0.0
            for method, r2 in (("immo", immo - behind), ("ridge", ridge), ("mean", 0.0)):
                rows.append(
                    {
                        "task": task,
                        "layer": layer,
                        "method": method,
                        "num_samples": 80,
                        "num_features": 200,
                        "num_values": 16000,
                        "rmse": (1 - r2) ** 0.5,
                        "r2": r2,
                        "r2_lower": r2 - half,
                        "r2_upper": r2 + half,
                        "pearson": max(r2, 0) ** 0.5,
                        "spearman": max(r2, 0) ** 0.5,
                    }
                )
    scores = pd.DataFrame(rows)
    best = scores.pivot_table(index=["task", "layer"], columns="method", values="r2", sort=False)
    wins = tuple(best.index[best["ridge"] > best["immo"]])
    gap = best["immo"] - best["ridge"]
    differences = pd.DataFrame({"r2": gap, "lower": gap - half / 3, "upper": gap + half / 3})
    return ImputationResult(
        scores=scores,
        features=pd.DataFrame(),
        differences=differences.reset_index(),
        hidden_share=0.1,
        ridge_wins=wins,
        verdict="Hidden values were compared.",
    )


def make_attribution(
    features=FEATURES, *, top=3, passed=True, classes=("nonIBD", "IBD"), error=0.01
):
    """Attributions of the given features, the first of each layer the largest."""
    rows = []
    for layer, names in features.items():
        for place, name in enumerate(names):
            rows.append(
                {
                    "layer": layer,
                    "feature": name,
                    "mean_abs": 0.08 / (place + 1),
                    "mean_signed": 0.01,
                    "direction": (1, -1, 0)[place % 3],
                    "share": 0.1 / (place + 1),
                    "rank_in_layer": place + 1,
                    "num_samples": 200,
                }
            )
    table = pd.DataFrame(rows).sort_values("mean_abs", ascending=False, ignore_index=True)
    table["rank"] = np.arange(1, len(table) + 1)
    shares = np.linspace(0.5, 0.2, len(features))
    layers = pd.DataFrame(
        {"layer": list(features), "num_samples": 200, "mean_abs": 0.1, "share": shares}
    ).assign(mean_signed=0.0)
    message = "Passed: the ranks correlate by 0.05 and 4% of the top features are the same."
    return AttributionResult(
        label="diagnosis",
        classes=classes,
        baseline="a sample with every feature at the training mean",
        top=top,
        features=table,
        layers=layers,
        subjects=pd.DataFrame(),
        values=pd.DataFrame(),
        completeness_error=error,
        randomised=RandomisationCheck(0.05, 0.04, 0.05, passed, message),
        training_auc=0.7,
    )


@pytest.fixture(scope="session")
def whole():
    """Content with every part."""
    return make_content()


@pytest.fixture
def content(whole):
    return whole


@pytest.fixture
def make():
    """The makers above, for tests that change a part."""
    return {
        "content": make_content,
        "metrics": make_metrics,
        "classification": make_classification,
        "imputation": make_imputation,
        "attribution": make_attribution,
        "replace": dataclasses.replace,
    }
