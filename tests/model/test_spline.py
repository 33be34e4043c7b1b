"""Rational-quadratic splines and their coupling layers, against nflows and zuko."""

import math

import pytest
import torch
from nflows.nn.nets import ResidualNet
from nflows.transforms.coupling import PiecewiseRationalQuadraticCouplingTransform

from galsim_vae.model.spline import SplineCoupling, bins_of, inverse_spline, spline

BOUND, BINS, FEATURES, CONTEXT = 5.0, 8, 7, 3


def couplings(spread, dtype=torch.float64):
    """Our layer and nflows' with the same parameters, that spread the splines so much."""
    torch.manual_seed(2)
    layers = [
        cls(
            torch.arange(FEATURES) % 2,
            lambda inputs, outputs: ResidualNet(inputs, outputs, 16, CONTEXT),
            num_bins=BINS,
            tails="linear",
            tail_bound=BOUND,
        ).to(dtype)
        for cls in (SplineCoupling, PiecewiseRationalQuadraticCouplingTransform)
    ]
    for parameter in layers[0].parameters():
        parameter.data += spread * torch.randn_like(parameter)
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


def values(dtype=torch.float64, n=200):
    """Inputs on both sides of the bound, and on it, and contexts."""
    generator = torch.Generator().manual_seed(3)
    x = 3 * torch.randn(n, FEATURES, generator=generator, dtype=dtype)
    x[0], x[1], x[2] = BOUND, -BOUND, 40.0
    return x, torch.randn(n, CONTEXT, generator=generator, dtype=dtype)


def test_nflows_calls_our_splines(monkeypatch):
    seen = []
    ours, _ = couplings(0.3)
    original = ours._piecewise_cdf
    monkeypatch.setattr(ours, "_piecewise_cdf", lambda *a: seen.append(1) or original(*a))
    ours(*values())
    assert seen


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_coupling_agrees_with_nflows(spread, direction):
    ours, theirs = couplings(spread)
    x, context = values()
    results = (getattr(layer, direction)(x, context) for layer in (ours, theirs))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-8)


def test_gradients_agree_with_nflows():
    ours, theirs = couplings(0.3)
    gradients = []
    for layer in (ours, theirs):
        x, context = values()
        y, logdet = layer(x.requires_grad_(), context)
        (y.square().sum() + logdet.sum()).backward()
        gradients.append([x.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-7 * b.abs().max().item())


def test_gradients_of_the_spline():
    generator = torch.Generator().manual_seed(4)
    x = 5 * torch.rand(6, generator=generator, dtype=torch.float64) - 2.5
    shape = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    slopes = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    for function in (spline, inverse_spline):
        assert torch.autograd.gradcheck(
            lambda x, a, b, f=function: f(x, *bins_of(a, b, 2.0, 1e-3, 1e-3), 2.0),
            [t.clone().requires_grad_() for t in (x, shape, slopes)],
        )


def test_spline_agrees_with_zuko():
    from zuko.transforms import MonotonicRQSTransform

    generator = torch.Generator().manual_seed(3)
    bins = 6
    x = 3 * torch.randn(200, generator=generator, dtype=torch.float64)
    # Equal bins and given slopes: the two libraries regularise raw parameters differently, so
    # both are given a shape that means the same to each.
    slopes = torch.rand(bins - 1, generator=generator, dtype=torch.float64) + 0.5
    raw = torch.log(torch.expm1(slopes - 1e-3))
    shape = torch.zeros(2, bins, 200, dtype=torch.float64)
    ours = bins_of(shape, raw[:, None].expand(-1, 200), BOUND, 1e-3, 1e-3)
    y, logdet = spline(x, *ours, BOUND)
    # zuko bends log slopes as d / (1 + |d / log(slope)|); undo that beforehand.
    floor, wanted = 1e-12, slopes.log()
    bent = wanted / (1 - (wanted / math.log(floor)).abs())
    zeros = torch.zeros(bins, dtype=torch.float64)
    theirs = MonotonicRQSTransform(zeros, zeros, bent, bound=BOUND, slope=floor)
    expected, ladj = theirs.call_and_ladj(x)
    assert torch.allclose(y, expected, atol=1e-6)
    assert torch.allclose(logdet, ladj, atol=1e-6)
    assert torch.allclose(inverse_spline(expected, *ours, BOUND)[0], x, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_inverse_holds_in_float32(scale):
    """Bins as narrow and slopes as steep as may be; at the knots, the bound and next to them."""
    generator = torch.Generator().manual_seed(6)
    n = 20_000
    shape = scale * torch.randn(2, BINS, n, generator=generator)
    slopes = scale * torch.randn(BINS - 1, n, generator=generator)
    knots, slopes = bins_of(shape, slopes, BOUND, 1e-3, 1e-3)
    chosen = torch.randint(BINS + 1, (n,), generator=generator)
    y = knots[1].gather(0, chosen[None])[0] + torch.randn(n, generator=generator) * 1e-6
    y = torch.cat([y, 10 * torch.rand(n, generator=generator) - 5]).clamp(-BOUND, BOUND)
    knots, slopes = knots.repeat(1, 1, 2), slopes.repeat(1, 2)
    x, logdet = inverse_spline(y, knots, slopes, BOUND)
    assert torch.isfinite(x).all() and torch.isfinite(logdet).all()
    assert (x.abs() <= BOUND * (1 + 1e-6)).all()
    exact, _ = inverse_spline(y.double(), knots.double(), slopes.double(), BOUND)
    back, _ = spline(x.double(), knots.double(), slopes.double(), BOUND)
    # Where the spline is flat, x is uncertain; where it is steep, its value is.
    error = torch.minimum((x - exact).abs(), (back - y).abs())
    assert error.max() < 1e-4


def test_beyond_the_bound_nothing_changes():
    shape = torch.zeros(2, BINS, 4)
    bins = bins_of(shape, torch.zeros(BINS - 1, 4), BOUND, 1e-3, 1e-3)
    x = torch.tensor([-1e4, -5.0001, 5.0001, torch.nan])
    for function in (spline, inverse_spline):
        y, logdet = function(x, *bins, BOUND)
        assert torch.equal(y[:3], x[:3]) and torch.isnan(y[3])
        assert (logdet == 0).all()
