"""What a device computes in."""

import pytest
import torch

from galsim_vae.devices import computes_in_bfloat16, half_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({}, False),
    ],
)
def test_half_precision_is_for_processors_that_have_it(abilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    assert computes_in_bfloat16(CPU) is expected
    x = torch.ones(4, 4)
    with half_precision(CPU):
        assert (x @ x).dtype == (torch.bfloat16 if expected else torch.float32)


def test_a_torch_that_cannot_tell_computes_in_full_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not computes_in_bfloat16(CPU)
