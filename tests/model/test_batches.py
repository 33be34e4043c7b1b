"""Functions applied to batches of one size."""

import pytest
import torch

from galsim_vae.model.batches import in_batches

CPU = torch.device("cpu")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 20])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_batch_has_the_same_size(n, threads):
    sizes = []

    def double(x, y):
        sizes.append(len(x))
        return 2 * x, x + y

    x, before = torch.arange(3.0 * n).reshape(n, 3), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = in_batches(double, 8, CPU, x, x)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(a, 2 * x) and torch.equal(b, 2 * x)
    assert not a.is_inference()
    assert set(sizes) == {8} and len(sizes) == max(1, -(-n // 8))


def test_batches_are_filled_up_with_a_galaxy():
    """Adaptive moments of a blank stamp never settle, and the others would wait for them."""
    seen = []
    in_batches(lambda x: seen.append(x) or (x,), 4, CPU, torch.tensor([[5.0], [7.0]]))
    assert seen[0].flatten().tolist() == [5, 7, 7, 7]


@pytest.mark.parametrize("fits", [1, 2, 5])
def test_out_of_memory_halves_the_batch(fits):
    sizes = []

    def greedy(x):
        if len(x) > fits:
            raise torch.OutOfMemoryError("pretended")
        sizes.append(len(x))
        return (x + 1,)

    x = torch.arange(13.0)
    (out,) = in_batches(greedy, 8, CPU, x)
    assert torch.equal(out, x + 1)
    assert max(sizes) <= fits


def test_out_of_memory_for_one_galaxy_is_an_error():
    def greedy(x):
        raise torch.OutOfMemoryError("pretended")

    with pytest.raises(torch.OutOfMemoryError):
        in_batches(greedy, 4, CPU, torch.zeros(3))


@pytest.mark.parametrize("device", DEVICES)
def test_devices_agree(device):
    network = torch.nn.Conv2d(3, 5, 3)
    x = torch.rand(20, 3, 16, 16)
    (here,) = in_batches(lambda x: (network(x),), 8, CPU, x)
    network.to(device)
    (there,) = in_batches(lambda x: (network(x),), 8, torch.device(device), x)
    assert there.device == CPU
    assert (here - there).abs().max() < 1e-6 * here.abs().max()
