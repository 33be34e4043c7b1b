"""Colours of bands that nobody observed, lent by those that were.

What an encoder learns of them is lost among what it learns of the bands that it sees, whose fluxes
are known a hundred times better. So a small network of its own predicts them from the others'.
"""

import torch
from torch import Tensor, nn

__all__ = ["LentColours"]

_WIDTH = 64


class LentColours(nn.Module):
    """Fluxes of some bands -> those of all; before training a galaxy is grey.

    Parameters
    ----------
    bands : int
    """

    def __init__(self, bands: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * bands, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH), nn.SiLU(),
            nn.Linear(_WIDTH, bands),
        )  # fmt: skip
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, log_flux: Tensor, observed: Tensor) -> Tensor:
        """Fill in what was not observed.

        Parameters
        ----------
        log_flux : tensor (n, bands)
            ln f_nu in any unit; what is not observed does not matter.
        observed : bool tensor (n, bands)

        Returns
        -------
        tensor (n, bands)
            `log_flux` where observed, elsewhere the median of what galaxies like this have.
        """
        count = observed.sum(1, keepdim=True).clamp(min=1)
        level = torch.where(observed, log_flux, 0.0).sum(1, keepdim=True) / count
        seen = torch.where(observed, log_flux - level, 0.0)
        lent = level + self.layers(torch.cat([seen, observed.to(seen)], 1))
        return torch.where(observed, log_flux, lent)
