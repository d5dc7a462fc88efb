"""The page in a real browser: Debian's chromium, driven by playwright."""

import shutil

import pytest
from PIL import Image

from benchmark.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
WIDTHS = (1400, 768, 390)
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((part) => {
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const found = parse(getComputedStyle(each).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const low = [], names = "h1,h2,h3,p,li,th,td,dt,dd,button,a,summary,label,select,figcaption";
  for (const element of document.querySelectorAll(names)) {
    if (!element.offsetParent || !element.textContent.trim()) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(paper(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) low.push([element.tagName, contrast, element.textContent.slice(0, 40)]);
  }
  return low;
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """Opens the page of rows; what its console says is an error of the test."""
    said, pages = [], []

    def open_page(rows, width=1400, **options):
        write_report(tmp_path, rows)
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


def column(page, title, table=0):
    """The shown cells of a column, of trained models and without seeds."""
    script = """([title, place]) => {
      const table = document.querySelectorAll("table.results")[place];
      const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
      const index = heads.findIndex((text) => text.startsWith(title));
      return [...table.tBodies[0].rows]
        .filter((row) => !row.classList.contains("seed") && !row.hidden)
        .map((row) => row.cells[index].hidden ? null : row.cells[index].textContent);
    }"""
    return page.evaluate(script, [title, table])


def numbers(cells):
    return [float(text.split()[0].replace(",", "")) for text in cells]


def test_tables_are_sorted_by_any_column(show, rows):
    page = show(rows)
    before = numbers(column(page, "KID"))
    assert before != sorted(before)
    page.get_by_role("button", name="KID ×1000 ↓").first.click()
    assert numbers(column(page, "KID")) == sorted(before)
    page.get_by_role("button", name="KID ×1000 ↓").first.click()
    assert numbers(column(page, "KID")) == sorted(before, reverse=True)
    page.get_by_role("button", name="Coverage ↑").first.click()
    found = numbers(column(page, "Coverage"))
    assert found == sorted(found, reverse=True)  # the best one first


def test_models_and_columns_are_hidden_and_shown(show, rows):
    page = show(rows)
    models = set(rows["model"]) & {text.strip() for text in column(page, "Model")}
    points = page.locator(".explorer circle.mark").count()
    gone = sorted(models)[0]
    page.get_by_role("button", name=gone, exact=True).click()
    assert not any(text.strip() == gone for text in column(page, "Model"))
    assert page.locator(".explorer circle.mark").count() < points
    page.get_by_role("button", name=gone, exact=True).click()
    assert page.locator(".explorer circle.mark").count() == points
    page.get_by_role("button", name="diversity", exact=True).click()
    assert set(column(page, "Coverage")) == {None}
    assert None not in column(page, "KID")


def test_seeds_unfold_under_their_line(show, seeds):
    page = show(seeds)
    button = page.locator("button.unfold").first
    assert page.locator("tr.seed:visible").count() == 0
    button.click()
    assert page.locator("tr.seed:visible").count() == 3
    assert "seed 10" in page.locator("tr.seed:visible").first.inner_text()
    button.click()
    assert page.locator("tr.seed:visible").count() == 0


def test_headers_explain_themselves_to_pointer_and_keyboard(show, rows):
    page = show(rows)
    head = page.get_by_role("button", name="Coverage ↑").first
    head.hover()
    assert page.locator("#tip").is_visible() and len(page.locator("#tip").inner_text()) > 40
    page.mouse.move(0, 0)
    assert not page.locator("#tip").is_visible()
    head.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


def test_charts_have_a_choice_of_axes_and_tooltips(show, rows):
    page = show(rows)
    explorer = page.locator(".explorer").first
    assert explorer.locator("circle.mark").count() == rows["sampler"].ne("").sum()
    explorer.locator("circle.mark").first.hover()
    assert "ms/image" in page.locator("#tip").inner_text()
    explorer.get_by_label("across").select_option("network_passes")
    assert "NFE" in explorer.locator("svg").get_attribute("aria-label")
    explorer.get_by_label("Show").select_option("radar")
    assert explorer.locator("svg polygon").count() > 4
    assert not explorer.get_by_label("across").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_scrolls_sideways_and_all_text_can_be_read(show, seeds, width, scheme):
    page = show(seeds, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []


def test_without_a_script_all_rows_and_no_controls_are_shown(show, seeds):
    page = show(seeds, java_script_enabled=False)
    assert not page.locator(".controls").first.is_visible()
    assert not page.locator(".explorer").first.is_visible()
    assert page.locator("table.results").first.is_visible()


def test_hostile_names_are_text(show, rows):
    rows.loc[0, "model"] = "</script><script>console.log('run')</script>"
    page = show(rows)
    assert any("<script>" in text for text in column(page, "Model"))


def test_a_picture_is_enlarged_by_a_click_and_by_the_keyboard(show, rows, tmp_path):
    folder = tmp_path / "runs/mnist/vae/0e0e0e0e/samplers/decoder"
    folder.mkdir(parents=True)
    Image.new("L", (60, 60)).save(folder / "grid.png")
    page = show(rows)
    button, viewer = page.locator(".pictures button.zoom").first, page.locator("dialog.viewer")
    assert not viewer.is_visible()
    button.scroll_into_view_if_needed()
    button.click()
    assert viewer.is_visible() and viewer.locator("img").count() == 1
    small, large = button.locator("img"), viewer.locator("img")
    assert large.bounding_box()["width"] > small.bounding_box()["width"]
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    viewer.click()
    assert not viewer.is_visible()
