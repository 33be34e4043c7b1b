"""Likelihood, observation model and training loop."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.frame.psf_shape import psf_shape
from galsim_vae.model import likelihood
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.fit import augment, encoded, observe
from galsim_vae.train.fit import autoencoder as loop
from galsim_vae.train.fit import flows as fitflows
from galsim_vae.train.fit.batch import AS_STATED, INFERENCE, Batch
from galsim_vae.train.fit.checkpoint import WorkFolder
from galsim_vae.train.fit.real import RealGalaxies
from galsim_vae.train.fit.refine import refine
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies
from galsim_vae.train.training_file import Dataset

TINY = VAEConfig(latent=4, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8))


@pytest.fixture(scope="module")
def sources():
    return loop.Sources(colour_table(), observe.RadialPSFTable.hst())


def gaussian_psf(sigma, n=1, bands=5):
    axis = torch.arange(64.0) - 32
    image = torch.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / sigma**2)
    psf = (image / image.sum()).expand(n, bands, 64, 64)
    return torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1)))


def test_convolution_agrees_with_a_direct_sum():
    generator = torch.Generator().manual_seed(1)
    stamp = torch.zeros(1, 5, 64, 64)
    stamp[:, :, 20:44, 20:44] = torch.rand(1, 5, 24, 24, generator=generator)
    kernel = torch.rand(5, 5, generator=generator)
    psf = torch.zeros(1, 5, 64, 64)
    psf[:, :, 30:35, 30:35] = kernel
    otf = torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1)))
    direct = torch.nn.functional.conv2d(
        stamp.transpose(0, 1), kernel.flip(0, 1)[None, None], padding=2
    ).transpose(0, 1)
    assert torch.allclose(likelihood.convolve(stamp, otf), direct, atol=1e-4)


def test_psf_size_is_the_sigma_of_a_gaussian():
    log_sigma, e1, e2 = (values[0, 0].item() for values in psf_shape(gaussian_psf(2.5)))
    assert math.exp(log_sigma) == pytest.approx(2.5, rel=1e-3)
    assert abs(e1) < 1e-5 and abs(e2) < 1e-5


def test_amplitude_and_chi_square_of_a_known_case():
    generator = torch.Generator().manual_seed(2)
    model = torch.rand(3, 5, 64, 64, generator=generator)
    noise = 0.1 * torch.randn(model.shape, generator=generator)
    mask = torch.rand(model.shape, generator=generator) > 0.3
    weight = likelihood.inverse_variance(torch.full((3, 5), 0.1), torch.ones(3, 5), mask)
    data = 2.5 * model + noise
    assert likelihood.fit_amplitude(data, model, weight).numpy() == pytest.approx(2.5, rel=1e-2)
    half = likelihood.half_chi_square(data, model, weight)
    dof = likelihood.degrees_of_freedom(torch.ones(3, 5), mask)
    assert (2 * half / dof).numpy() == pytest.approx(1.0, abs=0.05)
    # At chi^2 / dof = 1 the misfit is half chi^2.
    assert likelihood.misfit(0.5 * dof, dof).numpy() == pytest.approx((0.5 * dof).numpy())


def test_correlated_noise_counts_for_its_independent_pixels():
    mask = torch.ones(1, 5, 64, 64, dtype=torch.bool)
    noise = torch.ones(1, 5)
    white = likelihood.inverse_variance(noise, torch.ones(1, 5), mask)
    correlated = likelihood.inverse_variance(noise, torch.full((1, 5), 4.0), mask)
    assert torch.equal(white, 4 * correlated)
    assert likelihood.degrees_of_freedom(torch.full((1, 5), 4.0), mask).item() == 5 * 64 * 64 / 4


def test_kl_divergence_agrees_with_torch():
    mean, log_variance = torch.randn(6, 3), torch.randn(6, 3)
    ours = likelihood.kl_divergence(mean, log_variance)
    posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(ours, expected.sum(1), atol=1e-5)


def test_psf_table_agrees_with_galsim(sources):
    """The tabulated PSF, on a canonical grid, is the GalSim model with a canonical pixel."""
    import galsim

    from galsim_vae.bands import BANDS, hst_psf

    scale = 0.05
    otf = sources.psfs.canonical(torch.tensor([scale]))[0, BANDS.index("F814W")]
    profile = galsim.Convolve(hst_psf("F814W"), galsim.Pixel(scale))
    k = 2 * np.pi * np.fft.fftfreq(64) / scale
    ours = otf[:, 0].numpy()
    theirs = np.array([profile.kValue(0, value).real for value in k])
    assert np.abs(ours - theirs).max() < 0.02


def test_observed_noise_and_flux_are_as_stated(sources):
    generator = torch.Generator().manual_seed(3)
    conditions, stamps = fresh_galaxies(16, sources.colours, generator)
    scale = canonical_pixel_scale(conditions)
    level = torch.full((16,), 50.0)
    batch = observe.observe(stamps, scale, sources.psfs, generator, level, complete=True)
    residual = batch.image - likelihood.convolve(stamps, batch.otf)
    measured = residual.std((2, 3)) / batch.noise
    assert measured.numpy() == pytest.approx(1.0, abs=0.06)


def test_an_untrained_network_gives_back_colours():
    torch.manual_seed(1)
    vae = VAE(VAEConfig(latent=8, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8)))
    vae = vae.requires_grad_(False)
    colour = torch.exp(0.6 * torch.randn(32, 5))  # within the factor of 100 that is allowed for
    colour[:, 2] = 1
    stamps = vae.decoder(torch.randn(32, 8))
    stamps = stamps / stamps.sum((2, 3), keepdim=True) * colour[:, :, None, None]
    one, every = torch.ones(32, 5), torch.ones_like(stamps, dtype=torch.bool)
    mean, _ = vae.encode(stamps, gaussian_psf(1.0, 32), 1e-5 * one, every)
    assert torch.allclose(vae.decoder(mean).sum((2, 3)), colour, rtol=1e-4)


def test_latents_must_hold_the_colours():
    with pytest.raises(ValueError, match="latent is 3; it must be at least 4"):
        VAE(VAEConfig(latent=3))


def test_the_truth_counts_with_its_weights(sources):
    torch.manual_seed(1)
    model = VAE(TINY).requires_grad_(False)
    config = loop.LoopConfig(batch=4, real=0, power=0.0, colour=0.0, size=0.0, structure=0.0)
    batch, true = loop.draw_batch(config, sources, torch.Generator().manual_seed(1))

    def loss(**terms):
        generator = torch.Generator().manual_seed(2)
        return loop.losses(model, batch, true, replace(config, **terms), generator)[0].item()

    for name in ("power", "colour", "size"):
        one, two = (loss(**{name: weight}) - loss() for weight in (1e4, 2e4))
        assert one > 0 and two == pytest.approx(2 * one, rel=1e-2)


def test_flows_learn_the_conditions_of_their_galaxies(sources, tmp_path):
    """The population's density rises, and bright galaxies come out larger than faint ones."""
    torch.manual_seed(1)
    config = fitflows.FlowTraining(galaxies=1024, steps=300, batch=128, real=0)
    vae = VAE(TINY)
    flows = fitflows.train(vae, sources, DEFAULT_RANGES, FlowConfig(2, 16), config, tmp_path)
    other = WorkFolder(tmp_path / "other", {})
    made = encoded.encode_synthetic(vae, sources, 512, config.drop, 9, other)
    known = made.conditions[made.from_population]
    usual = made.pixels[made.from_population].median().item()
    assert flows.half_light_pixels.item() == pytest.approx(usual, rel=0.02)
    blank = Flows(TINY.latent, DEFAULT_RANGES, FlowConfig(2, 16))
    values = flows.population_values(known)
    blank.population.fit_scale(values)
    nothing = torch.full_like(known, torch.nan)
    learnt = flows.population_log_prob(values, nothing).mean()
    assert learnt > blank.population_log_prob(values, nothing).mean() + 0.1
    noise = torch.randn(400, 4, generator=torch.Generator().manual_seed(2))
    sizes = []
    for magnitude in (20.0, 25.0):
        asked = torch.full((400, 4), torch.nan)
        asked[:, 0] = magnitude
        sizes.append(flows.sample_conditions(noise, asked)[:, 1].median())
    assert sizes[0] > 1.2 * sizes[1]


