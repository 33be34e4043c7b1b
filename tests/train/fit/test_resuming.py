"""Training that was interrupted ends like training that was not, wherever it was interrupted."""

from dataclasses import replace

import pytest
import torch
from made_training_file import training_file

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.vae import VAEConfig
from galsim_vae.train.fit import (
    autoencoder,
    checkpoint,
    constants,
    encoded,
    flow_constants,
    flows,
    observe,
    rows,
)
from galsim_vae.train.fit.checkpoint import Checkpoint, Collected, RandomState
from galsim_vae.train.fit.circumstances import code_digest
from galsim_vae.train.fit.critic import Critic
from galsim_vae.train.fit.real import RealGalaxies
from galsim_vae.train.synthetic.colours import colour_table

TINY = VAEConfig(
    latent=4, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8)
)
LOOP = autoencoder.LoopConfig(steps=3, batch=2, real=1)
FLOW = flows.FlowTraining(galaxies=160, real=0.5, steps=3, batch=8, critic_steps=3)


@pytest.fixture(scope="module", autouse=True)
def small_numbers():
    with pytest.MonkeyPatch.context() as changed:
        for name, value in (("CRITIC_ALONE", 2), ("CRITIC_WIDTH", 8), ("CALIBRATED", 32),
                            ("COMPARED", 64)):  # fmt: skip
            changed.setattr(flow_constants, name, value)
        yield


