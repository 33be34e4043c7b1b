"""Numbers that training depends on and no recipe sets.

They are recorded in every checkpoint, and one of other numbers is refused, and in the header of
the weights. Modules read them as ``constants.NAME``.
"""

__all__ = ["recorded"]

# --- Galaxies, as they are observed ---

#: Signal-to-noise ratio of the reference band (flux over noise in an aperture of twice the
#: half-light radius), drawn log-uniformly; real galaxies are re-noised into the same range.
SIGNAL_TO_NOISE = (20.0, 3000.0)
#: Width of the narrowest and the widest PSFs of synthetic galaxies, relative to HST's.
SHARPEST, WIDEST = 0.1, 3.0
#: Probability that a synthetic galaxy lacks a given band.
DROP_BAND = 0.3
#: Probability that only the detected segment of a synthetic galaxy was kept.
SEGMENT_ONLY = 0.3
#: Signal-to-noise ratio from which a flux has a colour.
DETECTED = 5.0

# --- Variants of real galaxies ---

#: Largest shear and relative dilation.
MAX_SHEAR, MAX_DILATION = 0.05, 0.05
#: |g| below which a galaxy in the round frame may be turned by any angle, and below which by a few
#: degrees.
FACE_ON, INCLINED, FEW_DEGREES = 0.15, 0.3, 20.0
#: Share of galaxies that take the colours of one drawn from their survey, and the scatter of every
#: band's flux then [in its logarithm]: without it a few hundred colours would be learnt by heart.
EXCHANGED, COLOUR_SCATTER = 0.7, 0.1

#: Scatter of each band's noise about that wanted [in its logarithm], and the least noise that is
#: added, over that wanted.
NOISE_SCATTER, LEAST_ADDED = 0.3, 0.02

# --- The autoencoder ---

#: Probability that a band is hidden, which the encoder must then predict: of real galaxies more
#: often, as the colours of synthetic ones are not quite theirs.
HIDE_SYNTHETIC, HIDE_REAL = 0.1, 0.6
#: Error [mag] of a hidden band's magnitude beyond which it says too little.
KNOWN = 0.15
#: Synthetic galaxies, over the number of latents, whose principal components these begin as, and
#: the share of the learning rate of the paths that hold them: at the whole rate they are soon lost.
COMPONENT_GALAXIES, STRAIGHT_SHARE = 16, 0.05
#: Largest norm of the gradient of the loss over `LOSS_UNIT`.
GRADIENT_CLIP = 1.0
LOSS_UNIT = 1000.0

# --- What is known of synthetic galaxies (`truth`) ---

#: Cycles a stamp, first and last. Lower ones are the galaxy's size and shape, which pixels tell
#: well enough; the decoder's last kernel is zero at 32.
RINGS = (4, 28)
#: Added to the power of stamps of unit flux (1 at zero cycles), so that rings in which a smooth
#: galaxy has next to none do not rule the logarithm.
POWER_FLOOR = 3e-6
#: Flux of a pixel over that of the galaxy below which structure counts little: about the noise at
#: S/N 500, and what a disc has at 2.5 half-light radii.
FAINT = 1e-4
#: Number of scales, from a pixel in steps of two, and the rms of stretched differences below which
#: there is little to gain: a tenth of the structure that an average galaxy has on the first.
STRUCTURE_LEVELS, STRUCTURE_FLOOR = 3, 0.005
#: Relative error of a flux below which there is little to gain.
FLUX_FLOOR = 0.02
#: Noise of a galaxy's flux over that of a pixel, about: between an aperture of twice the half-light
#: radius (21) and the whole stamp (64).
FLUX_NOISE = 40.0
#: Relative errors of the adaptive second moment, whose change is that of the size, and of the flux
#: in the half-light ellipse, below which there is little to gain.
MOMENT_FLOOR, HALF_FLOOR = 0.01, 0.003
#: Width of a galaxy's adaptive weight below which its size does not count [pixel].
LEAST_SIGMA = 0.5
#: Soft edge of the half-light ellipse [pixel], so that its flux has a slope.
SOFT_EDGE = 0.5


def recorded() -> dict[str, float | tuple[float, float]]:
    """Return all of them by name."""
    return {name: value for name, value in globals().items() if name.isupper()}
