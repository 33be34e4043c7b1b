"""A reader that makes its galaxies."""

import galsim
import made_survey
import numpy as np

from galsim_vae.frame.observation import Observation
from galsim_vae.train.readers.source import Source


class Made:
    """A reader of galaxies drawn from their index; every third is rejected."""

    provenance, filters = "made", {"F814W": "F814W"}

    def __init__(self, name="made", chunks=4, stop_at=None):
        self.name, self.chunks, self.stop_at = name, chunks, stop_at

    def check(self):
        pass

    def __len__(self):
        return self.chunks

    def read(self, chunk):
        for i in range(3 * chunk, 3 * chunk + 3):
            if i == self.stop_at:
                raise KeyboardInterrupt
            disc = galsim.Exponential(half_light_radius=0.4, flux=50).shear(g1=0.03 * i + 0.1, g2=0)
            psf = made_survey.PSFS["F814W"]
            image = galsim.Convolve(disc, psf).drawImage(
                nx=80, ny=80, scale=0.06, method="no_pixel"
            )
            noise = np.random.default_rng(i).normal(scale=0.003, size=(80, 80))
            observation = Observation(
                {"F814W": image.array + noise}, {"F814W": 0.06}, {"F814W": psf}, {"F814W": 0.003}
            )
            source = Source(self.name, i, observation, {"F814W": "F814W"}, identifier=f"g{i}")
            source.zeropoint, source.catalogue = 25.0, {"ra": 10.0 + i} if i % 2 else {}
            source.reason = "every third" if i % 3 == 2 else ""
            yield source
