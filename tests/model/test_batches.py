"""Functions applied to batches of one size."""

import pytest
import torch

from galsim_vae.model.batches import Batches, in_batches

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


class Noted:
    """Twice the rows, and rounded otherwise in batches of which it is told; notes their sizes."""

    def __init__(self, *otherwise):
        self.otherwise, self.sizes = otherwise, []

    def __call__(self, x):
        self.sizes.append(len(x))
        return (2 * x + (1e-6 if len(x) in self.otherwise else 0.0),)


@pytest.mark.parametrize(("n", "small"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8)])
def test_few_galaxies_take_a_small_batch(n, small):
    function, x = Noted(), torch.arange(1.0, 1 + 3 * n).reshape(n, 3)
    batches = Batches(function, 16, CPU)
    assert torch.equal(batches(x)[0], 2 * x)
    assert function.sizes == [16, small, small]  # the first time it is compared
    assert torch.equal(batches(x)[0], 2 * x)
    assert function.sizes[3:] == [small]


def test_a_small_batch_that_rounds_otherwise_is_not_taken():
    function, x = Noted(1), torch.ones(1, 3)
    batches = Batches(function, 16, CPU)
    for _ in range(2):
        assert torch.equal(batches(x)[0], 2 * x)
    assert function.sizes == [16, 1, 16, 16]
    assert torch.equal(batches(torch.ones(2, 3))[0], torch.full((2, 3), 2.0))
    assert function.sizes[4:] == [2, 2]  # held against the whole batch of before


def test_a_small_batch_must_agree_with_every_place_of_a_whole_one():
    def uneven(x):
        return (x + torch.where(torch.arange(len(x)) == 13, 1e-6, 0.0)[:, None],)

    batches = Batches(uneven, 16, CPU)
    batches(torch.ones(1, 3))
    assert batches(torch.ones(14, 3))[0][13, 0] != 1
    sizes = []
    batches.function = lambda x: sizes.append(len(x)) or uneven(x)
    batches(torch.ones(1, 3))
    assert sizes == [16]


def test_every_place_of_a_small_batch_must_agree():
    """Also where the whole batch that it is held against was one galaxy, again and again."""
    uneven = lambda x: (x + 1e-6 * ((torch.arange(len(x)) == 3) & (len(x) == 4))[:, None],)  # noqa: E731
    batches = Batches(uneven, 16, CPU)
    batches(torch.ones(1, 3))
    assert torch.equal(batches(torch.ones(4, 3))[0], torch.ones(4, 3))


def test_batches_do_not_fall_below_the_fewest_nor_exceed_the_size():
    function = Noted()
    batches = Batches(function, 16, CPU, fewest=4)
    for n in (0, 1, 16, 45):
        assert torch.equal(batches(torch.ones(n, 3))[0], torch.full((n, 3), 2.0))
    assert set(function.sizes) == {4, 16}


def test_the_last_of_many_take_a_small_batch():
    function, x = Noted(), torch.arange(120.0).reshape(40, 3)
    batches = Batches(function, 16, CPU)
    for _ in range(2):
        assert torch.equal(batches(x)[0], 2 * x)
    assert sorted(function.sizes[2:]) == sorted([16, 16, 8] * 2)  # after the comparison
    assert function.sizes[:2] == [16, 8]


def test_values_that_are_not_numbers_agree():
    function = lambda x: (torch.where(x > 0, torch.nan, x),)  # noqa: E731
    batches = Batches(function, 8, CPU)
    batches(torch.ones(1, 2))
    assert batches(torch.ones(3, 2))[0].isnan().all()
