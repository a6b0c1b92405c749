"""How good is the network on held-out sections? The judge of `emds train`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from emds.config import TrainConfig
from emds.errors import DataError
from emds.geometry import Roi
from emds.io.padding import reflected
from emds.io.volume import MemoryVolume, Volume
from emds.metrics import Protocol, evaluate_protocols, psnr, ssim
from emds.networks.intensity import Intensity
from emds.networks.joint import JointNetwork, Prediction
from emds.noise import add_noise, make_noise_model
from emds.numbers import STRIDE
from emds.segmentation.affinities import AffinitySpec, quantize
from emds.segmentation.phases import label_affinities
from emds.segmentation.settings import LabelSettings
from emds.training.recipes import get_recipe

_LARGEST = 1024  # pixels a side: of larger sections the central part is enough to select by
_NOISE_SEED = 1


def label_settings(config: TrainConfig) -> LabelSettings:
    """Return how the judge makes labels, which goes into the checkpoint."""
    return LabelSettings(config.validation.mutex_strides, config.validation.min_size)


class Validator:
    """Scores a network on held-out sections, noise fixed once and for all.

    The sections are spaced evenly; where the network sees several at once, or an offset leaves the
    section, they are adjacent, around the middle of the held-out range. The range is mirrored at
    its ends, as a volume is at inference, so nothing outside it is ever looked at.

    Parameters
    ----------
    raw : Volume
        Clean images.
    labels : Volume or None
        Ground truth; without it only images are judged.
    sections : (int, int)
        The held-out range.
    config : TrainConfig
        Recipe, noise (the first model), sections in, number of sections, mutex strides, smallest
        segment.
    spec : AffinitySpec
        Offsets of the segmenter's channels, and which channels attract.
    device : torch.device
        Device to compute on.
    """

    def __init__(
        self,
        raw: Volume,
        labels: Volume | None,
        sections: tuple[int, int],
        config: TrainConfig,
        spec: AffinitySpec,
        device: torch.device,
    ) -> None:
        model = config.noise.models[0]
        noise = make_noise_model(model.kind, **model.options())
        self.spec = spec
        self.settings = label_settings(config)
        self.device = device
        recipe = get_recipe(config.recipe)
        slices = recipe.architecture(config, spec.channels).in_slices
        begin, end = sections
        count = min(config.validation.sections, end - begin)
        if spec.planar and slices == 1:
            chosen = np.linspace(begin, end - 1, count).round().astype(int)
        else:
            chosen = np.arange(count) + begin + (end - begin - count) // 2
        boxes = _boxes(raw, chosen, config)
        self.clean = np.concatenate([raw.read(roi) for roi in boxes])
        if self.clean.min() == self.clean.max():
            raise DataError(
                f"the validation sections {sections[0]}:{sections[1]} of {raw.location} are "
                f"constant ({self.clean.min()}). Is it the right array?"
            )
        half = slices // 2
        around = chosen[:, np.newaxis] + np.arange(-half, half + 1) - begin
        places = begin + reflected(around, end - begin)
        needed = np.unique(places)
        self.stacks = np.searchsorted(needed, places)

        def seen(roi: Roi) -> NDArray[np.uint8]:
            section: NDArray[np.uint8] = raw.read(roi)
            if recipe.reads == "clean":
                return section
            frame = (raw.shape[1], raw.shape[2])
            return add_noise(
                section, noise, seed=_NOISE_SEED, origin=roi.offset, section_shape=frame
            )

        self.seen = np.concatenate([seen(roi) for roi in _boxes(raw, needed, config)])
        self.truth: MemoryVolume | None = None
        if labels is not None:
            truth = np.concatenate([labels.read(roi) for roi in boxes])
            if not truth.any():
                raise DataError(
                    f"the validation sections {sections[0]}:{sections[1]} of {labels.location} "
                    "hold no labels, only 0. Choose others with --validation."
                )
            self.truth = MemoryVolume(truth, location=f"{labels.location} (validation sections)")

    @torch.inference_mode()
    def __call__(self, network: JointNetwork) -> dict[str, float]:
        """Return psnr, ssim, coarse_psnr, voi, voi_split, voi_merge, arand: what applies.

        Sections are predicted in one piece and images rounded to uint8; SSIM is the `wang` one.
        Labels are scored section by section (protocol `strict`) and, where an offset leaves the
        section, as a volume too: voi_3d, voi_split_3d and so on.
        """
        network.eval()
        predictions = [self._predict(network, self.seen[stack]) for stack in self.stacks]
        metrics: dict[str, float] = {}
        images = [p.image for p in predictions if p.image is not None]
        coarse = [p.coarse_section for p in predictions if p.coarse_section is not None]
        logits = [p.logits for p in predictions if p.logits is not None]
        if images:
            final = self._to_grey(images)
            metrics["psnr"] = psnr(self.clean, final, 255)
            metrics["ssim"] = ssim(self.clean, final, 255)
        if coarse:
            metrics["coarse_psnr"] = psnr(self.clean, self._to_grey(coarse), 255)
        if logits and self.truth is not None:
            height, width = self.clean.shape[1:]
            stacked = torch.sigmoid(torch.cat(logits)).movedim(1, 0)[..., :height, :width]
            affinities = quantize(stacked.float().cpu().numpy())
            labels = label_affinities(affinities, self.spec, self.settings)
            protocols: dict[Protocol, str] = {"strict": ""}
            if not self.spec.planar:
                protocols["volume"] = "_3d"
            reports = evaluate_protocols(MemoryVolume(labels), self.truth, list(protocols))
            for report in reports:
                for name in ("voi", "voi_split", "voi_merge", "arand"):
                    metrics[name + protocols[report.protocol]] = getattr(report.scores, name)
        return metrics

    def _predict(self, network: JointNetwork, stack: NDArray[np.uint8]) -> Prediction:
        padding = [(0, 0), *((0, -n % STRIDE) for n in stack.shape[1:])]
        padded = np.pad(stack, padding, mode="symmetric").astype(np.float32)
        image = Intensity().to_network(torch.from_numpy(padded))[None]
        prediction: Prediction = network(image.to(self.device))
        return prediction

    def _to_grey(self, images: list[torch.Tensor]) -> NDArray[np.uint8]:
        height, width = self.clean.shape[1:]
        values = Intensity().from_network(torch.cat(images)[:, 0, :height, :width].float())
        grey: NDArray[np.uint8] = values.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return grey


def _boxes(raw: Volume, sections: NDArray[np.int64], config: TrainConfig) -> list[Roi]:
    """Return the central part of each of these sections, as far as they are used."""
    box = config.data.box((0, 1), raw.shape)
    (_, y, x), (_, height, width) = box.offset, box.shape
    rows, columns = min(height, _LARGEST), min(width, _LARGEST)
    corner = y + (height - rows) // 2, x + (width - columns) // 2
    return [Roi((z, *corner), (1, rows, columns)) for z in sections.tolist()]
