"""From a YAML recipe to weights of pictures: the autoencoder, then a flow without conditions.

    galsim-vae train weights/rgb.yaml

A run that was interrupted goes on from the checkpoints in its work folder.
"""

import json
import logging
import math
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from galsim_vae.devices import find_device, half_precision
from galsim_vae.files import output_file, output_folder
from galsim_vae.latents.pictures import read_pictures, stretch
from galsim_vae.model import likelihood, picture_file
from galsim_vae.model.flow import CouplingFlow, FlowConfig
from galsim_vae.model.pictures import PictureConfig, PictureVAE, picture_flow

from . import constants
from .checkpoint import Checkpoint, RandomState, digest
from .descent import Descent, paced
from .recipe import training_settings

__all__ = [
    "FOLDS", "PictureRecipe", "PictureTraining", "augmented", "beginning", "fold_of",
    "train_pictures",
]  # fmt: skip

logger = logging.getLogger(__name__)

#: Rows are parted into so many folds, by their group modulo this.
FOLDS = 4
# Of the augmentation: zoom and shift (in half sides), and share of pictures turned grey.
_ZOOM, _SHIFT, _GREY = 0.12, 0.05, 0.25
# Residuals below this rms are not worth more: 8 bits and JPEG leave no more.
_FLOOR = 0.02


@dataclass(frozen=True)
class PictureTraining:
    """How the autoencoder and its flow are trained.

    Attributes
    ----------
    steps, batch : int
        Of the autoencoder's optimiser.
    beta : float
        Weight of the KL term: pixels that were enlarged or compressed are not independent.
    learning_rate : float
        Peak of the schedule.
    flow_steps : int
        Of the flow's optimiser, with 256 pictures each.
    seed : int
        Of every random number.
    """

    steps: int = 8000
    batch: int = 32
    beta: float = 2.0
    learning_rate: float = 2e-3
    flow_steps: int = 1500
    seed: int = 1


@dataclass(frozen=True)
class PictureRecipe:
    """Everything that a weights file of pictures is made from.

    Attributes
    ----------
    pictures : list of Path
        Folders or .npz files, see `galsim_vae.latents.pictures.read_pictures`.
    work : Path
        Folder of the checkpoints.
    output : Path
        Weights file to write.
    hold_out : list of int
        Folds, group modulo 4, that are not trained on.
    device : str
        "cpu", "cuda" or "auto".
    vae : PictureConfig
        Bands and sizes.
    flow : FlowConfig
        Sizes of the flow.
    training : PictureTraining
        How long.
    """

    pictures: list[Path]
    work: Path
    output: Path
    hold_out: list[int] = field(default_factory=list)
    device: str = "cpu"
    vae: PictureConfig = field(default_factory=PictureConfig)
    flow: FlowConfig = field(default_factory=lambda: FlowConfig(layers=6, hidden=128))
    training: PictureTraining = field(default_factory=PictureTraining)


def fold_of(group: NDArray) -> NDArray:
    """Return the fold, 0 to 3, of each group number."""
    return np.asarray(group) % FOLDS


def augmented(pictures: Tensor, generator: torch.Generator, grey: float = _GREY) -> Tensor:
    """Turn, mirror, zoom and shift pictures at random, and make some of them grey.

    Parameters
    ----------
    pictures : tensor (n, bands, size, size)
        Stretched.
    generator : torch.Generator
        Of the random numbers.
    grey : float
        Share that becomes grey.

    Returns
    -------
    tensor (n, bands, size, size)
    """

    def uniform(*shape):
        return 2 * torch.rand(shape, generator=generator) - 1

    n = len(pictures)
    angle = math.pi * uniform(n)
    zoom = torch.exp(_ZOOM * uniform(n))
    mirror = torch.sign(uniform(n))
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift = _SHIFT * uniform(n, 2)
    rows = torch.stack([cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]], 1)
    grid = F.affine_grid(rows.reshape(n, 2, 3), list(pictures.shape), align_corners=False)
    turned = F.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    plain = torch.rand(n, 1, 1, 1, generator=generator) < grey
    return torch.where(plain, turned.mean(1, keepdim=True), turned)


def train_pictures(recipe: PictureRecipe, progress: bool = True) -> picture_file.PictureModel:
    """Train autoencoder and flow and write the weights file.

    Parameters
    ----------
    recipe : PictureRecipe
        What to train, and where to write.
    progress : bool
        Show bars.

    Returns
    -------
    PictureModel
        What the weights file holds.

    Raises
    ------
    OSError, galsim.GalSimValueError
        Pictures that cannot be read, or a checkpoint of another recipe.
    """
    device = find_device(recipe.device)
    output_folder(recipe.work)
    output_folder(recipe.output.parent)
    output = output_file(recipe.output)
    data, counts = _training_pictures(recipe, progress)
    with training_settings():
        vae = _fit_vae(recipe, data, device)
        flow = _fit_flow(recipe, vae, data, device)
    facts = {
        "pictures": json.dumps(counts),
        "held_out": json.dumps({"folds": FOLDS, "not_trained_on": recipe.hold_out}),
        "training": json.dumps(asdict(recipe.training)),
        "torch": version("torch"),
    }
    model = picture_file.PictureModel(vae.cpu(), flow.cpu(), facts, recipe.flow)
    picture_file.write(output, model)
    return model