@pytest.fixture(scope="module")
def real_galaxies(sources):
    """Six galaxies in the form of a training file: a band missing, own noise, NaN conditions."""
    generator = torch.Generator().manual_seed(6)
    conditions, stamps = fresh_galaxies(6, sources.colours, generator)
    otf = gaussian_psf(2.0, 6)
    image = likelihood.convolve(stamps, otf)
    noise = torch.full((6, 5), 2e-5)
    noise[:3] = 0.0
    image = image + noise[:, :, None, None] * torch.randn(image.shape, generator=generator)
    mask = torch.ones(image.shape, dtype=torch.bool)
    mask[:, 0] = False
    psf = torch.fft.fftshift(torch.fft.irfft2(otf, s=(64, 64)), dim=(-2, -1))
    nan = np.full(6, np.nan, np.float32)
    data = Dataset(
        image=image.numpy(), psf=psf.numpy(), mask=mask.numpy(), noise=noise.numpy(),
        noise_area=np.full((6, 5), 3.0, np.float32), magnitude=nan, half_light_radius=nan,
        g=conditions[:, 2].numpy(), redshift=nan, pixel_scale=np.full(6, 0.05, np.float32),
        frame_g=np.zeros(6, np.float32), angle=np.zeros(6, np.float32),
        flux_scale=np.ones(6, np.float32), source=np.array(["x"] * 6),
        source_index=np.arange(6), valid=np.zeros(6, bool),
    )  # fmt: skip
    return RealGalaxies(data, ~data.valid), stamps


