"""How far from its centre a flow's noise lies."""

import torch
from scipy import stats
from torch import Tensor, nn

__all__ = ["Radius"]

_KNOTS = 64
# Radii of rows that are equal are told apart by this much, so that the map has an inverse.
_APART = 1e-6
# Far beyond any radius of noise, over that of the last knot.
_FAR = 100.0


class Radius(nn.Module):
    """A map of the radius of vectors, their direction kept: piecewise linear and monotonic.

    Galaxies differ much in how much structure they have, in all dimensions at once. Coupling layers
    see half of these at a time and learn most of that, but not all; what is left shows as noise of
    galaxies that lies farther from the centre, or nearer to it, than normal noise ever does. Drawn
    from normal noise, the liveliest and the smoothest galaxies are missing. So the flow's base is
    not normal but spherical, with the radii that galaxies have.

    It begins as the identity.

    Parameters
    ----------
    dimensions : int
        Size of the vectors.
    """

    knots: Tensor  # (2, k): radii of normal noise, and of galaxies

    def __init__(self, dimensions: int):
        super().__init__()
        share = (torch.arange(_KNOTS, dtype=torch.float64) + 0.5) / _KNOTS
        normal = torch.from_numpy(stats.chi.ppf(share.numpy(), dimensions))
        self.register_buffer("knots", _ended(normal).float().expand(2, -1).clone())

    def fit(self, vectors: Tensor) -> None:
        """Take the radii of galaxies from what the coupling layers make of them.

        Parameters
        ----------
        vectors : tensor (n, dimensions)
            Of galaxies that these layers were not trained on: they bring those that they know
            nearer to the normal radius.
        """
        share = (torch.arange(_KNOTS, dtype=torch.float64, device=vectors.device) + 0.5) / _KNOTS
        found = torch.quantile(_norm(vectors), share)
        apart = _APART * torch.arange(_KNOTS, device=vectors.device)
        self.knots[1] = _ended(found + apart).to(self.knots.dtype)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Turn what coupling layers make of galaxies (n, dimensions) into normal noise.

        Returns
        -------
        noise : tensor (n, dimensions)
        logdet : tensor (n,)
            Logarithm of the determinant of the derivative.
        """
        return _moved(vectors, self.knots[1], self.knots[0])

    def undo(self, noise: Tensor) -> Tensor:
        """Turn normal noise (n, dimensions) into what `forward` makes it of."""
        return _moved(noise, self.knots[0], self.knots[1])[0]


def _norm(vectors: Tensor) -> Tensor:
    """Radii (n,) in double precision: the same whatever order a sum is taken in."""
    return vectors.double().square().sum(1).sqrt()


def _ended(radii: Tensor) -> Tensor:
    """Knots with ends, so that the map is proportional within the first and beyond the last."""
    return torch.cat([radii.new_zeros(1), radii, _FAR * radii[-1:]])


def _moved(vectors: Tensor, old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors whose radii go from `old` knots to `new` ones, and the log of the determinant."""
    old, new = old.double(), new.double()
    radius = _norm(vectors)
    above = torch.searchsorted(old, radius).clamp(1, len(old) - 1)
    slope = (new[above] - new[above - 1]) / (old[above] - old[above - 1])
    moved = new[above - 1] + slope * (radius - old[above - 1])
    ratio = torch.where(radius > 0, moved / radius, slope)
    logdet = slope.log() + (vectors.shape[1] - 1) * ratio.log()
    return vectors * ratio[:, None].to(vectors.dtype), logdet.to(vectors.dtype)
