"""Layers packed for the CPU, against torch's own, and against themselves with fewer rows."""

import copy

import pytest
import torch
from torch import nn

from galsim_vae.devices import one_thread, pinned_torch
from galsim_vae.model.packed import FEWEST_ROWS, PackedConvolution, PackedLinear, pack, product
from galsim_vae.model.vae import Decoder, VAEConfig

SMALL = {"latent": 8, "widths": (16, 24), "fine_widths": (16, 8), "encoder_widths": (16, 24)}


@pytest.mark.parametrize("sizes", [(40, 96), (96, 5), (256, 4)])
def test_a_linear_layer_is_the_same(sizes):
    torch.manual_seed(1)
    layer, x = nn.Linear(*sizes), torch.randn(16, sizes[0])
    packed = PackedLinear(layer)
    with torch.inference_mode(), one_thread():  # as the generator computes
        expected = layer(x)
        assert torch.allclose(packed(x), expected, rtol=0, atol=1e-6)
        for n in range(1, 16):
            assert torch.equal(packed(x[:n]), packed(x)[:n])


def test_products_with_few_rows_are_filled_up():
    seen = []

    class Rows(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function is torch.Tensor.matmul:
                seen.append(len(args[0]))
            return super().__torch_function__(function, types, args, kwargs or {})

    matrix = torch.eye(3)
    for n in (0, 1, FEWEST_ROWS, 9):
        x = torch.arange(3.0 * n).reshape(n, 3).as_subclass(Rows)
        assert torch.equal(product(x, matrix), torch.arange(3.0 * n).reshape(n, 3))
    assert seen == [0, FEWEST_ROWS, FEWEST_ROWS, 9]


@pytest.mark.parametrize("frame", ["upright", "round"])
def test_a_decoder_is_the_same(frame):
    torch.manual_seed(2)
    decoder = Decoder(VAEConfig(**SMALL, frame=frame)).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    packed = copy.deepcopy(decoder)
    pack(packed)
    kinds = [type(layer) for layer in packed.modules()]
    assert nn.Linear not in kinds and nn.Conv2d not in kinds
    assert PackedLinear in kinds and PackedConvolution in kinds
    z = torch.randn(16, SMALL["latent"])
    with torch.inference_mode(), pinned_torch():
        expected, found = decoder(z), packed(z)
        assert (found - expected).abs().max() < 1e-6 * expected.max()
        one = packed(z[3:4])
    assert (one - found[3:4]).abs().max() < 1e-6 * expected.max()


def test_without_onednn_the_convolutions_stay(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Linear(4, 4)))
    pack(network)
    assert isinstance(network[0], nn.Conv2d)
    assert isinstance(network[1].get_submodule("0"), PackedLinear)
