"""``emds adapt``: fine-tune a checkpoint on a noisy volume, without clean images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emds.errors import NoGainError, OutputExistsError, UsageError
from emds.io.volume import CachedVolume, Volume
from emds.networks.checkpoint import save_checkpoint
from emds.networks.device import choose_device
from emds.stages.adapt_plan import AdaptOptions, AdaptPlan, plan_adaptation
from emds.stages.held_out import HeldOut, Judgement
from emds.stages.provenance import refuse_own_input
from emds.training.adaptation import adapt as run_adaptation
from emds.training.loop import start_state
from emds.training.noisy_mean import NoisyMean
from emds.training.noisy_patches import HiddenSampler
from emds.training.run_folder import RunFolder
from emds.training.state import TrainingState

Progress = Callable[[int, int, str], None]

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
    progress = progress or _silent
    options = options or AdaptOptions()
    folder = RunFolder(out.with_name(f"{out.name}.partial"))
    _claim(out, folder, resume, overwrite)
    refuse_own_input(out, source)
    if out.resolve() == checkpoint.resolve():
        raise UsageError(
            f"--out {out} is the checkpoint to start from, and an input is never replaced by what "
            "is made from it. Choose another --out."
        )
    plan = plan_adaptation(checkpoint, source, options, progress)
    device = choose_device(options.device)
    state = start_state(plan.parent.build(), plan.recipe, plan.config, device)
    sampler = _sampler(source, plan)
    noisy_mean = NoisyMean.of(plan.noise, plan.intensity, device)
    _begin(state, folder, plan, resume)
    run_adaptation(
        state,
        plan.parent.build().to(device),
        sampler,
        noisy_mean,
        plan.config,
        identity=plan.described,
        device=device,
        folder=folder,
        progress=progress,
    )
    judge = HeldOut(
        source,
        plan.region,
        plan.held_out,
        slices=plan.slices[0],
        reach=plan.reach,
        noisy_mean=noisy_mean,
        intensity=plan.intensity,
        seed=options.seed,
        device=device,
    )
    adapted: Any = state.averaged.module
    found = Judgement(judge(plan.parent.build().to(device)), judge(adapted.eval()))
    if found.is_better:
        _save(plan, adapted.state_dict(), found, out)
    shutil.rmtree(folder.path)
    if not found.is_better:
        raise NoGainError(
            f"{checkpoint} gains nothing from {source.location}: {found}. No checkpoint was "
            "written; use the one there is. More --steps, a larger region or more --held-out "
            "sections may show a gain."
        )
    return found


def _claim(out: Path, folder: RunFolder, resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise UsageError("--resume continues a run and --overwrite discards it: give one of them.")
    if out.is_dir():
        raise UsageError(f"--out {out} must be a model file, and it is a folder.")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists. Choose another --out, or add --overwrite.")
    if resume and not folder.state.is_file():
        raise UsageError(
            f"nothing to resume: {folder.path} holds no state.pt. Leave --resume out to start."
        )
    if not folder.path.exists() or resume:
        return
    if not overwrite:
        raise OutputExistsError(
            f"{folder.path} is there, of a run that was stopped. Continue it with --resume, or "
            "discard it with --overwrite."
        )
    if any(folder.path.iterdir()) and not folder.state.is_file():
        raise OutputExistsError(
            f"{folder.path} holds something other than a stopped run; --overwrite will not delete "
            "it. Choose another --out."
        )


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


def _begin(state: TrainingState, folder: RunFolder, plan: AdaptPlan, resume: bool) -> None:
    if resume:
        state.load(folder.state, plan.described)
        return
    if folder.path.exists():
        shutil.rmtree(folder.path)
    folder.path.mkdir(parents=True)
    state.save(folder.state, plan.described)


def _save(plan: AdaptPlan, weights: Any, found: Judgement, out: Path) -> None:
    """Write the parent with other weights; what was measured on its own weights is left out."""
    changed = {
        "weights": weights,
        "metrics": {},
        "adaptation": plan.described | {"score": found.to_dict()},
    }
    save_checkpoint(plan.parent.model_copy(update=changed), out)


def _silent(done: int, total: int, what: str) -> None:
    return None
