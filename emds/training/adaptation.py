"""Fine-tuning a network on noisy sections alone: steps at blind spots, resumable to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor

from emds.config import TrainConfig
from emds.errors import DataError
from emds.geometry import middle
from emds.networks.joint import JointNetwork, Prediction
from emds.networks.losses import image_loss
from emds.signals import stop_signal
from emds.training.noisy_mean import NoisyMean
from emds.training.noisy_patches import HiddenBatch, HiddenSampler
from emds.training.patches import iter_batches
from emds.training.run_folder import RunFolder
from emds.training.state import TrainingState

_KEEP = 0.1
"""Weight of the term that holds affinities fast: the network that sees one section, with spots of
7 × 7 pixels, otherwise blurs its coarse image until labels get worse than they were."""


def adapt(
    state: TrainingState,
    parent: JointNetwork,
    sampler: HiddenSampler,
    noisy_mean: NoisyMean,
    config: TrainConfig,
    *,
    identity: Mapping[str, Any],
    device: torch.device,
    folder: RunFolder,
    progress: Callable[[int, int, str], None],
) -> None:
    """Run the remaining steps.

    The whole network stays in evaluation mode: the statistics of its normalisation are those of
    its training, so that with a learning rate of 0 nothing at all would change.

    Parameters
    ----------
    state : TrainingState
        Fresh, or loaded from the folder.
    parent : JointNetwork
        The network before it was adapted; its affinities are kept, as far as the images allow.
    sampler : HiddenSampler
        Gives the batch of a step.
    noisy_mean : NoisyMean
        Expected noisy value for a given true grey value.
    config : TrainConfig
        Steps, optimiser, and how often the state is saved.
    identity : mapping
        JSON; what must be the same for the state to be continued.
    device : torch.device
        Device to compute on.
    folder : RunFolder
        Receives the state.
    progress : callable
        Told (done, total, text).

    Raises
    ------
    InterruptedRunError
        On a signal (see `emds.signals`), after the state was saved.
    """
    state.network.eval()
    parent = parent.eval().keep_only(("affinities",))
    with stop_signal() as stop:
        for batch in iter_batches(sampler, state.step, config.steps, device):
            loss = _step(state, parent, batch, noisy_mean, config, device)
            state.step += 1
            done = state.step == config.steps
            if done or state.step % config.log_every == 0:
                value = loss.item()
                if not math.isfinite(value):
                    raise DataError(
                        f"the loss is {value} at step {state.step}: adapting diverged, and nothing "
                        "was written. Start again with a lower --lr."
                    )
                progress(state.step, config.steps, f"adapt, loss {value:.4f}")
            if done or stop.is_set() or state.step % config.save_every == 0:
                state.save(folder.state, identity)
            if stop.is_set() and not done:
                raise stop.error(
                    f"at step {state.step} of {config.steps}; the state is saved in {folder.path}. "
                    "Continue with --resume."
                )


def _step(
    state: TrainingState,
    parent: JointNetwork,
    batch: HiddenBatch,
    noisy_mean: NoisyMean,
    config: TrainConfig,
    device: torch.device,
) -> Tensor:
    hidden, noisy, spots = (
        torch.from_numpy(values).to(device) for values in (batch.hidden, batch.noisy, batch.spots)
    )
    hidden = hidden.contiguous(memory_format=torch.channels_last)
    prediction = state.network(hidden)
    loss = blind_spot_loss(prediction, noisy, spots, noisy_mean)
    if prediction.logits is not None:
        with torch.no_grad():
            before = parent(hidden).logits
        loss = loss + _KEEP * affinity_drift(prediction.logits, before)
    state.descend(loss, config)
    return loss.detach()


def blind_spot_loss(
    prediction: Prediction, noisy: Tensor, spots: Tensor, noisy_mean: NoisyMean
) -> Tensor:
    """Return how far the images are from the noisy values at the spots, a sum over the images.

    Parameters
    ----------
    prediction : Prediction
        Of sections whose spots were hidden; both images that there are count alike.
    noisy : (n, M, y, x) float32
        The coarse sections' noisy values; without a denoiser the middle section alone.
    spots : (n, M, y, x) bool
        Middles of the spots.
    noisy_mean : NoisyMean
        Expected noisy value for a given true grey value.

    Returns
    -------
    Tensor
        Sum of one or two mean squares, in the range of networks.
    """
    centre = middle(noisy.shape[1])
    images = []
    if prediction.coarse is not None:
        images.append((prediction.coarse, noisy, spots))
    if prediction.fused is not None:
        images.append((prediction.fused, noisy[:, centre], spots[:, centre]))
    losses = [image_loss(noisy_mean(image[at]), seen[at]) for image, seen, at in images]
    return torch.stack(losses).sum()


def affinity_drift(logits: Tensor, before: Tensor) -> Tensor:
    """Return how far affinities have moved: the mean Kullback–Leibler divergence, 0 or more.

    Parameters
    ----------
    logits, before : (n, C, y, x)
        Affinities before the sigmoid, now and then.

    Examples
    --------
    >>> logits = torch.tensor([[[[0.0, 2.0]]]])
    >>> round(affinity_drift(logits, logits).item(), 6), affinity_drift(logits, -logits).item() > 1
    (0.0, False)
    """
    then = torch.sigmoid(before)
    moved = F.binary_cross_entropy_with_logits(logits, then)
    return moved - F.binary_cross_entropy_with_logits(before, then)