class Interrupted(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    data = training_file(tmp_path_factory.mktemp("data") / "real.h5")
    psfs = observe.RadialPSFTable.hst()
    return autoencoder.Sources(
        colour_table(z_max=6, step=0.5), psfs, RealGalaxies(data, ~data.valid)
    )


@pytest.fixture(autouse=True)
def saved_after_every_step(monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)


def weights(sources, folder, flow_training=FLOW):
    vae = autoencoder.train(TINY, LOOP, sources, folder)
    made = flows.train(vae, sources, DEFAULT_RANGES, FlowConfig(2, 8), flow_training, folder)
    return {**vae.state_dict(), **made.state_dict()}


@pytest.fixture(scope="module")
def uninterrupted(sources, tmp_path_factory):
    return weights(sources, tmp_path_factory.mktemp("whole"))


# What is interrupted, and in which call: parts 1 to 3 that are encoded are synthetic, the others
# are real.
PLACES = {
    "autoencoder": (autoencoder, "losses", 2),
    "encoding": (encoded, "encode", 3),
    "encoding real galaxies": (encoded, "encode", 5),
    "traits": (rows, "measure_traits", 2),
    "trait flow": (Flows, "trait_log_prob", 2),
    "latent flow": (Flows, "latent_log_prob", 2),
    "population flow": (Flows, "population_log_prob", 3),
    "critic": (Critic, "loss", 4),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupted_run_ends_like_one_that_was_not(
    place, sources, uninterrupted, tmp_path, monkeypatch
):
    owner, name, at = PLACES[place]
    original, calls = getattr(owner, name), []

    def counted(*args):
        calls.append(name)
        if len(calls) == at:
            raise Interrupted
        return original(*args)

    monkeypatch.setattr(owner, name, counted)
    with pytest.raises(Interrupted):
        weights(sources, tmp_path)
    again = weights(sources, tmp_path)
    assert again.keys() == uninterrupted.keys()
    for key, value in again.items():
        assert torch.equal(value, uninterrupted[key]), key
    # Only the step that was interrupted is done again.
    total = {
        "losses": 3, "encode": 5, "measure_traits": 2, "trait_log_prob": 3, "latent_log_prob": 3,
        "population_log_prob": 3, "loss": 5,
    }[name]  # fmt: skip
    assert len(calls) == total + 1


def test_a_finished_run_does_nothing_again(sources, tmp_path, monkeypatch, uninterrupted):
    weights(sources, tmp_path)
    for owner, name, _ in PLACES.values():
        monkeypatch.setattr(owner, name, lambda *_: pytest.fail("done again"))
    again = weights(sources, tmp_path)
    assert all(torch.equal(value, uninterrupted[key]) for key, value in again.items())


def test_flows_are_trained_anew_on_galaxies_encoded_before(sources, tmp_path, monkeypatch):
    weights(sources, tmp_path)
    other = replace(FLOW, steps=2)
    with pytest.raises(ValueError, match="population_flow.ckpt was made with flow_training.steps"):
        weights(sources, tmp_path, other)
    for name in ("population_flow", "traits", "trait_flow", "latent_flow", "critic"):
        (tmp_path / f"{name}.ckpt").unlink()
    monkeypatch.setattr(encoded, "encode", lambda *_: pytest.fail("encoded again"))
    weights(sources, tmp_path, other)
    monkeypatch.setattr(flow_constants, "ENCODED_SIGNAL_TO_NOISE", 99.0)
    with pytest.raises(ValueError, match="encoded.ckpt was made with encoding.signal_to_noise"):
        weights(sources, tmp_path, other)


def test_the_host_s_random_numbers_are_left_alone(sources, tmp_path):
    before = torch.get_rng_state()
    weights(sources, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_of_other_constants_is_refused(sources, tmp_path, monkeypatch):
    weights(sources, tmp_path)
    for name in ("HIDE_REAL", "EXCHANGED", "SIGNAL_TO_NOISE"):
        with monkeypatch.context() as changed:
            changed.setattr(constants, name, 0.123)
            with pytest.raises(ValueError, match=rf"vae.ckpt was made with constants.{name} = "):
                weights(sources, tmp_path)


def test_checkpoints_of_the_flows_belong_to_their_autoencoder(sources, tmp_path):
    weights(sources, tmp_path)
    (tmp_path / "vae.ckpt").unlink()
    other = autoencoder.LoopConfig(steps=2, batch=2, real=1)
    vae = autoencoder.train(TINY, other, sources, tmp_path)
    with pytest.raises(ValueError, match=r"encoded.ckpt was made with vae.weights = "):
        flows.train(vae, sources, DEFAULT_RANGES, FlowConfig(2, 8), FLOW, tmp_path)


def test_a_checkpoint_of_other_galaxies_is_refused(sources, tmp_path):
    autoencoder.train(TINY, LOOP, sources, tmp_path)
    others = autoencoder.Sources(sources.colours, sources.psfs)
    with pytest.raises(ValueError, match=r"made with data.real = .*, not None"):
        autoencoder.train(TINY, LOOP, others, tmp_path)


def test_what_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(OSError, match=r"x.ckpt is not a checkpoint"):
        Checkpoint(tmp_path / "x.ckpt", {}, {})


def test_checkpoints_are_written_by_time(tmp_path, monkeypatch):
    """Steps of 100 s and a checkpoint every 240 s: after each third, and after the last."""
    now = [0.0]
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 240.0)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    random = torch.Generator().manual_seed(1)
    rows = Collected(("value",), "cpu")
    written = []
    run = Checkpoint(
        tmp_path / "x.ckpt", {}, {"random": RandomState(random), "rows": rows},
        lambda: written.append(run.step),
    )  # fmt: skip
    for _ in run.steps(8, "test"):
        rows.append((torch.rand(2, generator=random),))
        now[0] += 100.0
    assert written == [3, 6, 8]
    again = Collected(("value",), "cpu")
    restored = Checkpoint(
        tmp_path / "x.ckpt", {}, {"random": RandomState(torch.Generator()), "rows": again}
    )
    assert restored.step == 8
    [done] = restored.runs
    assert (done["steps"], done["seconds"]) == (8, 800.0)
    assert done["code"] == code_digest() and done["threads"] == torch.get_num_threads()
    expected = torch.rand(16, generator=torch.Generator().manual_seed(1))
    assert len(again.joined()[0]) == 16 == len(expected)
