"""An attribution as lines of text and as tables."""

from __future__ import annotations

import math

import pandas as pd

from immo_hpc.analysis.results import AttributionResult

_SIGNS = {1: "+", -1: "-"}


def attribution_text(result: AttributionResult) -> str:
    """The top features of each layer and what speaks for and against them, for a terminal."""
    parts = [_one(result)]
    if result.product is not None:
        parts.append(
            f"immo classify goes by the {result.product.explained}; inside the training people its "
            f"AUC by person is {_number(result.product.training_auc)}, that of the "
            f"{result.explained} {_number(result.training_auc)}."
        )
        parts.append(_one(result.product))
    return "\n\n".join(parts)


def attribution_tables(result: AttributionResult, prefix: str = "") -> dict[str, pd.DataFrame]:
    """Tables to write, by file name; indexed by what names a row."""
    keys = ["layer", "feature"]
    tables = {
        "features": result.features.set_index(keys),
        "layers": _layers(result).set_index("layer"),
        "subjects": result.subjects.set_index(["subject", "layer"]),
    }
    if result.permutation is not None:
        tables["permutation"] = result.permutation.features.set_index(keys)
    if result.exclusion is not None:
        tables["excluded"] = result.exclusion.features.set_index(keys)
        tables["with_and_without"] = result.exclusion.top.set_index(["layer", "rank"])
    tables = {f"{prefix}{name}": table for name, table in tables.items()}
    if result.product is not None:
        tables |= attribution_tables(result.product, f"{prefix}product_")
    return tables


def _layers(result: AttributionResult) -> pd.DataFrame:
    """Layers with their stability, agreement with permutation, and shares without exclusion."""
    table = result.layers
    for prefix, stability in (("", result.stability), ("retrained_", result.retrained)):
        if stability is not None:
            own = stability.layers[["layer", "index"]]
            table = table.merge(
                own.rename(columns={"index": f"{prefix}stability"}), on="layer", how="left"
            )
    if result.permutation is not None:
        own = result.permutation.layers[["layer", "num_tested", "spearman", "top_needed"]]
        table = table.merge(
            own.add_prefix("permutation_").rename(columns={"permutation_layer": "layer"}),
            on="layer",
            how="left",
        )
    if result.exclusion is not None:
        table = table.merge(result.exclusion.layers[["layer", "share_all"]], on="layer", how="left")
    return table


def _one(result: AttributionResult) -> str:
    lines = [
        f"label '{result.label}', {result.explained}: mean |attribution| by person, relative to "
        f"{result.baseline}"
    ]
    if result.held_out_auc is not None:
        lines.append(
            f"AUC by person: held out {result.held_out_auc}, inside training "
            f"{_number(result.training_auc)}"
        )
    shares = _layers(result).set_index("layer")
    for layer, rows in result.top_features.groupby("layer", sort=False):
        own = shares.loc[layer]
        if own["share"] == 0:
            lines.append(f"{layer}: not used")
            continue
        lines.append(
            f"{layer}: {own['share']:.0%} of the attribution "
            f"[{own['share_lower']:.0%}, {own['share_upper']:.0%}]{_of_layer(own)}"
        )
        lines += [
            f"  {_SIGNS.get(int(row.direction), ' ')} {row.mean_abs:.4f}  {row.feature}"
            f"{_of_feature(row)}"
            for row in rows.itertuples()
        ]
    lines.append(
        f"completeness error {result.completeness_error:.1%} (median "
        f"{result.completeness_median:.1%}, worst {result.completeness_max:.1%}); "
        f"{result.randomised.message}"
    )
    return "\n".join([*lines, *_exclusion(result)])


def _of_layer(own: pd.Series) -> str:
    told = []
    for column, what in (
        ("stability", "stability"),
        ("retrained_stability", "over networks"),
        ("permutation_spearman", "rank correlation with permutation"),
    ):
        if column in own and math.isfinite(own[column]):
            told.append(f"{what} {own[column]:.2f}")
    if "permutation_top_needed" in own and math.isfinite(own["permutation_top_needed"]):
        told.append(f"{own['permutation_top_needed']:.0f} of the top needed")
    return f"; {', '.join(told)}" if told else ""


def _of_feature(row: object) -> str:
    share = getattr(row, "top_share", None)
    if share is None:
        return ""
    again = getattr(row, "retrained_top_share", None)
    told = f"  (among the top in {share:.0%} of refits"
    return told + (")" if again is None else f", {again:.0%} of networks)")


def _exclusion(result: AttributionResult) -> list[str]:
    found = result.exclusion
    if found is None:
        return []
    names = ", ".join(f"{row.layer}:{row.feature}" for row in found.features.head(8).itertuples())
    more = ", ..." if len(found.features) > 8 else ""
    return [
        f"without {len(found.features)} excluded features ({names}{more}), which had "
        f"{found.features['share'].sum():.1%} of the attribution: AUC by person "
        f"{found.auc_without}, with them {found.auc_all}, difference {found.difference}"
    ]


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "unknown"
