"""How values lie in a shard's Parquet file, so that they can be read without decoding.

The values of a layer in a row group are one column chunk of one PLAIN, uncompressed page:
a header, the levels (which samples have the layer), and then nothing but the values of the
measured rows, to the last byte. Their place follows from the footer alone
(docs/adr/0012-direct-reading.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from immo_hpc.data.shards import schema

# Bytes of a row group in which all layers are measured. Half of it reads more slowly in random
# order, twice of it no faster, and more groups make better shuffles (docs/adr/0012).
GROUP_BYTES = 8 * 2**20
# Arrow starts another page after 20 000 rows, whatever the page size.
_GROUP_ROWS = 16_384
# No page reaches it, so that each column chunk is one page.
_PAGE_BYTES = 2**30
# What one page may hold before its values: a header and two bits a value at most.
_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ValuesChunk:
    """The column chunk of one layer's values in one row group.

    Attributes:
        column: Place of the column among the leaves of the file.
        offset: First byte of the chunk in the file.
        num_values: Values in it, absent ones among them.
        size: Bytes of the chunk; its last bytes are the values, if ``is_plain``.
        is_plain: True if the footer allows one page of values as they are in memory; the
            page's own header tells whether it is so (`immo_hpc.data.stream.page`).
    """

    column: int
    offset: int
    num_values: int
    size: int
    is_plain: bool


def rows_per_group(row_bytes: int) -> int:
    """Samples in a row group, whose values take ``row_bytes`` each if all layers are measured.

    Example:
        >>> rows_per_group(80_000), rows_per_group(8), rows_per_group(2**30)
        (104, 16384, 1)
    """
    return min(_GROUP_ROWS, max(1, GROUP_BYTES // row_bytes))


def writer_options(sample_columns: Sequence[str], layers: Iterable[str]) -> dict[str, Any]:
    """Options of `pyarrow.parquet.ParquetWriter` for a shard.

    Values hardly repeat: no codec shrinks them by a tenth, and each costs the reader more
    than that. A dictionary and statistics only cost. Page checksums tell where damage sits.

    Args:
        sample_columns: Columns that are about the samples.
        layers: Names of the layers.
    """
    scales = [schema.scale_column(layer) for layer in layers]
    return {
        # Columns that are not named are not compressed.
        "compression": dict.fromkeys([*sample_columns, *scales], "lz4"),
        "use_dictionary": [name for name in sample_columns if name != "sample_uid"],
        "write_statistics": list(sample_columns),
        "write_page_checksum": True,
        "data_page_size": _PAGE_BYTES,
    }


def values_columns(metadata: pq.FileMetaData, layers: Iterable[str]) -> dict[str, int]:
    """Place of each layer's values among the leaves of a file with at least one row group."""
    group = metadata.row_group(0)
    # Column, list, element: names of the last two differ between writers.
    places = {
        group.column(place).path_in_schema.rsplit(".", 2)[0]: place
        for place in range(metadata.num_columns)
    }
    return {layer: places[schema.values_column(layer)] for layer in layers}


def values_chunk(group: pq.RowGroupMetaData, column: int, value_bytes: int) -> ValuesChunk:
    """Where a layer's values of a row group are.

    Args:
        group: The row group.
        column: Place of the column among the leaves (`values_columns`).
        value_bytes: Bytes of the values: measured rows times features times item size.
    """
    chunk = group.column(column)
    before = chunk.total_compressed_size - value_bytes
    is_plain = (
        chunk.compression == "UNCOMPRESSED"
        and not chunk.has_dictionary_page
        and set(chunk.encodings) <= {"PLAIN", "RLE", "BIT_PACKED"}
        and 0 < before <= _HEADER_BYTES + chunk.num_values // 2
    )
    return ValuesChunk(
        column, chunk.data_page_offset, chunk.num_values, chunk.total_compressed_size, is_plain
    )
