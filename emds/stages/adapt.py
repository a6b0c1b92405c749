"""``emds adapt``: fine-tune a checkpoint on a noisy volume, without clean images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from emds.errors import NoGainError, OutputExistsError, UsageError
from emds.files import reading, refuse_inputs
from emds.io.output import Claim, PendingOutput
from emds.io.volume import CachedVolume, Volume
from emds.networks.checkpoint import save_checkpoint
from emds.networks.device import choose_device
from emds.progress import Progress, silent
from emds.stages.adapt_plan import AdaptOptions, AdaptPlan, plan_adaptation
from emds.stages.held_out import HeldOut, Judgement
from emds.training.adaptation import adapt as run_adaptation
from emds.training.loop import start_state
from emds.training.noisy_mean import NoisyMean
from emds.training.noisy_patches import HiddenSampler
from emds.training.run_folder import RunFolder
from emds.training.state import TrainingState

_CACHE_BYTES = 2**32


def adapt(
    checkpoint: Path,
    source: Volume,
    *,
    out: Path,
    options: AdaptOptions | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Judgement:
    """Fine-tune the image side of a checkpoint, and write the result if it is better.

    Denoiser and fusion move, the segmenter stays as it is. Better means that sections from which
    nothing is learnt are predicted better at places that were hidden from the network.

    Parameters
    ----------
    checkpoint : Path
        Model file with a denoiser or a fusion network.
    source : Volume
        Noisy grey values (z, y, x).
    out : Path
        Model file to write; while the work goes on there is a folder ``<out>.partial``.
    options : AdaptOptions, optional
        Steps, region and the like.
    resume : bool
        Continue what a signal stopped; it must be the same in all that matters.
    overwrite : bool
        Existing outputs may be replaced.
    progress : callable, optional
        Told (done, total, text).

    Returns
    -------
    Judgement
        The errors before and after.

    Raises
    ------
    NoGainError
        If the held-out sections are not predicted better beyond chance; nothing is written then.
    DataError, UsageError, CheckpointError, OutputExistsError, InterruptedRunError
        As their names say; `InterruptedRunError` leaves a state that can be resumed.
    """
    progress = progress or silent
    options = options or AdaptOptions()
    with reading(checkpoint):
        _check(out, resume, overwrite)
        plan = plan_adaptation(checkpoint, source, options, progress)
        device = choose_device(options.device)
        state = start_state(plan.parent.build(), plan.recipe, plan.config, device)
        noisy_mean = NoisyMean.of(plan.noise, plan.intensity, device)
        claim: Claim = "resume" if resume else "new"
        output = PendingOutput(out, overwrite=overwrite, folder=False, claim=claim)
        folder = RunFolder(output.work_folder)
        try:
            if resume:
                state.load(folder.state, plan.described)
            else:
                state.save(folder.state, plan.described)
            run_adaptation(
                state,
                plan.parent.build().to(device),
                _sampler(source, plan),
                noisy_mean,
                plan.config,
                identity=plan.described,
                device=device,
                folder=folder,
                progress=progress,
            )
            found = _judge(source, plan, state, noisy_mean, options.seed, device)
            if not found.is_better:
                output.discard()
                raise NoGainError(
                    f"{checkpoint} gains nothing from {source.location}: {found}. No checkpoint "
                    "was written; use the one there is. More --steps, a larger region or more "
                    "--held-out sections may show a gain."
                )
            adapted: Any = state.averaged.module
            _save(plan, adapted.state_dict(), found, output.content)
            output.commit()
        finally:
            if not folder.state.is_file():
                output.abort()
            output.leave()
    return found


def _check(out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse, before any work, what `PendingOutput` would refuse after the plan is made."""
    if resume and overwrite:
        raise UsageError("--resume continues a run and --overwrite discards it: give one of them.")
    if out.is_dir():
        raise UsageError(f"--out {out} must be a model file, and it is a folder.")
    if out.exists() and not (overwrite or resume):
        raise OutputExistsError(f"{out} exists. Choose another --out, or add --overwrite.")
    refuse_inputs(out)


def _judge(
    source: Volume,
    plan: AdaptPlan,
    state: TrainingState,
    noisy_mean: NoisyMean,
    seed: int,
    device: torch.device,
) -> Judgement:
    """Return the errors on the held-out sections, before and after."""
    judge = HeldOut(
        source,
        plan.region,
        plan.held_out,
        slices=plan.slices[0],
        reach=plan.reach,
        noisy_mean=noisy_mean,
        intensity=plan.intensity,
        seed=seed,
        device=device,
    )
    adapted: Any = state.averaged.module
    return Judgement(judge(plan.parent.build().to(device)), judge(adapted.eval()))


def _sampler(source: Volume, plan: AdaptPlan) -> HiddenSampler:
    small = plan.region.size * source.dtype.itemsize <= _CACHE_BYTES
    return HiddenSampler(
        CachedVolume(source, plan.region) if small else source,
        plan.region,
        plan.starts,
        slices=plan.slices,
        side=plan.config.crop,
        count=plan.config.batch_size,
        reach=plan.reach,
        intensity=plan.intensity,
        seed=plan.config.seed,
    )


def _save(plan: AdaptPlan, weights: Any, found: Judgement, out: Path) -> None:
    """Write the parent with other weights; what was measured on its own weights is left out."""
    changed = {
        "weights": weights,
        "metrics": {},
        "adaptation": plan.described | {"score": found.to_dict()},
    }
    save_checkpoint(plan.parent.model_copy(update=changed), out)
