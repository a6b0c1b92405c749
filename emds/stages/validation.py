"""How good is the network on held-out sections? The judge of `emds train`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from emds.config import TrainConfig
from emds.errors import DataError
from emds.geometry import Roi
from emds.io.volume import MemoryVolume, Volume
from emds.metrics import evaluate_segmentation, psnr, ssim
from emds.networks.joint import JointNetwork, Prediction
from emds.networks.unet import STRIDE
from emds.noise import add_noise, make_noise_model
from emds.segmentation.affinities import AffinitySpec, quantize
from emds.stages.label import LabelSettings, label_affinities
from emds.training.recipes import get_recipe

_LARGEST = 1024  # pixels a side: of larger sections the central part is enough to select by
_NOISE_SEED = 1


class Validator:
    """Scores a network on evenly spaced held-out sections, noise fixed once and for all.

    Parameters
    ----------
    raw : Volume
        Clean images.
    labels : Volume or None
        Ground truth; without it only images are judged.
    sections : (int, int)
        The held-out range.
    config : TrainConfig
        Recipe, noise (the first model), number of sections, mutex strides, smallest segment.
    spec : AffinitySpec
        Of the segmenter's channels.
    device : torch.device
        Where to compute.
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
        self.settings = LabelSettings(config.validation.mutex_strides, config.validation.min_size)
        self.device = device
        count = min(config.validation.sections, sections[1] - sections[0])
        chosen = np.linspace(sections[0], sections[1] - 1, count).round().astype(int)
        boxes = [_central(config.data.box((z, z + 1), raw.shape)) for z in chosen.tolist()]
        self.clean = np.concatenate([raw.read(roi) for roi in boxes])
        if self.clean.min() == self.clean.max():
            raise DataError(
                f"the validation sections {sections[0]}:{sections[1]} of {raw.location} are "
                f"constant ({self.clean.min()}). Is it the right array?"
            )
        self.noisy = np.concatenate(
            [
                add_noise(
                    clean[np.newaxis],
                    noise,
                    seed=_NOISE_SEED,
                    origin=roi.offset,
                    section_shape=(raw.shape[1], raw.shape[2]),
                )
                for clean, roi in zip(self.clean, boxes, strict=True)
            ]
        )
        self.seen = self.clean if get_recipe(config.recipe).reads == "clean" else self.noisy
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
        Labels are scored section by section (protocol `strict`).
        """
        network.eval()
        predictions = [self._predict(network, section) for section in self.seen]
        metrics: dict[str, float] = {}
        images = [p.image for p in predictions if p.image is not None]
        coarse = [p.coarse for p in predictions if p.coarse is not None]
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
            score = evaluate_segmentation(MemoryVolume(labels), self.truth, "strict").scores
            for name in ("voi", "voi_split", "voi_merge", "arand"):
                metrics[name] = getattr(score, name)
        return metrics

    def _predict(self, network: JointNetwork, section: NDArray[np.uint8]) -> Prediction:
        padding = [(0, -n % STRIDE) for n in section.shape]
        padded = np.pad(section, padding, mode="symmetric").astype(np.float32)
        image = torch.from_numpy(padded / np.float32(127.5) - 1)[None, None]
        prediction: Prediction = network(image.to(self.device))
        return prediction

    def _to_grey(self, images: list[torch.Tensor]) -> NDArray[np.uint8]:
        height, width = self.clean.shape[1:]
        values = (torch.cat(images)[:, 0, :height, :width].float() + 1) * 127.5
        grey: NDArray[np.uint8] = values.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return grey


def _central(section: Roi) -> Roi:
    (z, y, x), (_, height, width) = section.offset, section.shape
    rows, columns = min(height, _LARGEST), min(width, _LARGEST)
    return Roi((z, y + (height - rows) // 2, x + (width - columns) // 2), (1, rows, columns))