def test_real_galaxies_are_renoised_as_stated(real_galaxies):
    real, stamps = real_galaxies
    index = torch.arange(6).repeat(8)
    generator = torch.Generator().manual_seed(8)
    level = torch.full((48,), 100.0)
    original = augment.vary
    augment.vary = lambda image, mask, otf, *_: (image, mask, otf, torch.ones(len(image)))
    try:
        batch = real.batch(index, generator, level)
    finally:
        augment.vary = original
    assert (batch.image[:, 0] == 0).all() and not batch.mask[:, 0].any()
    truth = likelihood.convolve(stamps[index], batch.otf)
    flux = real.observed.image.sum((2, 3)).amax(1)[index]
    scale = fit = likelihood.fit_amplitude(batch.image, truth, batch.mask.float())
    residual = (batch.image - scale[:, None, None, None] * truth)[:, 1:]
    assert torch.allclose(flux, torch.ones(48), atol=1e-4) and (fit > 0).all()
    measured = residual.std((2, 3)) / batch.noise[:, 1:]
    assert measured.numpy() == pytest.approx(1.0, abs=0.08)
    assert (batch.noise >= real.observed.noise[index] * 0.999).all()
    assert (batch.noise_area >= 1.0).all() and (batch.noise_area <= 3.0).all()


def test_exchanged_colours_keep_each_bands_signal_to_noise(real_galaxies):
    real, _ = real_galaxies
    index, level = torch.arange(3, 6).repeat(20), torch.full((60,), 1e5)
    batch = real.batch(index, torch.Generator().manual_seed(9), level, exchange=True)
    flux = (batch.image * batch.mask).sum((2, 3))
    own = real.observed.image.sum((2, 3))[index]
    assert flux.amax(1).numpy() == pytest.approx(1.0, abs=0.02)
    assert (flux / own)[:, 1:].log().std(1).max() > 0.05
    ratio = (flux / batch.noise) / (own / real.observed.noise[index])
    assert ratio[:, 1:].numpy() == pytest.approx(1.0, abs=0.1)
    assert (flux[:, 0] == 0).all()


def test_a_hidden_band_is_to_be_predicted(sources, real_galaxies):
    torch.manual_seed(1)
    model = VAE(TINY).requires_grad_(False)
    both = loop.Sources(sources.colours, sources.psfs, real_galaxies[0])
    config = loop.LoopConfig(batch=2, real=6, hidden=0.0)
    batch, true = loop.draw_batch(config, both, torch.Generator().manual_seed(2))

    def loss(weight):
        generator = torch.Generator().manual_seed(3)
        return loop.losses(model, batch, true, replace(config, hidden=weight), generator)[0]

    assert loss(100.0) - loss(0.0) == pytest.approx((loss(50.0) - loss(0.0)).item() * 2, rel=1e-3)
    assert loss(100.0) > loss(0.0)


