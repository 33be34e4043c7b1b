"""What a host program sets in torch and NumPy is no part of a galaxy, and is left as it was."""

import contextlib
import functools
import subprocess
import sys
import threading
import warnings

import galsim
import numpy as np
import pytest
import torch

import galsim_vae
from galsim_vae.devices import find_device, pinned_torch
from galsim_vae.model import file as modelfile
from galsim_vae.shear.twins import in_one_band, sersic_twins


def bits():
    """Everything that a network or the renderer makes, by name."""
    gen = galsim_vae.GalaxyGenerator("candels", device="cpu")
    table = gen.sample_conditions(10, galsim.BaseDeviate(1))
    stamps = gen.sample(table, galsim.BaseDeviate(2))
    psf = np.zeros_like(stamps.array)
    psf[:, :, 32, 32] = 1
    mean, _ = gen.encode(stamps.array, psf, np.full(stamps.array.shape[:2], 1e-4))
    galaxy = gen.galaxy(magnitude=22, rng=galsim.BaseDeviate(3))
    config = {
        "gal": {"type": "VAEGalaxy", "magnitude": 22},
        "psf": {"type": "Gaussian", "fwhm": 0.7},
        "image": {"type": "Single", "size": 32, "pixel_scale": 0.2, "random_seed": 5},
    }
    seen = {"noise": galsim.PoissonNoise(sky_level=10), "seed": 4, "device": "cpu"}
    return {
        "conditions": np.array([table[name].value for name in ("magnitude", "g1", "redshift")]),
        "sample": stamps.array,
        "jacobian": stamps.jacobian,
        "render": stamps.render(galsim.Kolmogorov(fwhm=0.7), 32, 32, 0.2, **seen),
        "galaxy": galsim.Convolve(galaxy, galsim.Gaussian(fwhm=0.6)).drawImage(scale=0.2).array,
        "encode": mean,
        "decode": gen.decode(mean),
        "yaml": galsim.config.BuildImage(config).array,
        "twins": sersic_twins(in_one_band(stamps[:4], "F814W")).stamps.array,
    }


@pytest.fixture(scope="module")
def right():
    return bits()


@contextlib.contextmanager
def setting(read, write, value):
    """Set something, and see that it is found again in the end."""
    before = read()
    write(value)
    try:
        found = read()
        yield
        assert read() == found
    finally:
        write(before)


@contextlib.contextmanager
def mode(read, context):
    """Enter a context that is told by what is read in it."""
    with context:
        found = read()
        yield
        assert read() == found


def attribute(owner, name, value):
    return setting(
        functools.partial(getattr, owner, name), functools.partial(setattr, owner, name), value
    )


def set_default_device(device):
    """Set none for the processor: a device that is set stays in force as a mode afterwards."""
    torch.set_default_device(None if device.type == "cpu" else device)


def flushes():
    return sys.float_info.min / 2 == 0


@contextlib.contextmanager
def errors_for_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


