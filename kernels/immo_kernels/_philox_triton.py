"""What the Triton kernels share: Philox4x32-10, keep decisions, and tiles of a row.

A tile is (call, 8): each row of it is the eight neighbouring features of one call of Philox, so
a call is made once and its eight decisions travel as the bits of one integer. Nothing here is
bound to a vendor: no inline assembly, no warp size. Kernels are not annotated, as Triton reads
annotations as types of its own.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Ten rounds; counter and key in uint32 tensors or scalars, four words in uint32 back."""
    for _ in tl.static_range(10):
        # One product of 64 bits has both halves, and is one instruction where there is one.
        low = c0.to(tl.uint64) * 0xD2511F53
        high = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (high >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (low >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = high.to(tl.uint32)
        c3 = low.to(tl.uint32)
        k0 = tl.add(k0, 0x9E3779B9, sanitize_overflow=False)
        k1 = tl.add(k1, 0xBB67AE85, sanitize_overflow=False)
    return c0, c1, c2, c3


@triton.jit
def sample_words(counter0, uid, seed, epoch):
    """Words of the calls ``counter0``, uint32, of the samples ``uid``, int64."""
    uid = uid.to(tl.uint64)
    seed = seed.to(tl.uint64)
    return philox4x32(
        counter0,
        epoch.to(tl.uint32),
        uid.to(tl.uint32),
        (uid >> 32).to(tl.uint32),
        seed.to(tl.uint32),
        (seed >> 32).to(tl.uint32),
    )


@triton.jit
def _two_bits(word, threshold, PLACE: tl.constexpr):
    low = ((word & 0xFFFF).to(tl.int32) < threshold).to(tl.int32)
    high = ((word >> 16).to(tl.int32) < threshold).to(tl.int32)
    return (low << PLACE) | (high << (PLACE + 1))


@triton.jit
def kept_lanes(
    start,
    first_feature,
    uid,
    seed,
    epoch,
    threshold,
    ALIGNED: tl.constexpr,
    SHARED: tl.constexpr,
    CALLS: tl.constexpr,
):
    """Keep decisions of the tile at column ``start``, a multiple of 8: ``(CALLS, 8)``, bool.

    Where ``first_feature`` is no multiple of 8 (``ALIGNED`` False), the eight columns of a row
    belong to two calls: its own and that of the next row. The last row has no next and is wrong;
    such a tile is one row shorter (`immo_kernels._tiles`).
    """
    call = tl.arange(0, CALLS)
    lane = tl.arange(0, 8)
    first_call = ((first_feature >> 3) + (start >> 3)).to(tl.uint32)
    w0, w1, w2, w3 = sample_words(first_call + call.to(tl.uint32), uid, seed, epoch)
    bits = _two_bits(w0, threshold, 0) | _two_bits(w1, threshold, 2)
    bits |= _two_bits(w2, threshold, 4) | _two_bits(w3, threshold, 6)
    if not ALIGNED:
        following = tl.gather(bits, tl.minimum(call + 1, CALLS - 1), 0)
        bits = (bits | (following << 8)) >> (first_feature & 7).to(tl.int32)
    if SHARED:
        # Threads that hold parts of one row would each make its call; the compiler does not
        # make calls again to save this exchange of one integer a row (README.md).
        bits = tl.gather(bits, call, 0)
    return ((bits[:, None] >> lane[None, :]) & 1) != 0


@triton.jit
def entry(numbers, INDEX: tl.constexpr):
    """One of the integers packed by `immo_kernels._tiles.by_value`, int64."""
    return numbers[INDEX].to(tl.int64) >> 4


@triton.jit
def of_layer(values, layer, NUM_LAYERS: tl.constexpr):
    """Entry ``layer`` of a tuple as it is passed: an instruction a layer, not one a lane."""
    value = values[0]
    for i in tl.static_range(1, NUM_LAYERS):
        value = tl.where(layer == i, values[i], value)
    return value


@triton.jit
def tile_of_program(num_tiles, tile_starts, bounds, NUM_LAYERS: tl.constexpr, STEP: tl.constexpr):
    """Which tile a program works on.

    Returns:
        Row, int64; tile of the row; layer; column of the tile's first lane, a multiple of 8,
        which may lie before the layer; first lane that belongs to the layer, and the lane
        after the last.
    """
    program = tl.program_id(0)
    row = (program // num_tiles).to(tl.int64)
    tile = program % num_tiles
    layer = tile * 0
    first_tile = layer
    low = entry(bounds, 0)
    high = entry(bounds, 1)
    for i in tl.static_range(1, NUM_LAYERS):
        here = tile >= entry(tile_starts, i)
        layer = tl.where(here, i, layer)
        first_tile = tl.where(here, entry(tile_starts, i).to(tl.int32), first_tile)
        low = tl.where(here, entry(bounds, i), low)
        high = tl.where(here, entry(bounds, i + 1), high)
    start = ((low >> 3) + (tile - first_tile) * (STEP // 8)) * 8
    first = tl.maximum(low - start, 0).to(tl.int32)
    end = tl.minimum(high - start, STEP).to(tl.int32)
    return row, tile, layer, start, first, end


@triton.jit
def _lanes(CALLS: tl.constexpr):
    return tl.arange(0, CALLS)[:, None] * 8 + tl.arange(0, 8)[None, :]


# A mask that may change within a vector splits its access into single elements. Tiles that lie
# within their layer therefore have a mask by row, or none; only others have one by lane.


@triton.jit
def load_tile(ptr, first, end, other, STEP: tl.constexpr, CALLS: tl.constexpr):
    """The tile at ``ptr``, ``(CALLS, 8)``; ``other`` in lanes outside of the layer."""
    lane = _lanes(CALLS)
    if end - first == STEP:
        if STEP == 8 * CALLS:
            value = tl.load(ptr + lane)
        else:
            value = tl.load(ptr + lane, mask=tl.arange(0, CALLS)[:, None] < STEP // 8, other=other)
    else:
        value = tl.load(ptr + lane, mask=(lane >= first) & (lane < end), other=other)
    return value


@triton.jit
def store_tile(ptr, value, first, end, STEP: tl.constexpr, CALLS: tl.constexpr):
    """Write the lanes of a tile that belong to its layer."""
    lane = _lanes(CALLS)
    if end - first == STEP:
        if STEP == 8 * CALLS:
            tl.store(ptr + lane, value)
        else:
            tl.store(ptr + lane, value, mask=tl.arange(0, CALLS)[:, None] < STEP // 8)
    else:
        tl.store(ptr + lane, value, mask=(lane >= first) & (lane < end))