def test_a_hidden_band_counts_by_its_magnitude_and_not_in_the_likelihood(monkeypatch):
    mask = torch.ones(2, 5, 64, 64, dtype=torch.bool)
    x = torch.arange(64.0) - 31.5
    stamps = torch.exp(-0.5 * (x[:, None] ** 2 + x**2) / 25).expand(2, 5, 64, 64)
    one = torch.ones(2, 5)
    batch = Batch(stamps, torch.ones(2, 5, 64, 33), 0.01 * one, one, mask)
    shown = mask.clone()
    shown[:, 1] = False
    fainter = batch.image.clone()
    fainter[:, 1] *= 10 ** (-0.4 * 0.3)
    fainter = batch._replace(image=fainter)
    assert loop.hidden_misfit(fainter, stamps, shown).item() == pytest.approx(0.6, abs=1e-4)
    assert loop.hidden_misfit(fainter, stamps, mask) == 0
    assert loop.hidden_misfit(batch, stamps, shown).item() == pytest.approx(0, abs=1e-5)
    loud = torch.tensor([0.01, 10.0, 0.01, 0.01, 0.01]).expand(2, 5)
    assert loop.hidden_misfit(fainter._replace(noise=loud), stamps, shown) == 0

    torch.manual_seed(1)
    model = VAE(TINY).requires_grad_(False)
    monkeypatch.setattr(loop, "hide_band", lambda *_: shown)
    config = loop.LoopConfig(hidden=0.0)
    chi_squares = [
        loop.losses(model, seen, stamps[:1], config, torch.Generator().manual_seed(3))[2]
        for seen in (batch, fainter)
    ]
    assert torch.equal(*chi_squares)


def test_hidden_bands_are_observed_ones_and_never_the_last():
    mask = torch.zeros((2000, 5, 4, 4), dtype=torch.bool)
    mask[:1000, 1] = True
    mask[1000:, 1:4] = True
    shown = loop.hide_band(mask, 1500, torch.Generator().manual_seed(1))
    assert torch.equal(shown[:1000], mask[:1000])
    assert not (shown & ~mask).any()
    bands = shown[1000:].flatten(2).any(2)
    assert set(bands.sum(1).tolist()) == {2, 3}
    synthetic, real = (1 - half.float().mean(0)[1:4] for half in bands.split(500))
    assert synthetic.numpy() == pytest.approx(0.1 / 3, abs=0.03)
    assert real.numpy() == pytest.approx(0.6 / 3, abs=0.06)


def test_training_step_with_real_galaxies(sources, real_galaxies, tmp_path):
    config = loop.LoopConfig(steps=2, batch=2, real=2)
    both = loop.Sources(sources.colours, sources.psfs, real_galaxies[0])
    vae = loop.train(TINY, config, both, tmp_path)
    assert all(torch.isfinite(p).all() for p in vae.parameters())
    found = encoded.encode_real(vae, both, 64, 0.1, 0.2, 1, WorkFolder(tmp_path, {}))
    assert torch.isnan(found.conditions[:, [0, 1, 3]]).all()
    assert torch.isfinite(found.conditions[:, 2]).all()
    with pytest.raises(ValueError, match=r"training.steps = 2, not 1"):
        other = loop.LoopConfig(steps=1, batch=2, real=2)
        loop.train(TINY, other, both, tmp_path)


