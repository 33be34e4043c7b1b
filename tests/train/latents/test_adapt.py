"""Labels of one survey say what the galaxies of another are, and mistakes are named."""

import numpy as np
import pytest
import torch
from astropy.table import QTable, Table
from galsim.errors import GalSimValueError
from scipy.optimize import minimize_scalar

from galsim_vae import cli
from galsim_vae.latents.table import features, write_latents
from galsim_vae.train.latents import finetune, head
from galsim_vae.train.latents.adapt import Judges, adapt
from galsim_vae.train.latents.coral import Alignment
from galsim_vae.train.latents.finetune import FineTuning, Task
from galsim_vae.train.latents.head import Head, discrepancy
from galsim_vae.train.latents.shares import (
    even_chances,
    even_weights,
    likely_shares,
    weighted,
)

WAYS = ("coral", "mmd")
NAMES = np.array(["disc", "round"])
#: Of a survey in which a learner of the other takes nearly all galaxies for one class.
SHIFT, STRETCH = np.array([11.0, 0, 0, 0, 0, 3.0]), np.array([1.5, 1, 1, 0.7, 1, 1])


def survey(counts, seed, shift=0.0, stretch=1.0):
    """A table of latents of two classes, which differ in four features, and their names."""
    rng = np.random.default_rng(seed)
    kind = np.repeat([0, 1], counts)
    known = rng.normal(size=(len(kind), 6)) + kind[:, None] * [6.0, 3.0, 3.0, 3.0, 0, 0]
    known = known * stretch + shift
    table = QTable({
        "row": np.arange(len(kind)), "mean": known[:, :3], "width": np.ones((len(kind), 3)),
        "moments": known[:, 3:],
    })  # fmt: skip
    table.meta["SHA256"] = "a" * 64
    return table, NAMES[kind]


def learn(source, kind, target, way="coral", truth=None, **keys):
    judges = None if truth is None else Judges(np.arange(len(truth)), truth)
    return adapt(source, np.arange(len(kind)), kind, target, "kind", way, "logistic", judges,
                 **keys)  # fmt: skip


def accuracy(adapted, survey, when, of="all"):
    table = adapted.accuracy
    return table[when][(table["survey"] == survey) & (table["class"] == of)].item()


@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_is_shifted_and_stretched(way):
    source, kind = survey((60, 60), 1)
    target, truth = survey((70, 50), 2, SHIFT, STRETCH)
    adapted = learn(source, kind, target, way, truth)
    assert accuracy(adapted, "target", "before") < 0.65
    assert accuracy(adapted, "target", "after") > 0.9
    assert accuracy(adapted, "source", "after") > accuracy(adapted, "source", "before") - 0.02
    right = adapted.table["predicted"] == truth
    assert np.mean(right) == pytest.approx(accuracy(adapted, "target", "after"))
    np.testing.assert_allclose(adapted.table["p_disc"] + adapted.table["p_round"], 1)


def test_a_target_like_the_source_is_not_harmed():
    source, kind = survey((140, 40), 1)
    target, truth = survey((140, 40), 2)
    adapted = learn(source, kind, target, truth=truth)
    for which in ("source", "target"):
        assert accuracy(adapted, which, "after") > accuracy(adapted, which, "before") - 0.02
    head = Head(1, features(target)).fit(features(source), kind)
    assert np.mean(NAMES[head.predict_target(features(target)).argmax(1)] == truth) > 0.97


def test_other_shares_of_the_classes_are_not_aligned():
    source, kind = survey((150, 50), 1)
    target, truth = survey((30, 170), 2)
    adapted = learn(source, kind, target, truth=truth)
    assert accuracy(adapted, "target", "after") > 0.97
    probability = np.array([[0.8, 0.2], [0.5, 0.5]])
    even = even_chances(probability, np.array([0.8, 0.2]))
    np.testing.assert_allclose(even, [[0.5, 0.5], [0.2, 0.8]])
    np.testing.assert_allclose(even_weights(np.eye(2)[[0, 0, 0, 1]]), [1 / 6] * 3 + [0.5])


