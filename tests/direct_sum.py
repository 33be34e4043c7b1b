"""The image of a stamp as one sum, without any approximation: an oracle for the renderers."""

import galsim
import numpy as np


def quintic(k):
    """The transform of GalSim's own interpolant."""
    return galsim.Quintic().kval(np.abs(k).ravel()).reshape(k.shape)


def direct_sum(stamps, i, psf, nx, ny, scale, period, shear, shift, rotation):
    """The image as one sum over wave vectors of sums over samples, without any approximation."""
    psf = psf.withGSParams(maxk_threshold=1e-6, kvalue_accuracy=1e-7)
    turn = galsim.Angle(rotation, galsim.radians)
    jacobian = galsim.Shear(g1=shear[0], g2=shear[1]).getMatrix() @ np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    ) @ stamps.jacobian[i]  # fmt: skip
    image = stamps.array[i, 2].astype(float) * stamps.weights()[i, 2]
    centre = np.asarray(shift) - jacobian @ stamps.offset[i]
    step = 2 * np.pi / period
    m = int(np.ceil(psf.maxk / step))
    kx, ky = step * np.arange(m + 1), step * np.arange(-m, m + 1)
    response = psf.drawKImage(nx=2 * m + 2, ny=2 * m + 2, scale=step).array[1:, m + 1 :]
    response = response * np.outer(*(np.sinc(k * scale / (2 * np.pi)) for k in (ky, kx)))
    samples = np.arange(64) - 31.5
    y, x = (scale * (np.arange(size) - (size - 1) / 2) for size in (ny, nx))
    out = np.zeros((ny, nx))
    for row in range(len(ky)):
        p = jacobian[0, 0] * kx + jacobian[1, 0] * ky[row]
        q = jacobian[0, 1] * kx + jacobian[1, 1] * ky[row]
        lines = np.exp(-1j * np.outer(q, samples)) @ image
        values = (lines * np.exp(-1j * np.outer(p, samples))).sum(axis=1)
        values *= quintic(p) * quintic(q) * response[row]
        values *= np.exp(-1j * (kx * centre[0] + ky[row] * centre[1]))
        values[1:] *= 2
        out += (np.exp(1j * ky[row] * y)[:, None] * (values @ np.exp(1j * np.outer(kx, x)))).real
    return out * (scale / period) ** 2
