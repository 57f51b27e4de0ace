"""The docs point at what is there, and the public names are those that were decided."""

import re
from pathlib import Path

import pytest

import immo_hpc
import immo_kernels

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("kernels/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [
        link
        for link in links
        if not link.startswith(("http:", "https:")) and not (page.parent / link).exists()
    ]
    assert not broken


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_public_names():
    assert set(immo_hpc.__all__) == {"IMMO", "__version__"}
    assert set(immo_kernels.__all__) == {
        "MASK_STREAM_VERSION",
        "LinearGradients",
        "MaskStream",
        "MaskedWmse",
        "dynamic_mask",
        "keep_layers",
        "keep_values",
        "linear_masked_wmse",
        "linear_masked_wmse_and_gradients",
        "masked_linear",
        "masked_linear_by_matrix",
        "masked_wmse",
        "masked_wmse_and_gradient",
        "release_memory",
    }
