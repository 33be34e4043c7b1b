"""Encoding the galaxies that the latent flow learns from, in a process for each thread of torch.

A part is a function of its number and the seed, and computed by one thread: the same bits whatever
the number of processes.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.devices import half_precision, one_thread, process_pool
from galsim_vae.geometry import sheared_shape
from galsim_vae.model import likelihood
from galsim_vae.model.vae import VAE
from galsim_vae.shapes import measure
from galsim_vae.train.seeds import seeded
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_conditions, sample

from . import constants, flow_constants
from .autoencoder import Sources
from .batch import Batch
from .checkpoint import Collected, WorkFolder
from .fill import is_nearby
from .observe import observe
from .posed import Pose, find_pose, lay, matrix

__all__ = ["Encoded", "encode", "encode_real", "encode_synthetic", "true_and_decoded"]

_Part = Callable[[int, torch.Generator], "Encoded"]
_FEW = 16  # parts that are done before processes would have begun
_AHEAD = 4  # parts asked for in advance, for each process
_job: tuple[_Part, int]


class Encoded(NamedTuple):
    """Latents (n, latent) and conditions (n, 4) measured on their decoded stamps.

    `turn` (n,) brings these back to the frame (`galsim_vae.model.pose`), NaN where it need not.
    `pixels` (n,) is the radius measured, in pixels; `from_population` (n,) tells which galaxies
    were drawn from the population as it is.
    """

    latents: Tensor
    conditions: Tensor
    turn: Tensor
    pixels: Tensor
    from_population: Tensor


@torch.inference_mode()
def encode(
    vae: VAE,
    batch: Batch,
    conditions: Tensor,
    pixel_scale: Tensor,
    frame_g: Tensor,
    turn: Tensor,
    generator: torch.Generator,
) -> Encoded:
    """Draw a latent for each observed galaxy and measure its decoded stamp.

    Parameters
    ----------
    vae : VAE
    batch : Batch
    conditions : tensor (n, 4)
        In the order of `NAMES`, radius in arcsec, NaN where missing; radius and |g| are replaced
        by what is measured.
    pixel_scale : tensor (n,)
        arcsec. NaN: the radius stays missing.
    frame_g : tensor (n,)
        Shear along +x that the frame has taken out: with what is measured in it, the shape.
    turn : tensor (n,)
        From the stamp to the frame [radian]; NaN: it is not turned.
    generator : torch.Generator

    Returns
    -------
    Encoded
        Of those that can be measured.
    """
    latents = _latents(vae, batch, generator)
    image = vae.decoder(latents)[:, BANDS.index(REFERENCE)]
    moments, pixels, keep = measure(image)
    back = torch.polar(torch.ones_like(turn), 2 * turn.nan_to_num())
    g = sheared_shape(torch.complex(moments.g1, moments.g2) * back, frame_g).abs()
    labels = torch.stack([conditions[:, 0], pixels * pixel_scale, g, conditions[:, 3]], 1)
    every = torch.ones(int(keep.sum()), dtype=torch.bool, device=latents.device)
    return Encoded(latents[keep], labels[keep], turn[keep], pixels[keep], every)


def _latents(vae: VAE, batch: Batch, generator: torch.Generator) -> Tensor:
    return likelihood.sample_posterior(*_means(vae, batch), generator)


def _means(vae: VAE, batch: Batch) -> tuple[Tensor, Tensor]:
    with half_precision(batch.image.device):
        return vae.infer(batch.image, batch.otf, batch.noise, batch.mask)


def _some_lying(pose: Pose, share: float, generator: torch.Generator) -> Pose:
    """Let a share of the galaxies lie as they do."""
    n, device = pose.turn.shape, generator.device
    lie = torch.rand(n, generator=generator, device=device) < share
    return pose._replace(turn=torch.where(lie, torch.nan, pose.turn))


class _Seen(NamedTuple):
    """Synthetic galaxies as they are seen and as they are, with what `encode` is given of them."""

    batch: Batch
    truth: Tensor
    conditions: Tensor
    pixel_scale: Tensor
    frame_g: Tensor
    turn: Tensor


@dataclass(frozen=True)
class _SyntheticPart:
    vae: VAE
    sources: Sources
    lying: float

    def __call__(self, number: int, generator: torch.Generator) -> Encoded:
        wide = number % 2 == 1
        seen = self.seen(wide, generator)
        found = encode(
            self.vae, seen.batch, seen.conditions, seen.pixel_scale, seen.frame_g, seen.turn,
            generator,
        )  # fmt: skip
        return found._replace(from_population=found.from_population & (not wide))

    def seen(self, wide: bool, generator: torch.Generator) -> _Seen:
        n, sources = flow_constants.ENCODED_BATCH, self.sources
        conditions = fresh_conditions(n, generator, wide)
        made = sample(
            conditions, generator, sources.colours, frame=sources.frame, device=sources.device
        )
        scale, taken = canonical_pixel_scale(conditions), sources.frame.shear(conditions[:, 2])
        level = scale.new_full((n,), flow_constants.ENCODED_SIGNAL_TO_NOISE)
        sharp = scale.new_full((n,), constants.SHARPEST)
        pose = _some_lying(find_pose(made.stamps, conditions[:, 2]), self.lying, generator)
        lies = matrix(pose)
        truth = made.laid(lies)
        batch = observe(truth, scale, sources.psfs, generator, level, True, sharp, taken, lies)
        return _Seen(batch, truth, conditions, scale, taken, pose.turn)


@dataclass(frozen=True)
class _RealPart:
    vae: VAE
    sources: Sources
    lying: float
    nearby: float

    def __call__(self, number: int, generator: torch.Generator) -> Encoded:
        real = self.sources.real
        assert real is not None
        count = flow_constants.ENCODED_BATCH
        weight = torch.where(is_nearby(real.conditions), self.nearby, 1.0)
        index = torch.multinomial(weight, count, replacement=True, generator=generator)
        batch = real.batch(
            index, generator, weight.new_full((count,), flow_constants.ENCODED_SIGNAL_TO_NOISE)
        )
        taken = real.frame_g[index]
        with torch.inference_mode():
            looks = self.vae.decoder(_means(self.vae, batch)[0].float())
        pose = _some_lying(find_pose(looks, taken), self.lying, generator)
        found = encode(
            self.vae, lay(batch, pose), real.conditions[index], real.pixel_scale[index], taken,
            pose.turn, generator,
        )  # fmt: skip
        return found._replace(from_population=torch.zeros_like(found.from_population))


def encode_synthetic(
    vae: VAE, sources: Sources, n: int, lying: float, seed: int, work: WorkFolder
) -> Encoded:
    """Encode fresh synthetic galaxies, alternately from the population and spread widely.

    They are seen almost without PSF: their latents then hold structure that HST would blur away.

    Parameters
    ----------
    vae : VAE
    sources : Sources
    n : int
        How many, rounded up to whole parts.
    lying : float
        Share of those that lie as they do.
    seed : int
    work : WorkFolder
        Of ``encoded.ckpt``, and its settings those that `vae` and `sources` depend on.
    """
    return _in_parts(_SyntheticPart(vae, sources, lying), n, seed, "encoded", work)


@torch.inference_mode()
def true_and_decoded(
    vae: VAE, sources: Sources, n: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield stamps of fresh galaxies of the population, and what their latents decode to, by parts.

    Parameters
    ----------
    vae : VAE
    sources : Sources
    n : int
        How many, rounded up to whole parts.
    seed : int
    """
    part = _SyntheticPart(vae, sources, 0.0)
    for number in range(-(-n // flow_constants.ENCODED_BATCH)):
        generator = seeded(seed, key=(number,), device=sources.device)
        seen = part.seen(False, generator)
        yield seen.truth, vae.decoder(_latents(vae, seen.batch, generator))


def encode_real(
    vae: VAE, sources: Sources, n: int, lying: float, nearby: float, seed: int, work: WorkFolder
) -> Encoded:
    """Encode varied and re-noised copies of the real training galaxies.

    Parameters
    ----------
    vae, sources, n, lying
        As for `encode_synthetic`.
    nearby : float
        How often one of a nearby survey is taken, over how often another is.
    seed, work
        As for `encode_synthetic`; the file is ``encoded_real.ckpt``.
    """
    return _in_parts(_RealPart(vae, sources, lying, nearby), n, seed, "encoded_real", work)


def _in_parts(
    part: _SyntheticPart | _RealPart, n: int, seed: int, name: str, work: WorkFolder
) -> Encoded:
    """Encode n galaxies part by part; a checkpoint holds those that are done.

    It depends on no setting of the flows, which can be trained anew on the same galaxies.
    """
    batch, sources = flow_constants.ENCODED_BATCH, part.sources
    own = {key: value for key, value in vars(part).items() if key not in ("vae", "sources")}
    own |= {"galaxies": n, "seed": seed, "batch": batch,
            "signal_to_noise": flow_constants.ENCODED_SIGNAL_TO_NOISE}  # fmt: skip
    encoded = Collected(Encoded._fields, sources.device)
    settings = {**work.settings, "encoding": own}
    checkpoint = WorkFolder(work.path, settings).checkpoint(name, encoded=encoded)
    total = -(-n // batch)
    left = range(checkpoint.step, total)
    threads = torch.get_num_threads() if sources.device.type == "cpu" else 1
    if threads > 1 and len(left) > _FEW:
        found = _in_processes(part, left, seed, threads)
    else:
        found = _here(part, left, seed, sources.device)
    for _ in checkpoint.steps(total, name.replace("_", " ")):
        encoded.append(next(found))
    return Encoded(*encoded.joined())


def _here(
    part: _Part, numbers: range, seed: int, device: torch.device
) -> Iterator[Encoded]:
    for number in numbers:
        with one_thread():
            done = _done(part, number, seed, device)
        yield done


def _in_processes(part: _Part, numbers: range, seed: int, workers: int) -> Iterator[Encoded]:
    """Yield parts in their order; they come as arrays, which need no shared memory."""
    pool = process_pool(workers, _start, (part, seed))
    left, asked = iter(numbers), deque()
    try:
        asked.extend(pool.submit(_sent, number) for number in islice(left, _AHEAD * workers))
        while asked:
            arrays = asked.popleft().result()
            asked.extend(pool.submit(_sent, number) for number in islice(left, 1))
            yield Encoded(*map(torch.from_numpy, arrays))
    finally:
        pool.shutdown(cancel_futures=True)


def _start(part: _Part, seed: int) -> None:
    global _job
    _job = part, seed


def _sent(number: int) -> list[np.ndarray]:
    part, seed = _job
    return [value.numpy() for value in _done(part, number, seed, torch.device("cpu"))]


def _done(part: _Part, number: int, seed: int, device: torch.device) -> Encoded:
    return part(number, seeded(seed, key=(number,), device=device))
