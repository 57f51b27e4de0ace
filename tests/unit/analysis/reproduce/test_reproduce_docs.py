"""The page of the docs says what the committed JSON says."""

import json
from pathlib import Path

import pytest

from immo_hpc.analysis.reproduce.markdown import MARK, rendered
from immo_hpc.analysis.reproduce.published import COHORTS
from immo_hpc.analysis.reproduce.results import Reproduction

ROOT = Path(__file__).parents[4]
RESULTS = ROOT / "benchmarks" / "results"
FILES = [max(RESULTS.glob(f"reproduce-{name}-*.json")) for name in COHORTS]


@pytest.fixture(scope="module")
def committed():
    return [Reproduction.from_dict(json.loads(file.read_bytes()), file.name) for file in FILES]


def test_the_page_is_rendered_from_the_json(committed):
    page = (ROOT / "docs" / "reproduce.md").read_text()
    assert page.partition(MARK)[2].strip() == rendered(committed).strip()


def test_the_figures_are_those_of_the_cohorts(committed):
    ibdmdb, ipop = committed
    assert (ibdmdb.num_samples, ibdmdb.num_subjects) == (1663, 130)
    assert len(ibdmdb.auc) == 8 * 6
    assert ibdmdb.auc["sample"].mean() > ibdmdb.auc["subject"].mean() + 0.1
    assert len(ipop.auc) == 5 * 6
    for found in committed:
        assert "--quick" not in found.made["command"]
        text = json.dumps(found.to_dict())
        assert not {"/work", "/tmp", "/home"} & set(text.split('"'))
        assert "/tmp/" not in text