backends = torch.backends
matmul = torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
HOSTS = {
    "matmul medium": lambda: setting(*matmul, "medium"),
    "matmul high": lambda: setting(*matmul, "high"),
    "bf16 everywhere": lambda: attribute(backends, "fp32_precision", "bf16"),
    "bf16 in mkldnn.matmul": lambda: attribute(backends.mkldnn.matmul, "fp32_precision", "bf16"),
    "bf16 in mkldnn.conv": lambda: attribute(backends.mkldnn.conv, "fp32_precision", "bf16"),
    "tf32 in cuda.matmul": lambda: attribute(backends.cuda.matmul, "fp32_precision", "tf32"),
    "no mkldnn": lambda: attribute(backends.mkldnn, "enabled", False),
    "deterministic mkldnn": lambda: attribute(backends.mkldnn, "deterministic", True),
    "autocast": lambda: mode(
        lambda: torch.is_autocast_enabled("cpu"), torch.autocast("cpu", torch.bfloat16)
    ),
    "default type": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64
    ),
    "default device": lambda: setting(
        torch.get_default_device, set_default_device, torch.device("meta")
    ),
    "device context": lambda: mode(torch.get_default_device, torch.device("meta")),
    "inference mode": lambda: mode(torch.is_inference_mode_enabled, torch.inference_mode()),
    "no gradients": lambda: mode(torch.is_grad_enabled, torch.no_grad()),
    "deterministic": lambda: setting(
        torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, "error"
    ),
    "one thread": lambda: setting(torch.get_num_threads, torch.set_num_threads, 1),
    "three threads": lambda: setting(torch.get_num_threads, torch.set_num_threads, 3),
    "flushed denormals": lambda: setting(flushes, torch.set_flush_denormal, True),
    "another seed": lambda: setting(torch.initial_seed, torch.manual_seed, 77),
    "NumPy raises": lambda: mode(np.geterr, np.errstate(all="raise")),
    "warnings are errors": errors_for_warnings,
}


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_changes_no_bit_and_finds_its_settings_again(host, right):
    with HOSTS[host]():
        found = bits()
    for name, values in right.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_torchs_own_random_numbers_are_not_used(tmp_path):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    # A copy of the file, which has not been read before.
    path = tmp_path / "copy.safetensors"
    path.write_bytes(modelfile.find("candels").read_bytes())
    galsim_vae.GalaxyGenerator(path, device="cpu").sample_conditions(2, galsim.BaseDeviate(1))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_render_draws_into_tensors_of_a_host_in_inference_mode(dtype):
    from galsim_vae.render import render

    gen = galsim_vae.GalaxyGenerator("candels", device="cpu")
    stamps = gen.sample({"magnitude": [22.0, 23.0]}, galsim.BaseDeviate(1))
    psf = galsim.Gaussian(fwhm=0.7)
    with torch.inference_mode():
        out = torch.empty((2, 1, 16, 16), dtype=getattr(torch, dtype))
        render(stamps, psf, 16, 16, 0.2, dtype=dtype, out=out, device="cpu")
        drawn = render(stamps, psf, 16, 16, 0.2, dtype=dtype, device="cpu")
    assert not drawn.is_inference()
    np.testing.assert_array_equal(out.numpy(), drawn.numpy())


def test_settings_are_put_back_after_an_error_and_not_by_an_inner_one():
    with setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64):
        with pytest.raises(ZeroDivisionError), pinned_torch():
            with pinned_torch():
                pass
            assert torch.get_default_dtype() == torch.float32
            raise ZeroDivisionError
        assert torch.get_default_dtype() == torch.float64


def test_of_two_threads_the_last_puts_the_settings_back():
    entered, leave = threading.Event(), threading.Event()

    def work():
        with pinned_torch():
            entered.set()
            leave.wait(60)

    with setting(*matmul, "medium"):
        other = threading.Thread(target=work)
        with pinned_torch():
            other.start()
            assert entered.wait(60)
        assert backends.mkldnn.matmul.fp32_precision == "ieee"  # the other needs it
        leave.set()
        other.join()
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize(("value", "count"), [("BF16", 1), ("STRICT", 0)])
def test_an_environment_that_cannot_be_undone_is_warned_of_once(value, count):
    code = (
        "import warnings; warnings.simplefilter('always')\n"
        "from galsim_vae.devices import pinned_torch\n"
        "for _ in range(2):\n"
        "    with pinned_torch(): pass\n"
    )
    environment = {"ONEDNN_DEFAULT_FPMATH_MODE": value}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("GalSimWarning: ONEDNN_DEFAULT_FPMATH_MODE=BF16") == count


@pytest.mark.parametrize("name", ["cuda:93", "warp", "meta", None, 1.5])
def test_a_device_that_is_not_there(name):
    with pytest.raises(galsim.GalSimValueError, match="cannot use this device"):
        find_device(name)
