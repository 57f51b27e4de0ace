"""The report in a real browser: desktop and phone, without network, nothing clipped."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from immo_hpc.analysis.report import write_report

selenium = pytest.importorskip("selenium", reason="selenium is in the dev extra")

from selenium import webdriver  # noqa: E402  (after the skip)
from selenium.common.exceptions import NoAlertPresentException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402

pytestmark = pytest.mark.browser

MAKERS = Path(__file__).parents[1] / "unit" / "analysis" / "report" / "conftest.py"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "disable-dev-shm-usage",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)
EVIL_TAG = "<script>alert(1)</script>"
EVIL_ATTRIBUTE = '"><img src=x onerror=alert(1)>'

# Every drawing with its size, the smallest text in it as shown, and texts outside the window.
MEASURE = """
return [...document.querySelectorAll('figure')].map(figure => {
  const svg = figure.querySelector('svg'), box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].filter(text => text.textContent.trim());
  const scale = box.width / svg.viewBox.baseVal.width;
  return {
    id: figure.id, width: box.width, height: box.height,
    shown: svg.checkVisibility(),
    caption: figure.querySelector('figcaption').innerText,
    texts: texts.length,
    smallest: Math.min(...texts.map(text => parseFloat(getComputedStyle(text).fontSize) * scale)),
    outside: texts.filter(text => {
      const own = text.getBoundingClientRect();
      return own.left < box.left - 3 || own.right > box.right + 3
        || own.top < box.top - 3 || own.bottom > box.bottom + 3;
    }).map(text => text.textContent),
  };
});
"""


@pytest.fixture(scope="module")
def makers():
    specification = importlib.util.spec_from_file_location("report_makers", MAKERS)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("chromium and chromedriver are absent: install them to look at the report")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(makers, tmp_path_factory):
    return write_report(makers.make_content(), tmp_path_factory.mktemp("report") / "report.html")


def visit(browser, path, width, height=844, dark=False):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_every_figure_is_seen_and_nothing_is_clipped(browser, page, width):
    visit(browser, page, width)
    figures = browser.execute_script(MEASURE)
    assert len(figures) == 15
    for figure in figures:
        assert figure["shown"], figure
        assert 280 <= figure["width"] <= 440, figure
        assert figure["height"] > 100, figure
        assert figure["texts"] > 2, figure
        assert figure["smallest"] >= 9, figure
        assert figure["outside"] == [], figure
        assert figure["caption"], figure


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_page_does_not_scroll_sideways(browser, page, width):
    visit(browser, page, width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    overflowing = """
        return [...document.querySelectorAll('.table')].filter(box =>
          box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== 'auto').length
    """
    assert browser.execute_script(overflowing) == 0


def test_console_is_quiet_and_nothing_is_fetched(browser, page):
    visit(browser, page, 1280)
    assert browser.get_log("browser") == []
    messages = [entry["message"] for entry in browser.get_log("performance")]
    sent = [text for text in messages if '"Network.requestWillBeSent"' in text]
    assert len(sent) >= 1  # the page itself: the log does record
    assert [text for text in sent if '"url":"http' in text] == []


def test_dark_page_has_light_words_in_its_drawings(browser, page):
    lightness = """
        const text = document.querySelector('#figure-roc text');
        return getComputedStyle(text).fill.match(/\\d+/g).slice(0, 3).map(Number)
    """
    visit(browser, page, 1280, dark=True)
    assert min(browser.execute_script(lightness)) > 180
    visit(browser, page, 1280)
    assert max(browser.execute_script(lightness)) < 80


def test_names_from_data_stay_words(browser, makers, tmp_path):
    content = makers.make_content(12)
    samples = content.samples.copy()
    samples.loc[samples["diagnosis"] == "IBD", "diagnosis"] = EVIL_ATTRIBUTE
    attribution = makers.make_attribution({"mg": [EVIL_TAG, EVIL_ATTRIBUTE, "plain"]})
    evil = makers.make_content(12, cohort=EVIL_ATTRIBUTE, samples=samples, attribution=attribution)
    visit(browser, write_report(evil, tmp_path / "evil.html"), 390)
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.dismiss()
    assert browser.execute_script("return document.querySelectorAll('script, img').length") == 0
    assert browser.execute_script("return document.querySelector('h1').innerText") == EVIL_ATTRIBUTE
    names = (
        "return [...document.querySelectorAll('#figure-features-1 text')].map(t => t.textContent)"
    )
    assert f"▲ {EVIL_TAG}" in browser.execute_script(names)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.get_log("browser") == []
