from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emds.demo.phantom import make_phantom
from emds.errors import DataError, OutputExistsError, UsageError
from emds.geometry import Roi
from emds.io import MemoryVolume, open_volume
from emds.noise import Film, GaussianPoisson, add_noise, make_noise_model
from emds.stages.estimate_noise import _sample_boxes, estimate_noise


@pytest.fixture(scope="module")
def clean():
    """Return a phantom without its grain."""
    raw, _ = make_phantom((24, 160, 160), seed=1)
    return np.rint(gaussian_filter(raw.astype(np.float32), 1.2)).astype(np.uint8)


def noisy(clean, sigma=12, lam=0.5, seed=0):
    return MemoryVolume(add_noise(clean, GaussianPoisson(sigma=sigma, lam=lam), seed=seed))


class CountingVolume(MemoryVolume):
    def __init__(self, values):
        super().__init__(values)
        self.largest = self.total = 0

    def read(self, roi=None):
        values = super().read(roi)
        self.largest = max(self.largest, values.size)
        self.total += values.size
        return values


def test_a_phantom_shows_the_noise_that_was_added(clean):
    report = estimate_noise(noisy(clean))
    assert report.estimate.stack
    assert report.estimate.sigma.value == pytest.approx(12, rel=0.1)
    assert report.estimate.gain.value == pytest.approx(2, rel=0.1)


def test_the_printed_options_make_such_noise(clean):
    options = estimate_noise(noisy(clean)).options
    assert options[:2] == ("--type", "gaussian-poisson")
    assert (options[2], options[5]) == ("--sigma", "--lam")
    sigma, lam = float(options[3]), float(options[6])
    again = estimate_noise(noisy(clean, sigma, lam, seed=9)).estimate
    first = estimate_noise(noisy(clean)).estimate
    assert again.total.value == pytest.approx(first.total.value, rel=0.02)


def test_film_noise_gets_options_of_film(clean):
    film = Film(mode="unitmean", kernel=5)
    report = estimate_noise(MemoryVolume(add_noise(clean, film, seed=0)))
    names, values = report.options[::2], report.options[1::2]
    assert names == ("--type", "--mode", "--film-kernel", "--film-max")
    assert values[:3] == ("film", "unitmean", "5")
    assert float(values[3]) == pytest.approx(1.5, abs=0.05)
    assert any("looks like film noise" in note for note in report.notes)


@pytest.mark.parametrize(
    ("model", "kind"),
    [({"kind": "gaussian", "sigma": 20}, "gaussian"), ({"kind": "poisson", "lam": 0.2}, "poisson")],
)
def test_noise_of_one_part_gets_options_of_that_part(clean, model, kind):
    values = add_noise(clean, make_noise_model(**model), seed=3)
    options = estimate_noise(MemoryVolume(values)).options
    assert options[1] == kind
    (strength,) = set(options[3:])
    assert float(strength) == pytest.approx(model.get("sigma") or model["lam"], rel=0.05)


def test_an_inverted_image_says_so(clean):
    values = 255 - noisy(clean, sigma=4).values
    report = estimate_noise(MemoryVolume(values))
    assert report.estimate.gain.value == pytest.approx(-2, rel=0.1)
    assert any("inverted" in note for note in report.notes)


def test_sections_that_are_unlike_are_taken_alone(clean):
    shuffled = np.stack([np.roll(one, (31 * z, 53 * z), (0, 1)) for z, one in enumerate(clean)])
    report = estimate_noise(noisy(shuffled))
    assert not report.estimate.stack
    assert report.estimate.lengths[0] is None
    assert report.estimate.sigma.value == pytest.approx(12, rel=0.15)
    assert any("unlike" in note for note in report.notes)


def test_one_section_is_enough(clean):
    wide = np.concatenate(list(clean[::6]), axis=1)[None]
    estimate = estimate_noise(noisy(wide, sigma=20, lam=2)).estimate
    assert estimate.total.value == pytest.approx(np.sqrt(400 + wide.mean() / 2), rel=0.05)


def test_other_types_have_no_options_of_simulate_noise(clean):
    values = noisy(clean).values
    byte = estimate_noise(MemoryVolume(values))
    for dtype, factor in ((np.uint16, 100), (np.float32, 0.01)):
        report = estimate_noise(MemoryVolume((values * float(factor)).astype(dtype)))
        assert report.estimate.gain.value == pytest.approx(
            factor * byte.estimate.gain.value, rel=0.01
        )
        assert report.options == ()
        assert any("simulate-noise takes uint8" in note for note in report.notes)


def test_the_same_seed_gives_the_same_report(clean):
    volume = noisy(clean)
    one, two = (estimate_noise(volume, seed=4, voxels=200_000).to_dict() for _ in range(2))
    assert one == two
    assert json.loads(json.dumps(one)) == one
    assert estimate_noise(volume, seed=5, voxels=200_000).to_dict()["gain"] != one["gain"]


