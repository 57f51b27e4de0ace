"""Which layers of published tables are read, as what kind, and by which reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from immo_hpc.config import LayerKind
from immo_hpc.data.check import choices
from immo_hpc.data.description import CohortDescription, LayerDescription
from immo_hpc.data.formats.found import Source, as_format
from immo_hpc.data.formats.head import Head
from immo_hpc.data.formats.humann import read_humann
from immo_hpc.data.formats.metabolomics import read_metabolomics
from immo_hpc.data.formats.metaphlan import read_metaphlan
from immo_hpc.data.formats.sniff import FORMAT_TEXTS, Format
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError

_KINDS: dict[Format, LayerKind] = {
    "metaphlan": "composition",
    "humann": "composition",
    "hmp2_metabolomics": "intensity",
}
_OPTIONS = {"rank": "metaphlan", "stratified": "humann", "named_only": "hmp2_metabolomics"}


def used_layers(
    layers: Mapping[str, Source], folder: Path, description: CohortDescription
) -> dict[str, tuple[Source, LayerDescription]]:
    """Files and descriptions of the layers to read, kinds filled in by format.

    Args:
        layers: Files there are, by the name of the layer they would make.
        folder: Where they are, for messages.
        description: What ``cohort.yaml`` and the user say.

    Raises:
        CohortError: If a layer has no file or another format than is said, or an option is
            named for a format that does not have it.
    """
    plain = LayerDescription.model_construct()
    wanted = description.layers
    if wanted is None:
        wanted = dict.fromkeys(layers, plain)
    if not wanted:
        message = (
            f"{folder}: expected at least one layer to use, found none. There are: "
            f"{', '.join(layers) or 'no tables'}."
        )
        raise CohortError(message)
    used = {}
    for name, layer in wanted.items():
        if name not in layers:
            message = (
                f"{folder}: expected a file for layer '{name}', found none; "
                f"{choices(name, list(layers))}. Name its file with 'file:' in cohort.yaml, "
                "or correct the layers named there or with --layers."
            )
            raise CohortError(message)
        source = as_format(layers[name].path, layer.format, f"layer '{name}'")
        _check_options(name, layer, source)
        kind = layer.kind or _KINDS.get(source.format)
        used[name] = (source, layer.model_copy(update={"kind": kind}))
    return used


def _check_options(name: str, layer: LayerDescription, source: Source) -> None:
    for option, format_name in _OPTIONS.items():
        if getattr(layer, option) is not None and source.format != format_name:
            message = (
                f"{source.path}: '{option}:' of layer '{name}' in cohort.yaml is for files of "
                f"format {format_name}, and this is {FORMAT_TEXTS[source.format]}. Leave it out."
            )
            raise CohortError(message)


def read_layer(
    source: Source,
    layer: LayerDescription,
    name: str,
    notices: list[str],
    scratch: Path | None = None,
) -> Table:
    """Read a table of a published format, into ``scratch`` if given (see the reader of each)."""
    head = source.head
    assert isinstance(head, Head)
    if source.format == "metaphlan":
        rank = layer.rank or "species"
        return read_metaphlan(head, name, notices, rank=rank, scratch=scratch)
    if source.format == "humann":
        stratified = bool(layer.stratified)
        return read_humann(head, name, notices, stratified=stratified, scratch=scratch)
    named_only = layer.named_only is not False
    return read_metabolomics(head, name, notices, named_only=named_only, scratch=scratch)
