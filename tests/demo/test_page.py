"""The page stands alone, and says what it was given."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from skimage.io import imread

from emds.demo.page import Account, Measure, Panels, Step, write_page
from emds.pages.overlay import FALSE, MISSING, RIGHT, match_objects, overlay_labels, overlay_truth
from emds.pages.render import data_uri, show_number

RNG = np.random.default_rng(0)


def panels(z: int, size: int = 24) -> Panels:
    grey = [RNG.integers(0, 256, (size, size), dtype=np.uint8) for _ in range(3)]
    truth = np.repeat(np.arange(1, 5), size // 4)[None].repeat(size, axis=0)
    return Panels(z, *grey, labels=truth.T.astype(np.uint64), truth=truth)


ACCOUNT = Account(
    summary="Cells & <noise>",
    image=[Measure("PSNR", 11.98765, 26.21449, "dB", "of 255 grey levels")],
    segmentation=[Measure("VOI", None, 1.234567, "bits", "0 is perfect")],
    how_scored="protocol strict, convention cremi",
    steps=[Step("Add noise", "emds simulate-noise raw.zarr", 1.25), Step("Run", "emds run", 2.5)],
    facts={"Checkpoint": "model.pt", "Credit": "FlyEM"},
)


class Reader(HTMLParser):
    """Collects elements, and checks that each is closed by its own tag."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(tmp_path):
    write_page(tmp_path / "index.html", [panels(3), panels(8)], ACCOUNT)
    return (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_page_refers_to_nothing_outside(page):
    reader = Reader(page)
    assert not re.search(r"https?:|//|url\(|@import", re.sub(r'src="data:[^"]*"', "", page))
    assert {tag for tag, _ in reader.elements}.isdisjoint({"script", "link", "iframe", "object"})
    for tag, attributes in reader.elements:
        assert "href" not in attributes
        if "src" in attributes:
            assert tag == "img"
            assert attributes["src"].startswith("data:image/png;base64,")


def test_every_image_decodes_and_has_a_description(page):
    images = [attributes for tag, attributes in Reader(page).elements if tag == "img"]
    assert len(images) == 10
    for attributes in images:
        content = base64.b64decode(attributes["src"].partition(",")[2], validate=True)
        decoded = imread(io.BytesIO(content))
        shape = (int(attributes["height"]), int(attributes["width"]))
        assert decoded.shape[:2] == shape
        assert len(attributes["alt"]) > 20
    assert len({attributes["alt"] for attributes in images}) == 10


def test_words_and_numbers_are_on_the_page(page):
    text = Reader(page).text
    for expected in (
        "Cells & <noise>",
        "11.99\u00a0dB",
        "26.21\u00a0dB",
        "1.235\u00a0bits",
        "protocol strict, convention cremi",
        "emds simulate-noise raw.zarr",
        "3.8 s",  # all steps together
        "FlyEM",
    ):
        assert expected in text, expected


def test_light_and_dark(page):
    assert "color-scheme: light dark" in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize(("value", "shown"), [(None, "∞"), (0.0, "0"), (9.99996, "10.00")])
def test_numbers_are_shown_to_four_digits(value, shown):
    assert show_number(value) == shown


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (1, 1, 3)])
def test_png_round_trip(shape):
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    kind, _, content = data_uri(image).partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(imread(io.BytesIO(base64.b64decode(content))), image)


def test_each_true_part_has_one_partner():
    #   truth          labels
    #   1 1 2 2 1      4 5 6 6 7     1 has two parts: 4 or 5 takes the left, 7 the right one;
    #   1 1 2 2 1      4 4 6 6 7     5 and 8 are left over
    #   1 1 2 2 1      4 4 8 6 7
    truth = np.array([[1, 1, 2, 2, 1]] * 3)
    labels = np.array([[4, 5, 6, 6, 7], [4, 4, 6, 6, 7], [4, 4, 8, 6, 7]])
    assert match_objects(labels, truth) == {4: 1, 6: 2, 7: 1}


def test_background_has_no_partner():
    assert match_objects(np.array([[0, 0, 3]]), np.array([[1, 1, 0]])) == {}


def test_a_perfect_segmentation_looks_like_the_truth():
    image = np.full((12, 12), 100, np.uint8)
    truth = np.zeros((12, 12), int)
    truth[:, :5], truth[:6, 5:], truth[6:, 5:] = 3, 8, 11
    painted = overlay_labels(image, truth * 7, truth)
    np.testing.assert_array_equal(painted, overlay_truth(image, truth))


def test_wrong_boundaries_have_their_own_colours():
    image = np.full((10, 40), 100, np.uint8)
    truth, labels = np.ones((2, 10, 40), int)
    truth[:, 10:] = 2
    labels[:, 30:] = 2
    painted = overlay_labels(image, labels, truth)
    assert (painted[:, 19] == MISSING).all(), "the truth ends here, the label does not"
    assert (painted[:, 59] == FALSE).all(), "the label ends here, the truth does not"
    labels = np.where(np.arange(40) < 12, 1, 2)[None].repeat(10, axis=0)
    painted = overlay_labels(image, labels, truth)
    assert (painted[:, 23] == RIGHT).all(), "off by two pixels is near enough"


def test_a_segment_without_partner_stays_grey():
    image = np.full((10, 20), 100, np.uint8)
    truth = np.ones((10, 20), int)
    labels = np.where(np.arange(20) < 14, 5, 6)[None].repeat(10, axis=0)
    painted = overlay_labels(image, labels, truth)
    assert len(set(painted[4, 2].tolist())) > 1
    assert painted[4, 36].tolist() == [100, 100, 100]