def test_a_sample_of_blocks_is_read_one_at_a_time(clean):
    volume = CountingVolume(noisy(clean).values)
    calls = []
    estimate_noise(volume, voxels=300_000, progress=lambda *call: calls.append(call))
    assert volume.largest <= 18 * 66 * 66
    looked_at = 16  # blocks are read twice
    assert volume.total <= 1.6 * 300_000 + looked_at * volume.largest
    assert calls[-1] == (len(calls), len(calls), "estimate-noise")


@pytest.mark.parametrize("shape", [(1, 300, 150), (24, 160, 160), (7, 70, 1000), (33, 65, 64)])
def test_blocks_cover_the_region_and_share_only_their_margins(shape):
    region = Roi((5, 6, 7), shape)
    boxes = _sample_boxes(region, region.size, np.random.default_rng(0))
    seen = np.zeros(shape, int)
    for box in boxes:
        assert region.contains(box)
        seen[box.relative_to(region.offset).slices()] += 1
    assert seen.min() == 1
    inner = [box.relative_to(region.offset) for box in boxes]
    margins = sum(box.size for box in inner) / region.size
    assert margins < 1.45


def test_a_volume_of_any_size_is_sampled():
    region = Roi((0, 0, 0), (200_000, 400_000, 400_000))
    boxes = _sample_boxes(region, 2**20, np.random.default_rng(0))
    assert 10 < len(boxes) < 20
    assert len(set(boxes)) == len(boxes)
    assert all(region.contains(box) for box in boxes)


def test_a_region_is_looked_at_alone(clean):
    values = noisy(clean, sigma=5).values
    values[12:] = noisy(clean, sigma=40).values[12:]
    report = estimate_noise(MemoryVolume(values), roi=Roi((0, 0, 0), (12, 160, 160)))
    assert report.estimate.sigma.value == pytest.approx(5, rel=0.25)
    assert report.to_dict()["roi"]["shape"] == [12, 160, 160]


def test_the_plot_shows_every_bin(clean, tmp_path):
    plot = tmp_path / "noise.svg"
    report = estimate_noise(noisy(clean), plot=plot)
    circles = ET.parse(plot).getroot().findall(".//{http://www.w3.org/2000/svg}circle")
    places = [(float(one.get("cx")), float(one.get("cy"))) for one in circles]
    curve = report.estimate.curve
    assert len(places) == curve.grey.size
    across, up = np.array(places).T
    assert np.corrcoef(across, curve.grey)[0, 1] > 0.9999
    assert np.corrcoef(up, curve.variance)[0, 1] < -0.9999
    with pytest.raises(OutputExistsError, match=r"noise\.svg exists"):
        estimate_noise(noisy(clean), plot=plot)
    estimate_noise(noisy(clean), plot=plot, overwrite=True)


def test_bad_requests_are_refused(clean, tmp_path):
    volume = noisy(clean)
    colours = MemoryVolume(np.zeros((3, 2, 64, 64), np.uint8), location="rgb.tif")
    with pytest.raises(DataError, match=r"rgb.tif has 3 channels"):
        estimate_noise(colours)
    with pytest.raises(DataError, match=r"not constant, but there are 0"):
        estimate_noise(MemoryVolume(np.full((8, 64, 64), 3, np.uint8)))
    with pytest.raises(UsageError, match="seed"):
        estimate_noise(volume, seed=-1)
    with pytest.raises(UsageError, match="voxels must be at least 1"):
        estimate_noise(volume, voxels=0)
    with pytest.raises(UsageError, match="offset must be a finite number"):
        estimate_noise(volume, offset=float("nan"))
    with pytest.raises(UsageError, match=r"\.svg"):
        estimate_noise(volume, plot=tmp_path / "noise.png")
    with pytest.raises(UsageError, match="inside memory"):
        estimate_noise(volume, roi=Roi((0, 0, 0), (25, 1, 1)))


def test_real_volumes_have_the_noise_they_are_known_for(em_data):
    with open_volume(em_data / "flyem_medulla.h5", role="raw") as volume:
        medulla = estimate_noise(volume).estimate
    # The filters that a robust Laplacian resembles see 3.3 grey levels; correlation hides the rest.
    assert medulla.total.value == pytest.approx(6.2, abs=0.5)
    assert medulla.lengths == pytest.approx((1.3, 1.3, 1.9), abs=0.2)
    assert medulla.gain.value < 0
    with open_volume(em_data / "vnc_larva_stack1.h5", role="raw") as volume:
        cord = estimate_noise(volume, voxels=2**21).estimate
    assert not cord.stack
    assert 4 < cord.total.value < 6
