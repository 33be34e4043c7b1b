"""Conditional normalizing flows: conditions given each other, traits given them, then latents."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from nflows.nn.nets import ResidualNet
from nflows.transforms.base import CompositeTransform
from nflows.transforms.permutations import Permutation
from torch import Tensor, nn
from torch.nn import functional as F

from galsim_vae.bands import HALF_LIGHT_PIXELS
from galsim_vae.conditions import NAMES

from .packed import product
from .pose import TOLD, Turns, told
from .radius import Radius
from .spline import SplineCoupling
from .traits import TRAITS, TraitContext

__all__ = ["CouplingFlow", "FlowConfig", "Flows", "to_variables"]

# Splines are the identity beyond this many standard deviations.
TAIL_BOUND = 5.0
# Conditions enter as Gaussian bumps: so many over the range of each, as wide as they are apart.
# Colours change with redshift within a small part of its range, and not monotonically.
_BUMPS = 16
_BASE_WIDTH = 256
_LEAST_WIDTH = 1e-6  # keeps a dimension that does not vary invertible
# Share of a condition's range at each end that the population's logit keeps clear of.
_EDGE = 1e-4


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of one flow.

    Attributes
    ----------
    layers : int
        Number of coupling layers.
    hidden : int
        Width of each layer's residual network.
    blocks : int
        Residual blocks of each network.
    bins : int
        Bins of each spline.
    """

    layers: int = 10
    hidden: int = 256
    blocks: int = 1
    bins: int = 4

    def to_dict(self) -> dict:
        return asdict(self)


POPULATION_FLOW = FlowConfig(layers=6, hidden=64, bins=8)
TRAIT_FLOW = FlowConfig(layers=8, hidden=128, bins=8)