def test_answers_tell_how_frequent_a_class_is():
    rng = np.random.default_rng(1)
    truth = (rng.uniform(size=4000) < 0.9).astype(int)
    one = 1 / (1 + np.exp(-2 * (rng.normal(size=4000) + 2 * truth - 1)))
    even = np.stack([1 - one, one], 1)

    def cost(q):  # of these galaxies, and of as many again, half of each class
        return -np.log(even @ [1 - q, q]).sum() - 2000 * np.log(q * (1 - q))

    best = minimize_scalar(cost, bounds=(0, 1), method="bounded").x
    assert best > 0.6
    np.testing.assert_allclose(likely_shares(even), [1 - best, best], atol=1e-4)
    right = [np.mean(p.argmax(1) == truth) for p in (even, weighted(even, likely_shares(even)))]
    assert right[1] > right[0]
    np.testing.assert_allclose(likely_shares(np.full((9, 3), 1 / 3)), 1 / 3)
    np.testing.assert_allclose(likely_shares(np.eye(2)[[0, 0, 0, 0]]), [0.75, 0.25])


def test_what_judges_teaches_nothing_and_a_seed_says_all():
    source, kind = survey((20, 20), 1)
    target, truth = survey((20, 20), 2)
    alone, judged = learn(source, kind, target), learn(source, kind, target, truth=truth[::-1])
    np.testing.assert_array_equal(alone.table["p_disc"], judged.table["p_disc"])
    assert set(alone.accuracy["survey"]) == {"source"}
    first, second, third = (
        Head(seed, features(target)).fit(features(source), kind).predict_proba(features(target))
        for seed in (1, 1, 2)
    )  # fmt: skip
    np.testing.assert_array_equal(first, second)
    assert np.any(first != third)


def test_alignment_gives_the_source_the_means_and_correlations_of_the_target():
    rng = np.random.default_rng(1)
    source = rng.normal(size=(4000, 3)) * [1, 2, 3] + [5, 0, -1]
    target = rng.normal(size=(4000, 3)) @ [[1, 0.8, 0], [0, 1, 0.5], [0, 0, 2]]
    even = np.full(4000, 1 / 4000)
    alignment = Alignment.of(source, target, even, even)
    moved = alignment.moved(source)
    np.testing.assert_allclose(moved.mean(0), target.mean(0), atol=0.05)
    # By half, since the covariances are regularised: (1 + r) / 2 in the place of r.
    standard = (target - target.mean(0)) / target.std(0)
    expected = (standard.T @ standard / 4000 + np.eye(3)) / 2
    np.testing.assert_allclose(np.cov(((moved - moved.mean(0)) / target.std(0)).T), expected,
                               atol=0.05)  # fmt: skip
    same = Alignment.of(source, source, even, even).moved(source)
    np.testing.assert_allclose(same, source, atol=1e-9)
    constant = np.ones((4000, 3))
    assert np.all(np.isfinite(Alignment.of(source, constant, even, even).moved(source)))


def test_discrepancy():
    torch.manual_seed(1)
    first, weight = torch.randn(60, 3), torch.ones(60)
    assert discrepancy(first, first, weight).item() == pytest.approx(0, abs=1e-6)
    near, far = (discrepancy(first, first + x, weight).item() for x in (0.5, 2.0))
    assert 0.01 < near < far
    # Two galaxies in the place of one that weighs two.
    twice = torch.cat([first, first[:1]])
    weighted = weight.clone()
    weighted[0] = 2
    assert discrepancy(first, twice, weighted).item() == pytest.approx(0, abs=1e-6)
    seen = first.clone().requires_grad_(True)
    discrepancy(seen, first, weight).backward()
    assert seen.grad is not None and torch.all(torch.isfinite(seen.grad))


def test_the_encoder_trained_along_for_a_target(table, monkeypatch):
    shown = []

    def seen(*samples):
        shown.append([len(x) for x in samples])
        return discrepancy(*samples)

    monkeypatch.setattr(head, "discrepancy", seen)
    kind, rows = np.asarray(table["kind"]), np.arange(96)
    tuning = FineTuning(steps=5, batch=8)
    adapted = adapt(table, rows, kind, table.copy(), "kind", "mmd", judges=Judges(rows, kind),
                    tuning=tuning)  # fmt: skip
    assert shown == [[8, 4, 8]] * 3  # the first network is shown no target
    assert set(adapted.accuracy["galaxies"][:2]) == {24}  # the fold that is held out
    assert set(adapted.accuracy["galaxies"][5:7]) == {96}
    np.testing.assert_allclose(sum(adapted.table[f"p_{name}"] for name in set(kind)), 1)
    for row in (0, 1):  # in the fold that is held out, and in another
        alone = np.where(np.arange(96) == row, "alone", kind)
        with pytest.raises(GalSimValueError, match="too few labels to hold a fold out"):
            adapt(table, rows, alone, table.copy(), "kind", "mmd", tuning=tuning)


