"""Features whose names look like drugs or technical artefacts: a suggestion, no more.

A drug tells who is treated, not who is ill; a row of unmapped reads tells how the sequencing
went. Whether a feature is left out is for the user to decide, so nothing is excluded by this list.
It is short and hand-made: drugs given for inflammatory bowel disease with their metabolites,
other drugs often found in stool and blood, and rows that reference tools add. Names of features
are compared without regard to case, spaces and signs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_IBD = "drug for inflammatory bowel disease, or its metabolite"
_ANTIBIOTIC = "antibiotic"
_OTHER = "other drug, or its metabolite"
_EXPOSURE = "tobacco or sweetener"

# Parts of names, in letters and digits alone.
_PARTS: Mapping[str, re.Pattern[str]] = {
    _IBD: re.compile(
        "mesalamine|mesalazine|5aminosalicyl|acetylmesal|acetyl5asa|propionyl5asa|"
        "butyryl5asa|olsalazine|balsalazide|aminobenzoylbetaalanine|sulfasalazine|"
        "sulphasalazine|sulfapyridine|sulphapyridine|azathioprine|mercaptopurine|thioguanine|"
        "tioguanine|thiouric|methotrexate|prednis|budesonide|beclometasone|tofacitinib|"
        "upadacitinib|filgotinib|ciclosporin|cyclosporin|tacrolimus|loperamide|diphenoxylate"
    ),
    _ANTIBIOTIC: re.compile(
        "metronidazole|ciprofloxacin|levofloxacin|rifaximin|vancomycin|amoxicillin|clavulan|"
        "ampicillin|penicillin|cefalexin|cephalexin|doxycycline|minocycline|azithromycin|"
        "clarithromycin|erythromycin|clindamycin|trimethoprim|sulfamethoxazole|nitrofurantoin"
    ),
    _OTHER: re.compile(
        "acetaminophen|paracetamol|4aminophenol|ibuprofen|naproxen|diclofenac|celecoxib|"
        "aspirin|acetylsalicyl|omeprazole|pantoprazole|lansoprazole|ranitidine|famotidine|"
        "gabapentin|pregabalin|metformin|glipizide|atenolol|metoprolol|propranolol|"
        "lisinopril|losartan|olmesartan|valsartan|amlodipine|furosemide|hydrochlorothiazide|"
        "triamterene|warfarin|atorvastatin|simvastatin|rosuvastatin|gemfibrozil|fenofibr|"
        "allopurinol|oxypurinol|cetirizine|cetrizine|loratadine|fexofenadine|diphenhydramine|"
        "montelukast|oxymetazoline|pseudoephedrine|dextromethorphan|sertraline|fluoxetine|"
        "citalopram|venlafaxine|bupropion|trazodone|amitriptyline|quetiapine|carbamazepine|"
        "lamotrigine|topiramate|levetiracetam|oxycodone|hydrocodone|tramadol|morphine|"
        "quinine|lidocaine"
    ),
    _EXPOSURE: re.compile("cotinine|acesulfame|saccharin|sucralose|aspartame"),
}
# Pathways and genes named after a drug are the microbes' own.
_OF_GENES = re.compile("pwy|pathway|biosyn|degrad|resist")
# Abbreviations, which must stand alone.
_WORDS = re.compile(
    r"(?<![a-z0-9])(?:5-?asa|6-?mp|6-?mmp|6-?tgn?|azt|mtx)(?![a-z0-9])", re.IGNORECASE
)
_ARTEFACTS = (
    (
        re.compile(r"(?:^|\|)un(?:classified|mapped|integrated|known|assigned|grouped)\b", re.I),
        "reads or peaks that could not be named",
    ),
    (re.compile(r"internal[ _.-]?standard", re.I), "internal standard"),
    (re.compile(r"[ _-]d\d{1,2}$|^d\d{1,2}-|^(?:13C|15N)\d*[ _-]"), "isotope-labelled standard"),
    (
        re.compile(r"(?:^|[ _.-])(?:blank|solvent|qc|spike[ _-]?in|ercc)(?:$|[ _.-])", re.I),
        "blank, quality control or spike-in",
    ),
)


@dataclass(frozen=True)
class Suspect:
    """A feature that looks like a drug or an artefact, and why."""

    layer: str
    feature: str
    reason: str


def suspects(features: Mapping[str, Sequence[str]]) -> tuple[Suspect, ...]:
    """Features whose names are on the list, layer by layer in their order.

    Example:
        >>> found = suspects({"mb": ["urate", "Sulfapyridine", "5-ASA"], "mg": ["UNMAPPED"]})
        >>> [(one.layer, one.feature) for one in found]
        [('mb', 'Sulfapyridine'), ('mb', '5-ASA'), ('mg', 'UNMAPPED')]
    """
    return tuple(
        Suspect(layer, name, reason)
        for layer, names in features.items()
        for name in names
        if (reason := _reason(name))
    )


def exclusion_text(found: Sequence[Suspect]) -> str:
    """Suspects as a file for ``--exclude``, with the reasons as comments."""
    lines = [
        "# Features whose names look like drugs or technical artefacts: a suggestion. Remove the",
        "# lines of those that shall stay, and give the file to --exclude.",
        *(f"{one.layer}:{one.feature}  # {one.reason}" for one in found),
    ]
    return "\n".join(lines)


def _reason(name: str) -> str:
    bare = re.sub(r"[^a-z0-9]", "", name.casefold())
    for reason, parts in _PARTS.items():
        if parts.search(bare) and not _OF_GENES.search(bare):
            return reason
    if _WORDS.search(name):
        return _IBD
    return next((reason for pattern, reason in _ARTEFACTS if pattern.search(name)), "")