class CouplingFlow(nn.Module):
    """Conditional mean and width, then a rational-quadratic coupling flow with fixed permutations.

    Durkan et al. 2019 (arXiv:1906.04032), section 3; built from nflows. Without the conditional
    mean, the flow of a hundred dimensions learns the shape of their distribution long before it
    learns how little of it a condition such as redshift leaves. The last layer is `Radius`.

    Parameters
    ----------
    dimensions : int
        Size of the vectors.
    context : int
        Size of the vectors that they are conditioned on.
    config : FlowConfig
    """

    mean: Tensor
    root: Tensor  # root.T @ root is the covariance

    def __init__(self, dimensions: int, context: int, config: FlowConfig):
        super().__init__()
        order = np.random.default_rng(0)
        layers = []
        for layer in range(config.layers):
            layers.append(Permutation(torch.from_numpy(order.permutation(dimensions))))
            layers.append(
                SplineCoupling(
                    mask=(torch.arange(dimensions) + layer) % 2,
                    transform_net_create_fn=lambda inputs, outputs: ResidualNet(
                        inputs,
                        outputs,
                        config.hidden,
                        context,
                        num_blocks=config.blocks,
                        activation=F.silu,
                    ),  # fmt: skip
                    num_bins=config.bins,
                    tails="linear",
                    tail_bound=TAIL_BOUND,
                )
            )
        self.transform = CompositeTransform(layers)
        self.radius = Radius(dimensions)
        for layer in range(config.layers):
            order = _order_before(*layers[2 * layer : 2 * layer + 2])
            self.register_buffer(f"order{layer}", order, persistent=False)
        self.base = nn.Sequential(
            nn.Linear(context, _BASE_WIDTH), nn.SiLU(), nn.Linear(_BASE_WIDTH, 2 * dimensions)
        )
        for parameter in self.base[2].parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("root", torch.eye(dimensions))

    def fit_scale(self, values: Tensor) -> None:
        """Take mean and width of each dimension from a sample, tensor (n, dimensions).

        For the population, where each condition must keep a dimension of its own.
        """
        self.mean.copy_(values.mean(0))
        self.root.copy_(torch.diag(values.std(0).clamp(min=_LEAST_WIDTH)))

    def fit_axes(self, values: Tensor, first: int = 0) -> None:
        """Take mean, principal axes and widths along them from a sample (n, dimensions).

        Latents are correlated so much that the widths differ by a factor of a hundred, which
        coupling layers would have to learn. The `first` dimensions, a galaxy's colours, have axes
        of their own, and the others those of their residuals in a linear regression on the first
        (if `first` is 0, they are ordinary principal axes): at a redshift colours lie on a narrow,
        curved sheet, which is not found among axes that mix them with structure.
        """
        self.mean.copy_(values.mean(0))
        covariance = torch.cov(values.double().T)
        own, shared = covariance[:first].tensor_split([first], 1)
        told = torch.linalg.pinv(own, hermitian=True) @ shared
        root = torch.zeros_like(covariance)
        root[:first, :first] = _axes(own)
        root[:first, first:] = root[:first, :first] @ told
        root[first:, first:] = _axes(covariance[first:, first:] - told.T @ shared)
        self.root.copy_(root)

    def standardise(self, values: Tensor) -> Tensor:
        """Uncorrelated components, of unit variance, of `values` (n, dimensions)."""
        return torch.linalg.solve(self.root, values - self.mean, left=False)

    def restore(self, unit: Tensor) -> Tensor:
        """Values (n, dimensions) of components from `standardise`."""
        return product(unit, self.root) + self.mean

    def log_prob(self, values: Tensor, context: Tensor) -> Tensor:
        """Log density of `values` (n, dimensions) given `context`, tensor (n,)."""
        moved, logdet, log_width = self._to_base(values, context)
        noise, radial = self.radius(moved)
        normal = -0.5 * (noise.square() + np.log(2 * np.pi)).sum(1)
        return normal + logdet + radial - log_width.sum(1) - self.root.slogdet().logabsdet

    @torch.no_grad()
    def fit_radius(self, values: Tensor, context: Tensor) -> None:
        """Take the radii of noise from galaxies that the trained layers have not seen.

        Parameters
        ----------
        values : tensor (n, dimensions)
        context : tensor (n, context)
        """
        self.radius.fit(self._to_base(values, context)[0])

    def _to_base(self, values: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the coupling layers make of values, the log of their determinant, and log widths."""
        mean, log_width = self._base(context)
        unit = (self.standardise(values) - mean) * torch.exp(-log_width)
        return *self.transform(unit, context), log_width

    def _base(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the width given `context`, tensors (n, dimensions)."""
        mean, width = self.base(context).to(context.dtype).chunk(2, dim=1)
        return mean, 3 * torch.tanh(width / 3)

    def from_noise(self, noise: Tensor, context: Tensor) -> Tensor:
        """Turn standard normal `noise` (n, dimensions) into samples given `context`."""
        values = self.radius.undo(noise)
        couplings = list(self.transform._transforms)[1::2]
        for layer, coupling in reversed(list(enumerate(couplings))):
            values = coupling.undo(values, context).index_select(1, getattr(self, f"order{layer}"))
        mean, log_width = self._base(context)
        return self.restore(values * torch.exp(log_width) + mean)

    def to_noise(self, values: Tensor, context: Tensor) -> Tensor:
        """Noise (n, dimensions) that `from_noise` makes these values of."""
        return self.radius(self._to_base(values, context)[0])[0]


class Flows(nn.Module):
    """The three flows of a model and the variables that they work in.

    Conditions are tensors (n, 4) in the order of `conditions.NAMES`, half-light radius in arcsec;
    NaN marks a condition that is not given. Traits are tensors (n, traits) in the order of
    `traits.TRAITS`.

    Parameters
    ----------
    latent : int
        Number of latent dimensions.
    ranges : dict of str to (low, high)
        Of each condition.
    config : FlowConfig, optional
        Sizes of the latent flow; those of the others are `POPULATION_FLOW` and `TRAIT_FLOW`.

    Attributes
    ----------
    half_light_pixels : tensor ()
        Median half-light radius [pixel] of the stamps that the latents decode to: a little less
        than the canonical one, since stamps fade at their ends.
    turns : Turns
        How often galaxies are turned by each angle.
    trait_context : TraitContext
        How the latent flow is told of traits.
    latent_size, noise_size : int
        Numbers of a galaxy's latent, and of the noise that it is made of.
    """

    limits: Tensor
    half_light_pixels: Tensor

    def __init__(self, latent: int, ranges: dict, config: FlowConfig | None = None):
        super().__init__()
        config = config or FlowConfig()
        count = len(NAMES)
        size = count * (_BUMPS + 2)
        self.latent_size, self.noise_size = latent, latent + len(TRAITS)
        self.turns = Turns()
        self.trait_context = TraitContext()
        self.population = CouplingFlow(count, size, POPULATION_FLOW)
        self.trait = CouplingFlow(len(TRAITS), size + TOLD, TRAIT_FLOW)
        self.latent = CouplingFlow(latent, size + TOLD + self.trait_context.size, config)
        limits = torch.tensor([ranges[name] for name in NAMES], dtype=torch.float64).T
        self.register_buffer("limits", to_variables(limits).float(), persistent=False)
        self.register_buffer("half_light_pixels", torch.tensor(HALF_LIGHT_PIXELS))

    def context(self, conditions: Tensor) -> Tensor:
        """Conditions as networks see them, tensor (n, 4 * (bumps + 2)).

        Each in [-1, 1], a flag each that it is given, and Gaussian bumps; zero where missing.
        """
        given = torch.isfinite(conditions)
        unit = (to_variables(conditions) - self.limits[0]) / (self.limits[1] - self.limits[0])
        unit = torch.where(given, unit, 0.0)
        centres = torch.linspace(0, 1, _BUMPS, dtype=unit.dtype, device=unit.device)
        bumps = torch.exp(-0.5 * ((unit[:, :, None] - centres) * (_BUMPS - 1)).square())
        bumps = (bumps * given[:, :, None]).flatten(1)
        return torch.cat([(2 * unit - 1) * given, given.to(unit.dtype), bumps], 1)

    def posed_context(self, conditions: Tensor, turn: Tensor | None = None) -> Tensor:
        """What the flow of traits is told, tensor (n, numbers).

        Parameters
        ----------
        conditions : tensor (n, 4)
        turn : tensor (n,), optional
            By which the stamp is to be turned [radian]; NaN, or absent, where it lies as the
            frame does, with arms at any angle.
        """
        g = conditions[:, NAMES.index("g")]
        turn = torch.full_like(g, torch.nan) if turn is None else turn
        return torch.cat([self.context(conditions), told(turn, g)], 1)

    def latent_context(
        self, conditions: Tensor, turn: Tensor | None = None, traits: Tensor | None = None
    ) -> Tensor:
        """What the latent flow is told, tensor (n, numbers).

        Parameters
        ----------
        conditions, turn
            As for `posed_context`.
        traits : tensor (n, traits), optional
            NaN, or absent, where any may be.
        """
        if traits is None:
            traits = conditions.new_full((len(conditions), len(TRAITS)), torch.nan)
        posed = self.posed_context(conditions, turn)
        return torch.cat([posed, self.trait_context(traits)], 1)

    def latent_log_prob(
        self, latents: Tensor, conditions: Tensor, turn: Tensor | None = None,
        traits: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Log density (n,) of latents; the others as for `latent_context`."""
        return self.latent.log_prob(latents, self.latent_context(conditions, turn, traits))

    def trait_log_prob(
        self, traits: Tensor, conditions: Tensor, turn: Tensor | None = None
    ) -> Tensor:
        """Log density (n,) of traits; the others as for `posed_context`."""
        return self.trait.log_prob(traits, self.posed_context(conditions, turn))

    def sample_latents(
        self, noise: Tensor, conditions: Tensor, turn: Tensor | None = None
    ) -> Tensor:
        """Latents (n, latent) of standard normal noise (n, noise_size), which is the traits' last.

        The others are as for `posed_context`; the magnitude must be known.
        """
        own, rest = self.split_noise(noise)
        traits = self.sample_told(rest, conditions, turn)
        return self.latent.from_noise(own, self.latent_context(conditions, turn, traits))

    def split_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents' part of noise (n, noise_size), and the traits'."""
        return noise[:, : self.latent_size], noise[:, self.latent_size :]

    def sample_told(
        self, noise: Tensor, conditions: Tensor, turn: Tensor | None = None
    ) -> Tensor:
        """Traits (n, traits) that the latent flow is to be told, of standard normal noise.

        The others are as for `posed_context`; the magnitude must be known.
        """
        drawn = self.trait.from_noise(noise, self.posed_context(conditions, turn))
        return drawn + self.trait_context.shift_at(_magnitude(conditions))

    def latent_noise(
        self, latents: Tensor, traits: Tensor, conditions: Tensor, turn: Tensor | None = None
    ) -> Tensor:
        """Noise (n, noise_size) that `sample_latents` makes these latents of.

        It is another for any traits (n, traits) that the latent flow is told; those measured on the
        decoded stamps are likely. The magnitude must be known.
        """
        drawn = traits - self.trait_context.shift_at(_magnitude(conditions))
        rest = self.trait.to_noise(drawn, self.posed_context(conditions, turn))
        context = self.latent_context(conditions, turn, traits)
        return torch.cat([self.latent.to_noise(latents, context), rest], 1)

    def moved_conditions(self, conditions: Tensor, redshift: Tensor) -> Tensor:
        """Conditions (n, 4) at other redshifts (n, 1), at the same place in the population.

        The population's flow given the redshift alone; its own dimension of a given condition has
        no meaning and is left at the middle.
        """
        column = NAMES.index("redshift")
        here = torch.full_like(conditions, torch.nan)
        there = here.clone()
        here[:, column], there[:, column] = conditions[:, column], redshift[:, 0]
        values = self.population_values(conditions)
        values[:, column] = self.population.mean[column]
        noise = self.population.to_noise(values, self.context(here))
        return self.sample_conditions(noise, there)

    def population_values(self, conditions: Tensor) -> Tensor:
        """Complete conditions as unbounded values, in which the population flow works."""
        unit = (to_variables(conditions) - self.limits[0]) / (self.limits[1] - self.limits[0])
        return torch.logit(unit, eps=_EDGE)

    def population_log_prob(self, values: Tensor, conditions: Tensor) -> Tensor:
        return self.population.log_prob(values, self.context(conditions))

    def sample_conditions(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """Fill in missing conditions, drawn from the population given those that are present.

        Parameters
        ----------
        noise : tensor (n, 4)
            Standard normal.
        conditions : tensor (n, 4)
            NaN where missing.

        Returns
        -------
        tensor (n, 4)
            Given conditions are returned as they are.
        """
        values = self.population.from_noise(noise, self.context(conditions))
        unit = torch.sigmoid(values) * (self.limits[1] - self.limits[0]) + self.limits[0]
        return torch.where(torch.isfinite(conditions), conditions, _from_variables(unit))


def _magnitude(conditions: Tensor) -> Tensor:
    return conditions[:, NAMES.index("magnitude")]


def _order_before(permutation: Permutation, coupling: SplineCoupling) -> Tensor:
    """Where, in the values that `coupling.undo` returns, those before the permutation are."""
    split = torch.cat([coupling.identity_features, coupling.transform_features])
    return split.argsort()[permutation._permutation.argsort()]


def _axes(covariance: Tensor) -> Tensor:
    """Principal axes times the widths along them, as rows."""
    variance, axes = torch.linalg.eigh(covariance)
    return variance.clamp(min=0).sqrt().clamp(min=_LEAST_WIDTH)[:, None] * axes.T


def to_variables(conditions: Tensor) -> Tensor:
    """Return conditions as the flows work in them: magnitude, ln radius, |g|, ln(1 + z).

    Parameters
    ----------
    conditions : tensor (n, 4)
        In the order of `galsim_vae.conditions.NAMES`, the radius in arcsec.

    Returns
    -------
    tensor (n, 4)
    """
    magnitude, radius, g, redshift = conditions.unbind(1)
    return torch.stack([magnitude, radius.log(), g, redshift.log1p()], 1)


def _from_variables(values: Tensor) -> Tensor:
    magnitude, radius, g, redshift = values.unbind(1)
    return torch.stack([magnitude, radius.exp(), g, redshift.expm1()], 1)
