"""What a training run shows while it runs: tensorboard curves and a contact sheet."""

from pathlib import Path

import torch

from galsim_vae.model import likelihood
from galsim_vae.plots import colour_image, contact_sheet
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

from . import autoencoder as loop
from .batch import join
from .observe import observe

__all__ = ["Monitor"]

_SYNTHETIC = 6
_REAL = 6
_SEED = 20


class Monitor:
    """Tensorboard log in ``work/tensorboard`` and ``work/contact_sheet.png``.

    The galaxies of the sheet are the same throughout; it shows data, model through the PSF,
    residual, and the PSF-free model. Needs tensorboard (the `train` extra).

    Parameters
    ----------
    work : Path
        Folder.
    sources : Sources
        Of the galaxies shown.
    """

    def __init__(self, work: Path, sources: "loop.Sources"):
        from torch.utils.tensorboard import SummaryWriter

        self.work = Path(work)
        self.writer = SummaryWriter(self.work / "tensorboard")
        generator = torch.Generator(sources.psfs.k.device).manual_seed(_SEED)
        frame = sources.frame
        conditions, stamps = fresh_galaxies(_SYNTHETIC, sources.colours, generator, frame=frame)
        scale, taken = canonical_pixel_scale(conditions), frame.shear(conditions[:, 2])
        batch = observe(stamps, scale, sources.psfs, generator, complete=True, frame_g=taken)
        if sources.real is not None:
            index = torch.arange(_REAL, device=scale.device) * len(sources.real) // _REAL
            batch = join(batch, sources.real.batch(index, generator))
        self.batch = batch

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_) -> None:
        self.writer.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Log one number a curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    @torch.no_grad()
    def sheet(self, model) -> None:
        """Draw the contact sheet of a model."""
        batch = self.batch
        mean, _ = model.infer(batch.image, batch.otf, batch.noise, batch.mask)
        stamps = model.decoder(mean)
        seen = likelihood.convolve(stamps, batch.otf)
        weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
        seen = seen * likelihood.fit_amplitude(batch.image, seen, weight)[:, None, None, None]
        rows = []
        for data, fit, mask, noise, free in zip(
            batch.image, seen, batch.mask, batch.noise, stamps, strict=True
        ):
            band = int(mask.sum((1, 2)).argmax())
            residual = ((data - fit) * mask)[band] / noise[band].clamp(min=1e-12)
            pictures = [colour_image((x * mask).cpu().numpy()) for x in (data, fit)]
            pictures.append((0.5 + residual / 10).clamp(0, 1).cpu().numpy())
            rows.append([*pictures, colour_image(free.cpu().numpy())])
        titles = ["data", "model", "residual/noise", "PSF-free"]
        contact_sheet(rows, self.work / "contact_sheet.png", titles)