def test_fine_tuning_sees_a_brighter_survey_like_its_own(picture_vae, stretched):
    images, kind = stretched
    other = np.clip(images[::-1] ** 2, 0, 1).copy()
    tasks, config = {"a": Task(images, kind)}, FineTuning(120, 24, 0.01)
    apart = []
    for target in (None, other):
        network = finetune.fine_tune(picture_vae, tasks, config, target=target)
        with torch.no_grad():
            one, two = (network(torch.from_numpy(x)) for x in (images, other))
        apart.append(discrepancy(one, two, torch.ones(len(one))).item())
    assert apart[1] < 0.5 * apart[0], apart
    with pytest.raises(GalSimValueError, match="target needs pictures of the weights' size"):
        finetune.fine_tune(picture_vae, tasks, config, target=other[..., :32])


def test_mistakes():
    source, kind = survey((20, 20), 1)
    target, truth = survey((20, 20), 2)
    with pytest.raises(GalSimValueError, match="only one of source and target has a class.*spiral"):
        learn(source, kind, target, truth=np.where(truth == "disc", "spiral", truth))
    with pytest.raises(GalSimValueError, match="only one of source and target has a class.*disc"):
        learn(source, kind, target, truth=truth[20:])
    with pytest.raises(GalSimValueError, match="all empty"):
        learn(source, kind, target, truth=truth[:0])
    with pytest.raises(GalSimValueError, match="at least 12 galaxies of the target"):
        learn(source, kind, target[:5])
    with pytest.raises(GalSimValueError, match="at least 12 labels"):
        learn(source, kind[:11], target)
    with pytest.raises(GalSimValueError, match="these are numbers"):
        learn(source, np.linspace(0, 1, 40), target)
    with pytest.raises(GalSimValueError, match="one class only"):
        learn(source, np.full(40, "disc"), target)
    target.meta["SHA256"] = "b" * 64
    with pytest.raises(GalSimValueError, match="other weights.*bbb"):
        learn(source, kind, target)


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source, kind = survey((40, 40), 1)
    target, truth = survey((30, 30), 2, SHIFT, STRETCH)
    write_latents("source.fits", source)
    write_latents("target.fits", target)
    number = (kind == "round").astype(int)
    Table({"row": source["row"], "kind": number}).write("mine.csv")
    # Some without a label: whole numbers come as floats then, and are the same classes.
    given = ["" if k % 3 else str(int(t == "round")) for k, t in enumerate(truth)]
    Table({"row": target["row"], "kind": given}).write("other.csv")

    def run(*keys):
        code = cli.main(["classify", "source.fits", "labels=mine.csv", "column=kind", *keys])
        return code, capsys.readouterr()

    code, said = run("target=target.fits", "target_labels=other.csv", "learner=logistic")
    assert code == 0 and "balanced" in said.out and "wrote classes/accuracy.ecsv" in said.out
    table = Table.read("classes/predictions.ecsv")
    assert table.colnames == ["row", "predicted", "probability", "p_0", "p_1"]
    assert np.mean(table["predicted"] == (truth == "round").astype(int).astype(str)) > 0.9
    table = Table.read("classes/accuracy.ecsv")
    assert list(table["galaxies"]) == [80, 80, 40, 40, 20, 20, 10, 10]
    code, said = run("target=target.fits", "output=unjudged", "learner=logistic", "-v", "0")
    assert code == 0 and not said.out
    assert len(Table.read("unjudged/accuracy.ecsv")) == 4
    for keys, says in (
        (["target_labels=other.csv"], "give target= too"),
        (["target=target.fits", "fine_tune=true"], "Only encoders of pictures are trained along"),
        (["target=target.fits", "fine_tune=true", "adaptation=coral"], "by mmd: leave"),
        (["target=target.fits", "fine_tune=true", "learner=logistic"], "by mmd: leave"),
        (["adaptation=mmd"], "adaptation is to a target"),
        (["target=target.fits", "fine_tune=true", "also={a: b}"], "also is not for a target"),
        (["target=nothere.fits"], "nothere.fits"),
        (["target=mine.csv"], "not a table of latents"),
        (["target=target.fits", "adaptation=magic"], "adaptation is unknown"),
    ):
        code, said = run(*keys, "output=failed")
        assert code == 1 and says in said.err, said.err
    assert not (tmp_path / "failed").exists()
