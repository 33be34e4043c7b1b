"""Train what lends colours to bands that were not observed (`galsim_vae.model.lent`).

Of synthetic galaxies, and of real ones as the trained autoencoder sees them through their PSFs,
some bands are hidden, and their fluxes are predicted from those of the others. The mean of the
distances, not of their squares, makes that the median: a galaxy's colour may be far from what its
others tell.
"""

from pathlib import Path

import torch
from torch import Tensor

from galsim_vae.model.lent import LentColours
from galsim_vae.model.vae import VAE
from galsim_vae.train.synthetic.galaxies import fresh_galaxies

from .autoencoder import Sources, trained
from .batch import INFERENCE, Batch
from .checkpoint import Checkpoint, RandomState
from .descent import Descent

__all__ = ["hide_bands", "made_colours", "real_colours", "recorded", "train"]

#: Synthetic galaxies, the share of real ones in a step, and the rms of what is added to ln flux.
LENT_GALAXIES, LENT_REAL, LENT_NOISE = 8192, 0.5, 0.03
#: Steps, galaxies a step, and peak of the learning rate.
LENT_STEPS, LENT_BATCH, LENT_RATE = 3000, 512, 3e-3
_PART = 64


def recorded() -> dict[str, float | int]:
    """Return the constants above by name, as `constants.recorded`."""
    return {name: value for name, value in globals().items() if name.startswith("LENT_")}


def train(vae: VAE, sources: Sources, seed: int, folder: Path) -> None:
    """Train in place, or go on with what an interrupted run has left in ``colours.ckpt``.

    Parameters
    ----------
    vae : VAE
        Trained; what its `lent` holds is forgotten.
    sources : Sources
        Where galaxies are from.
    seed : int
        Of every random number.
    folder : Path
        Of the checkpoint.

    Raises
    ------
    galsim.GalSimValueError
        The checkpoint is of other settings.
    FloatingPointError
        The loss is not finite.
    """
    generator = torch.Generator(sources.device).manual_seed(seed)
    made, real = made_colours(sources, generator), real_colours(vae, sources)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LentColours(made.shape[1]).to(sources.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LENT_RATE, weight_decay=1e-3)
    descent = Descent(
        network, optimizer, name="colours", rate=LENT_RATE, steps=LENT_STEPS, clip=1.0,
        decay=0.998,
    )  # fmt: skip
    parts = {"network": network, "average": descent.average, "optimizer": optimizer,
             "generator": RandomState(generator)}  # fmt: skip
    settings = {"colours": {"seed": seed, **recorded()}, "vae": {"weights": trained(vae)}}
    checkpoint = Checkpoint(folder / "colours.ckpt", settings | sources.settings(), parts)
    known_real = int(LENT_REAL * LENT_BATCH) if len(real) else 0
    for step in checkpoint.steps(LENT_STEPS, "colours"):
        rows = torch.cat([
            _some(made, LENT_BATCH - known_real, generator), _some(real, known_real, generator)
        ])  # fmt: skip
        descent.step(step, _loss(network, rows, generator))
    vae.lent.load_state_dict(descent.average.state_dict())


def made_colours(sources: Sources, generator: torch.Generator) -> Tensor:
    """Return ln fluxes of synthetic galaxies, (n, bands)."""
    parts = [
        fresh_galaxies(_PART, sources.colours, generator, frame=sources.frame)[1].sum((2, 3))
        for _ in range(LENT_GALAXIES // _PART)
    ]
    return torch.cat(parts).log()


@torch.no_grad()
def real_colours(vae: VAE, sources: Sources) -> Tensor:
    """Return ln fluxes of real galaxies that are known in two bands or more, (m, bands).

    They are those of the decoded galaxy; NaN where a band was not observed or shows nothing.
    """
    real, found = sources.real, [torch.empty((0, vae.config.bands), device=sources.device)]
    if real is None:
        return found[0]
    known = torch.isfinite(real.log_flux)
    rows = (known.sum(1) > 1).nonzero()[:, 0]
    for k in range(0, len(rows), _PART):
        part = rows[k : k + _PART]
        seen = Batch(*(value[part] for value in real.observed)).no_better_than(INFERENCE.best)
        mean, _ = vae.infer(seen.image, seen.otf, seen.noise, seen.mask)
        found.append(torch.where(known[part], vae.decoder.colours(mean), torch.nan))
    return torch.cat(found)


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if not count:
        return rows[:0]
    return rows[
        torch.randint(len(rows), (count,), generator=generator, device=generator.device)
    ]


def hide_bands(known: Tensor, generator: torch.Generator) -> Tensor:
    """Hide bands of galaxies, of each any number but never all; returns which are shown.

    Parameters
    ----------
    known : bool tensor (n, bands)
    generator : torch.Generator
    """

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device)

    shown = known & (rand(*known.shape) > rand(len(known), 1))
    kept = torch.where(known, rand(*known.shape), -1.0).argmax(1)
    shown[torch.arange(len(known), device=known.device), kept] = True
    return shown


def _loss(network: LentColours, log_flux: Tensor, generator: torch.Generator) -> Tensor:
    """Mean distance of predicted ln fluxes of hidden bands."""
    known = torch.isfinite(log_flux)
    shown = hide_bands(known, generator)
    log_flux = torch.where(known, log_flux, 0.0)
    noise = torch.randn(log_flux.shape, generator=generator, device=generator.device)
    lent = network(log_flux + LENT_NOISE * noise, shown)
    hidden = known & ~shown
    return ((lent - log_flux).abs() * hidden).sum() / hidden.sum().clamp(min=1)