def _training_pictures(recipe: PictureRecipe, progress: bool) -> tuple[Tensor, dict[str, int]]:
    if not set(recipe.hold_out) < set(range(FOLDS)):
        raise GalSimValueError("hold_out must leave a fold to train on", recipe.hold_out,
                               list(range(FOLDS)))  # fmt: skip
    parts, counts = [], {}
    for path in recipe.pictures:
        pictures = read_pictures(path, progress)
        kept = pictures[~np.isin(fold_of(pictures.group), recipe.hold_out)]
        parts.append(stretch(kept.array, recipe.vae.size, len(recipe.vae.bands)))
        counts[path.stem] = len(kept)
    if not sum(counts.values()):
        raise GalSimValueError("No pictures to train on", counts)
    return torch.from_numpy(np.concatenate(parts)), counts


def beginning(config: PictureConfig, seed: int, data: Tensor) -> PictureVAE:
    """Make a network that begins with the principal components of augmented pictures.

    Parameters
    ----------
    config : PictureConfig
        Bands and sizes.
    seed : int
        Of its random weights and of the pictures whose components these are.
    data : tensor (n, bands, size, size)
        Stretched pictures.

    Returns
    -------
    PictureVAE
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PictureVAE(config)
    generator = torch.Generator().manual_seed(seed)
    count = constants.COMPONENT_GALAXIES * config.latent
    index = torch.randint(len(data), (count,), generator=generator)
    model.begin_with_components(augmented(data[index], generator))
    return model


def _fit_vae(recipe: PictureRecipe, data: Tensor, device: torch.device) -> PictureVAE:
    config = recipe.training
    model = beginning(recipe.vae, config.seed, data).to(device)
    optimizer = torch.optim.AdamW(
        paced(model, [model.encoder.straight, model.decoder.straight]), lr=config.learning_rate,
        weight_decay=1e-3,
    )  # fmt: skip
    descent = Descent(
        model, optimizer, name="autoencoder of pictures", rate=config.learning_rate,
        steps=config.steps, clip=1.0, decay=0.998,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(config.seed)
    settings = {"vae": recipe.vae.to_dict(), "training": asdict(config),
                "data": {"digest": digest({"pictures": data})}}  # fmt: skip
    checkpoint = Checkpoint(
        recipe.work / "pictures.ckpt", settings,
        {"model": model, "average": descent.average, "optimizer": optimizer,
         "generator": RandomState(generator)},
    )  # fmt: skip
    bar = checkpoint.steps(config.steps, "autoencoder of pictures")
    for step in bar:
        index = torch.randint(len(data), (config.batch,), generator=generator)
        batch = augmented(data[index], generator).to(device)
        with half_precision(device):
            mean, log_variance = model.encoder(batch)
            noise = torch.randn(mean.shape, generator=generator).to(device)
            found = model.decoder(mean + noise * torch.exp(0.5 * log_variance))
        square = (found - batch).square().sum((1, 2, 3))
        dof = float(batch[0].numel())
        # A noise of its own for each picture: sets differ in depth and compression.
        misfit = 0.5 * dof * torch.log(square / dof + _FLOOR**2)
        kl = likelihood.kl_divergence(mean, log_variance)
        warm = min(1.0, 10 * step / config.steps + 0.1)
        loss = (misfit + warm * config.beta * kl).mean() / dof
        descent.step(step, loss)
        if step % 50 == 0:
            text = f"loss {loss.item():.4f}, KL {kl.mean().item():.1f}, rms " \
                   f"{(square / dof).mean().sqrt().item():.4f}"
            bar.set_postfix_str(text, refresh=False)
            logger.info("step %d %s", step, text)
    return descent.average.eval().requires_grad_(False)


def _fit_flow(
    recipe: PictureRecipe, vae: PictureVAE, data: Tensor, device: torch.device
) -> CouplingFlow:
    """Fit the flow to latents drawn from the posteriors of turned and mirrored pictures."""
    config = recipe.training
    generator = torch.Generator().manual_seed(config.seed + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        flow = picture_flow(recipe.vae.latent, recipe.flow).to(device)
    latents = []
    with torch.inference_mode():
        for part in data.split(256):
            for turns in range(4):
                turned = torch.rot90(part, turns, (2, 3)).to(device)
                latents.append(torch.stack(vae.encoder(turned), 1))
    posterior = torch.cat(latents).clone()
    flow.fit_axes(posterior[:, 0])
    optimizer = torch.optim.AdamW(flow.parameters(), lr=2e-3, weight_decay=1e-3)
    descent = Descent(
        flow, optimizer, name="flow of pictures", rate=2e-3, steps=config.flow_steps, clip=5.0,
        decay=0.995,
    )  # fmt: skip
    settings = {"vae": {"weights": digest(vae.state_dict())}, "flow": recipe.flow.to_dict(),
                "training": asdict(config)}  # fmt: skip
    parts = {"flow": flow, "average": descent.average, "optimizer": optimizer,
             "generator": RandomState(generator)}  # fmt: skip
    checkpoint = Checkpoint(recipe.work / "picture_flow.ckpt", settings, parts)
    bar = checkpoint.steps(config.flow_steps, "flow of pictures")
    for step in bar:
        index = torch.randint(len(posterior), (256,), generator=generator)
        mean, log_variance = posterior[index].unbind(1)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        values = mean + noise * torch.exp(0.5 * log_variance)
        loss = -flow.log_prob(values, values.new_zeros(len(values), 1)).mean()
        descent.step(step, loss)
        if step % 50 == 0:
            bar.set_postfix_str(f"loss {loss.item():.2f}", refresh=False)
    return descent.average.eval().requires_grad_(False)
