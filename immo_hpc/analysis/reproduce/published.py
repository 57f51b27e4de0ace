"""What the IMMO paper reports, as frozen data; nothing here is ours.

The paper's short names of subsets are swapped: its own counts fit only bol = metagenome,
tra = metatranscriptome, bio = metabolome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from immo_hpc.analysis.reproduce.published_parts import (
    Hyperparameter,
    LabelRule,
    Masks,
    NamedFeature,
    Subset,
)
from immo_hpc.errors import UsageError

CohortName = Literal["ibdmdb", "ipop"]
# Names in `immo_hpc.analysis.classifiers.CLASSIFIERS`, in the order of the paper's Table 5.
CLASSIFIER_NAMES = ("svm", "gradient_boosting", "neural_net", "lda", "ridge", "random_forest")


@dataclass(frozen=True)
class Published:
    """One cohort of the paper.

    Attributes:
        name: Short name.
        title: Name for people.
        layers: Layers of the paper that the public tables hold, by their names there.
        absent: Layers of the paper that they do not hold, in words.
        label: How samples become the paper's two groups.
        subsets: Sets of samples, in the order of the paper's table.
        auc: By subset the AUC of each of `CLASSIFIER_NAMES` on the latent (Table 5).
        best_auc: Highest AUC that is reported, where no table is.
        search: The hyperparameters (Table 4); none where the paper searched elsewhere.
        num_trials: Rounds of the paper's search.
        masks: Dynamic against static mask (Fig. 2), if reported.
        latent_better: In how many subsets the latent was better than raw features, and of how
            many (Fig. 3 and 4).
        layers_left: AUC of the neural net by number of layers (Fig. 5).
        features: Features that the paper names by layer (Fig. 6), the largest first.
        count_reason: Why counts differ here, as a sentence.
        feature_reason: Why features may differ, as a sentence.
        notices: What cannot be reproduced, as sentences.
    """

    name: CohortName
    title: str
    layers: tuple[str, ...]
    label: LabelRule
    subsets: tuple[Subset, ...]
    absent: tuple[str, ...] = ()
    auc: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    best_auc: float | None = None
    search: tuple[Hyperparameter, ...] = ()
    num_trials: int = 50
    masks: Masks | None = None
    latent_better: tuple[int, int] | None = None
    layers_left: Mapping[int, float] = field(default_factory=dict)
    features: tuple[NamedFeature, ...] = ()
    count_reason: str = ""
    feature_reason: str = ""
    notices: tuple[str, ...] = ()

    def paper_auc(self, subset: str, classifier: str) -> float | None:
        """AUC in Table 5; None where there is none.

        Example:
            >>> IBDMDB.paper_auc("IBD_all", "svm")
            0.885
        """
        row = self.auc.get(subset)
        return None if row is None else row[CLASSIFIER_NAMES.index(classifier)]


_MG, _MT, _MB = "mg", "mt", "mb"

IBDMDB = Published(
    name="ibdmdb",
    title="IBDMDB, inflammatory bowel disease",
    layers=(_MG, _MT, _MB),
    label=LabelRule(
        columns=("label_ibd", "diagnosis"),
        negative=("0", "nonIBD"),
        positive=("1", "CD", "UC"),
        titles=("nonIBD", "IBD"),
    ),
    subsets=(
        Subset("IBD_common", (_MG, _MT, _MB), "all", 324, 88, 236),
        Subset("bol_tra_common", (_MG, _MT), "all", 795, 195, 600),
        Subset("tra_bio_common", (_MT, _MB), "all", 324, 88, 236),
        Subset("bol_bio_common", (_MG, _MB), "all", 470, 123, 347),
        Subset("tra_bol_all", (_MG, _MT), "any", 1588, 414, 1174),
        Subset("tra_bio_all", (_MT, _MB), "any", 1020, 243, 777),
        Subset("bol_bio_all", (_MG, _MB), "any", 1661, 425, 1236),
        Subset("IBD_all", (_MG, _MT, _MB), "any", 1664, 426, 1238),
    ),
    auc={
        "IBD_common": (0.962, 0.945, 0.952, 0.871, 0.906, 0.967),
        "bol_tra_common": (0.864, 0.868, 0.935, 0.849, 0.853, 0.832),
        "tra_bio_common": (0.962, 0.949, 0.960, 0.871, 0.906, 0.954),
        "bol_bio_common": (0.961, 0.926, 0.976, 0.937, 0.950, 0.946),
        "tra_bol_all": (0.911, 0.913, 0.960, 0.868, 0.869, 0.933),
        "tra_bio_all": (0.916, 0.904, 0.934, 0.892, 0.894, 0.936),
        "bol_bio_all": (0.882, 0.913, 0.947, 0.873, 0.873, 0.924),
        "IBD_all": (0.885, 0.912, 0.929, 0.859, 0.861, 0.932),
    },
    search=(
        Hyperparameter("latent_dim", "model.latent_dim", "32 to 128", "110", "110"),
        Hyperparameter("dropout_rate", "model.dropout", "0.1 to 0.5", "0.47329", "0.47329"),
        Hyperparameter(
            "initial_learning_rate", "train.learning_rate", "1e-4 to 1e-2", "0.00183", "0.00183"
        ),
        Hyperparameter("initial_p", "mask.values.p0", "0.3 to 0.9", "0.9", "0.75"),
        Hyperparameter("decay_rate", "train.lr_decay", "0.9 to 0.99", "0.99", "0.99"),
        Hyperparameter(
            "loss_weights",
            "loss.weights",
            "three choices, sum 1",
            "0.3, 0.3, 0.4 (metabolome highest)",
            "0.3, 0.3, 0.4",
        ),
    ),
    masks=Masks(dynamic_fall=0.615, static_fall=0.343, dynamic_epochs=72, static_epochs=24),
    latent_better=(6, 8),
    layers_left={3: 0.993, 2: 0.955, 1: 0.933},
    features=(
        NamedFeature(_MG, "Prevotella copri", ("prevotella", "copri"), rank=1, value=0.073),
        NamedFeature(_MG, "several Bacteroides", ("bacteroides",)),
        NamedFeature(_MG, "Faecalibacterium prausnitzii", ("faecalibacterium", "prausnitzii")),
        NamedFeature(_MT, "superoxide dismutase", ("superoxide dismutase",)),
        NamedFeature(_MT, "a peroxide reductase", ("peroxide reductase",)),
        NamedFeature(_MT, "arginine deiminase", ("arginine deiminase",)),
        NamedFeature(_MB, "lipids of the C18-negative method", ("c18-neg",), value=0.007),
    ),
    count_reason="The public tables are other releases and processings of the same study, with "
    "a few samples more or fewer.",
    feature_reason="The transcripts here are MetaCyc pathways where the paper names enzymes, and "
    "the metabolites carry no method in their names, so neither can be looked up; a mean of "
    "|attribution| depends on the scale of the classifier's score, so ranks and shares compare "
    "and values do not.",
)

IPOP = Published(
    name="ipop",
    title="Stanford iPOP, prediabetes",
    layers=("prot", "gut16s", "mb"),
    absent=("RNA-seq",),
    label=LabelRule(
        columns=("diabetes_class",),
        negative=("Control",),
        positive=("Prediabetic", "Diabetic"),
        titles=("control", "diabetes or prediabetes"),
    ),
    subsets=(
        Subset("iPOP_common", ("prot", "gut16s", "mb"), "all", 606, 49, 479, "RNA-seq"),
        Subset("prot_metab_common", ("prot", "mb"), "all", 903),
        Subset("prot_gut_common", ("prot", "gut16s"), "all"),
        Subset("gut_metab_common", ("gut16s", "mb"), "all"),
        Subset("iPOP_all", ("prot", "gut16s", "mb"), "any", 1140, None, None, "RNA-seq"),
    ),
    best_auc=0.898,
    count_reason="RNA-seq could not be had, and of the metabolome only the visits of people "
    "tested for insulin resistance that also have a 16S library are public.",
    notices=(
        "RNA-seq is not among the public tables: the subsets RNA + protein (805 samples in the "
        "paper) and RNA + metabolome (820) cannot be made, and 'common' and 'all' are over three "
        "layers instead of four.",
        "Participants of class 'Crossover' belong to neither group and carry no label here; "
        "49 + 479 of the paper's 606 common samples carry one.",
    ),
)
COHORTS: Mapping[str, Published] = {facts.name: facts for facts in (IBDMDB, IPOP)}


def published(name: str) -> Published:
    """The facts about a cohort by its name.

    Raises:
        UsageError: If there is none of this name.
    """
    if name not in COHORTS:
        message = f"'{name}': the paper's cohorts are {', '.join(COHORTS)}."
        raise UsageError(message)
    return COHORTS[name]
