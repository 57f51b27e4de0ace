"""Classification of held-out subjects: layers and latent as experts, and what stands beside.

The headline is fixed beforehand: the product of one expert a layer and one on the latent, whose
weights are learnt inside the training subjects, as all settings are. The test subjects are scored
once. The split by sample stands beside it as the inflated figure it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.baselines import late_fusion, layers_only
from immo_hpc.analysis.classifiers import CLASSIFIERS, LOGISTIC
from immo_hpc.analysis.fusion import Fusion, all_experts, fused, product_of
from immo_hpc.analysis.labels import Fold, LabelledSamples, labelled_samples
from immo_hpc.analysis.methods import Method, Places, on_matrix
from immo_hpc.analysis.results import ClassificationResult
from immo_hpc.analysis.scoring import HeldOut, curves, held_out, paired_difference, score
from immo_hpc.analysis.verdicts import classification_verdict
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import UsageError

_TITLE = "Product of experts, layers and latent"
_REFERENCE = "late_fusion"  # Fixed beforehand: choosing the best baseline on test is peeking.


def classify(
    latent: NDArray[np.float32],
    cohort: PreparedCohort,
    *,
    seed: int,
    num_bootstrap: int = 1000,
    classifiers: Sequence[str] | None = None,
) -> ClassificationResult:
    """Learn the label on the training subjects, score it on the test subjects.

    Classifiers are fitted to the labelled samples of the train and validation subjects.
    Settings and weights are learnt by cross-validation over whole subjects inside them.
    Intervals are the 95 % bootstrap intervals over test subjects, drawn within each class.

    Args:
        latent: Latent of the cohort's samples, ``(sample, latent)``.
        cohort: The prepared samples with split and label; also the raw features.
        seed: Seed of folds, resamples, the sample split and estimators that draw.
        num_bootstrap: Number of resamples.
        classifiers: Names in `CLASSIFIERS` to use on latent and raw features; None for all.
            The headline and the baselines are always there.

    Raises:
        CohortError: As for `labelled_samples`.
        UsageError: If a classifier is unknown or the latent is not of these samples.
    """
    names = _known(classifiers)
    _require_rows(latent, cohort)
    data = labelled_samples(cohort)
    folds = data.folds(seed)
    latent = np.asarray(latent, np.float32)
    experts = all_experts(latent, cohort, data, folds, seed)
    headline = product_of(experts, data, folds, seed, name="fusion", title=_TITLE, source="fused")
    methods = [headline, *_context(latent, cohort, data, folds, names, seed)]
    side = held_out(data, num_bootstrap, seed)
    test = data.index[side.test]
    fusion = fused(experts, data, folds, seed)
    said = fusion.scores(cohort.take(test), latent[test])
    probability = fusion.probability(said, side.subject)
    notices = (*data.notices, *_notices(data, folds))
    return _result(methods, headline, cohort, data, notices, side, probability)


def learn_fusion(latent: NDArray[np.float32], cohort: PreparedCohort, *, seed: int) -> Fusion:
    """The headline of `classify`, fitted to the training subjects, for new samples.

    Args:
        latent: Latent of the cohort the model was trained on, ``(sample, latent)``.
        cohort: That cohort.
        seed: As given to `classify`.

    Raises:
        CohortError, UsageError: As `classify`.
    """
    _require_rows(latent, cohort)
    data = labelled_samples(cohort)
    folds = data.folds(seed)
    experts = all_experts(np.asarray(latent, np.float32), cohort, data, folds, seed)
    return fused(experts, data, folds, seed)


def predict(
    fusion: Fusion,
    scores: NDArray[np.float64],
    subject: NDArray[np.int64],
    sample_ids: Sequence[str],
) -> pd.DataFrame:
    """Classes of new samples by a fitted fusion: all samples of a subject get its class.

    Args:
        fusion: Of `learn_fusion`.
        scores: What its experts say of the samples, of `Fusion.scores`,
            ``(sample, expert, column)``.
        subject: Subject code of each sample, ``(sample,)``.
        sample_ids: Their names, ``(sample,)``.

    Returns:
        Index ``sample_id``; columns ``predicted`` and ``probability_<class>``.
    """
    probability = fusion.probability(scores, subject)
    table = _probability_table(probability, fusion.classes)
    codes = probability.argmax(axis=1)
    table.insert(0, "predicted", [fusion.classes[code] for code in codes])
    return table.set_axis(pd.Index(list(sample_ids), name="sample_id"), axis=0)


def _context(
    latent: NDArray[np.float32],
    cohort: PreparedCohort,
    data: LabelledSamples,
    folds: list[Fold],
    names: Sequence[str],
    seed: int,
) -> list[Method]:
    z = latent[data.index]
    raw = np.nan_to_num(cohort.wide()[data.index])
    # The random forest on filled data is a baseline in its own right: it always stands there.
    on_raw = [*names, *({"random_forest"} - set(names))]
    kinds = CLASSIFIERS
    return [
        *(on_matrix(kinds[n], "latent", z, data, folds, seed, always_score=True) for n in names),
        *(on_matrix(kinds[n], "raw", raw, data, folds, seed) for n in on_raw),
        on_matrix(LOGISTIC, "raw", raw, data, folds, seed),
        *late_fusion(cohort, data, folds, seed),
        layers_only(cohort, data, folds, seed),
    ]


def _result(
    methods: Sequence[Method],
    headline: Method,
    cohort: PreparedCohort,
    data: LabelledSamples,
    notices: Sequence[str],
    side: HeldOut,
    probability: NDArray[np.float64],
) -> ClassificationResult:
    scored = [score(method, side) for method in methods]
    ours = next(item for item in scored if item.method is headline)
    reference = next(item for item in scored if item.method.name == _REFERENCE)
    rows = tuple(item.row for item in scored)
    difference = paired_difference(ours, reference)
    return ClassificationResult(
        label=str(cohort.roles.label),
        classes=data.classes,
        headline=headline.name,
        scores=rows,
        curves=(*curves(ours, side), *curves(reference, side)),
        difference=difference,
        counts=_counts(data),
        predictions=_predictions(cohort, data, side.test, ours.samples.scores, probability),
        verdict=classification_verdict(
            rows,
            (headline.name, headline.source),
            difference,
            num_subjects=side.drawn.shape[1],
            are_unseen=not data.num_shared,
        ),
        notices=tuple(notices),
        headline_source=headline.source,
    )


def _counts(data: LabelledSamples) -> pd.DataFrame:
    rows = []
    for side, held in (("training", data.training), ("test", ~data.training)):
        for code, name in enumerate(data.classes):
            chosen = held & (data.y == code)
            num_subjects = len(np.unique(data.subject[chosen]))
            rows.append((side, name, int(chosen.sum()), num_subjects))
    return pd.DataFrame(rows, columns=["side", "class", "samples", "subjects"])


def _score_table(scores: NDArray[np.float64], classes: Sequence[str]) -> pd.DataFrame:
    named = classes[1:] if len(classes) == 2 else classes
    return pd.DataFrame(scores, columns=[f"score_{name}" for name in named])


def _probability_table(probability: NDArray[np.float64], classes: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(probability, columns=[f"probability_{name}" for name in classes])


def _predictions(
    cohort: PreparedCohort,
    data: LabelledSamples,
    test: Places,
    scores: NDArray[np.float64],
    probability: NDArray[np.float64],
) -> pd.DataFrame:
    table = pd.concat(
        [_score_table(scores, data.classes), _probability_table(probability, data.classes)], axis=1
    )
    table.insert(0, "subject", cohort.subjects.to_numpy()[data.index[test]])
    table.insert(1, "label", [data.classes[code] for code in data.y[test]])
    ids = [cohort.sample_ids[place] for place in data.index[test]]
    return table.set_axis(pd.Index(ids, name="sample_id"), axis=0)


def _notices(data: LabelledSamples, folds: list[Fold]) -> tuple[str, ...]:
    notices = []
    if data.num_shared:
        notices.append(
            f"{data.num_shared} subjects stand on both sides, since the samples were split by "
            "sample: every figure here is inflated. Split by subject instead."
        )
    if not folds:
        notices.append(
            "A class has fewer than two training subjects: settings and the weights of experts "
            "could not be learnt by cross-validation; middle settings and equal weights stand."
        )
    pairs = np.unique(np.stack([data.subject, data.y]), axis=1)
    changing = int((np.bincount(pairs[0]) > 1).sum())
    if changing:
        notices.append(
            f"The label of {changing} subjects changes between visits: scores are averaged "
            "within subject and label."
        )
    return tuple(notices)


def _known(classifiers: Sequence[str] | None) -> list[str]:
    names = list(CLASSIFIERS) if classifiers is None else list(dict.fromkeys(classifiers))
    unknown = [name for name in names if name not in CLASSIFIERS]
    if unknown or not names:
        message = f"classifiers: found {unknown or 'none'}; choose from {', '.join(CLASSIFIERS)}."
        raise UsageError(message)
    return names


def _require_rows(latent: NDArray[np.float32], cohort: PreparedCohort) -> None:
    if latent.ndim != 2 or len(latent) != len(cohort.samples):
        message = (
            f"latent: expected one row for each of the {len(cohort.samples)} samples of the "
            f"cohort, found shape {latent.shape}. Embed this very cohort."
        )
        raise UsageError(message)