def test_galaxies_encoded_by_processes_are_the_same(sources, tmp_path):
    torch.manual_seed(6)
    vae = VAE(TINY).eval().requires_grad_(False)
    before, made = torch.get_num_threads(), {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        work = WorkFolder(tmp_path / str(threads), {})
        made[threads] = encoded.encode_synthetic(vae, sources, 17 * 64, 0.1, 5, work)
    torch.set_num_threads(before)
    for name, one, two in zip(encoded.Encoded._fields, *made.values(), strict=True):
        assert torch.equal(one.nan_to_num(9), two.nan_to_num(9)), name


def test_refining_improves_the_fit(sources):
    torch.manual_seed(3)
    vae = VAE(TINY).requires_grad_(False)
    generator = torch.Generator().manual_seed(4)
    conditions, stamps = fresh_galaxies(4, sources.colours, generator)
    batch = observe.observe(stamps, canonical_pixel_scale(conditions), sources.psfs, generator)
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)

    def misfit(latent):
        model = likelihood.convolve(vae.decoder(latent), batch.otf)
        return likelihood.half_chi_square(batch.image, model, weight).sum()

    start, _ = vae.encode(batch.image, batch.otf, batch.noise, batch.mask)
    assert misfit(refine(vae, batch, steps=20)) < misfit(start)
    held = refine(vae, batch, 60, prior=1e6, learning_rate=0.2)
    assert held.numpy() == pytest.approx(0.0, abs=0.1)


@pytest.fixture
def observed(sources):
    """Three galaxies as arrays of a training file: one bright, one noise free, one all noise."""
    generator = torch.Generator().manual_seed(12)
    _, stamps = fresh_galaxies(3, sources.colours, generator)
    image = 50 * stamps
    image[2] = 0
    psf = torch.zeros_like(image)
    psf[..., 32, 32] = 1.0
    noise = torch.tensor([0.01, 0.0, 0.01])[:, None].repeat(1, 5)
    image = image + noise[:, :, None, None] * torch.randn(image.shape, generator=generator)
    mask = torch.ones(image.shape, dtype=torch.bool)
    mask[:, 0] = False
    image[0, 0] = torch.nan  # never looked at
    return [values.numpy() for values in (image, psf, noise, torch.full((3, 5), 0.5), mask)]


def test_a_batch_has_unit_flux_or_so_many_times_its_noise(observed):
    for floors in (AS_STATED, INFERENCE):
        batch = Batch.from_arrays(*observed, floors)
        assert all(torch.isfinite(values).all() for values in batch)
        assert (batch.image[~batch.mask] == 0).all()
        flux = batch.image.sum((2, 3)).amax(1)
        assert flux[:2].numpy() == pytest.approx(1.0, rel=1e-5)
        error = batch.noise[2, 1] * (np.pi * 12**2) ** 0.5
        assert error.item() == pytest.approx(1 / floors.faintest, rel=1e-3)
        assert (batch.noise_area == 1.0).all()


def test_inference_allows_for_noise_where_the_file_states_none(observed):
    stated, allowed = (Batch.from_arrays(*observed, floors) for floors in (AS_STATED, INFERENCE))
    assert torch.equal(stated.image, allowed.image)
    assert (stated.noise[1] == 0).all()
    ratio = 1 / (allowed.noise[1] * (np.pi * 12**2) ** 0.5)
    assert ratio.numpy() == pytest.approx(INFERENCE.best, rel=1e-3)
    added = (allowed.noise[0].square() - stated.noise[0].square()).sqrt()
    assert added.numpy() == pytest.approx(allowed.noise[1].numpy(), rel=1e-2)
    weight = likelihood.inverse_variance(allowed.noise, allowed.noise_area, allowed.mask)
    assert weight.max() < 1e12


def test_colours_do_not_train_the_convolutions():
    config = replace(TINY, latent=8, frame="round")
    encoder, bands = VAE(config).encoder, config.bands
    images = torch.rand(2, bands, 64, 64, generator=torch.Generator().manual_seed(1))
    otf, noise = torch.ones(2, bands, 64, 33), torch.full((2, bands), 0.1)
    _, mean, _ = encoder(images, otf, noise, torch.ones_like(images, dtype=torch.bool))

    def slope(values):
        weight = encoder.trunk.stem.weight
        return torch.autograd.grad(values.sum(), weight, retain_graph=True)[0].norm()

    assert slope(mean[:, : bands - 1]) == 0 and slope(mean[:, bands - 1 :]) > 0
    with torch.no_grad():
        _, again, _ = encoder(images, otf, noise, torch.ones_like(images, dtype=torch.bool))
    assert torch.equal(again, mean)
