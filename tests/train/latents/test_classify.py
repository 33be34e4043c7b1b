"""Classes and numbers are learnt, judged on held-out rows only, and mistakes are named."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from galsim.errors import GalSimValueError

from galsim_vae import cli
from galsim_vae.train.latents import finetune, learners
from galsim_vae.train.latents.classify import combined, learn
from galsim_vae.train.latents.finetune import FineTuning, Task, fine_tune


def labels(table):
    return np.arange(len(table)), np.asarray(table["kind"])


@pytest.mark.parametrize("learner", list(learners.CLASSIFIERS))
def test_kinds_are_learnt(table, learner):
    learnt = learn(table, *labels(table), "kind", learner)
    assert learnt.names == ["edge_on", "round", "spiral"]
    assert learnt.scores["accuracy"] > 0.85
    np.testing.assert_allclose(learnt.found.sum(1), 1, rtol=1e-6)
    assert set(learnt.table["held_out_by"]) == {"fold"}
    right = learnt.table["predicted"] == learnt.table["given_kind"]
    assert np.mean(right) == pytest.approx(learnt.scores["accuracy"])


def test_labels_that_say_nothing_are_guessed_not_remembered(table):
    shuffled = np.random.default_rng(1).permutation(np.arange(96) % 2)
    learnt = learn(table, np.arange(96), shuffled, "coin", "kernel")
    assert abs(learnt.scores["accuracy"] - 0.5) < 0.2


def test_no_fold_teaches_itself(table, monkeypatch):
    seen = []
    fit = learners.fit_classifier
    monkeypatch.setattr(
        learners, "fit_classifier", lambda f, y, name: seen.append(f) or fit(f, y, name)
    )
    features = np.arange(96.0)[:, None] * np.ones(3)
    group = np.arange(96) // 2
    learners.cross_validated(features, np.arange(96) % 3, group, "logistic", 3)
    for fold, rows in enumerate(seen):
        assert not np.any((rows[:, 0] // 2) % 4 == fold) and len(rows) == 72


def test_folds():
    assert list(learners.folds_of(np.arange(8))) == [0, 1, 2, 3] * 2
    assert sorted(learners.folds_of(np.arange(0, 400, 4)).tolist()) == sorted([0, 1, 2, 3] * 25)
    with pytest.raises(GalSimValueError, match="Too few groups"):
        learners.folds_of(np.array([1, 1, 2, 2, 3]))


def test_unlabelled_rows_are_predicted(table):
    rows = np.arange(0, 96, 2) + (np.arange(48) % 2)
    learnt = learn(table, rows, np.asarray(table["kind"])[rows], "kind", "kernel")
    rest = learnt.table[learnt.table["held_out_by"] == "no label"]
    assert len(rest) == 48 and set(rest["given_kind"]) == {""}
    assert np.mean(rest["predicted"] == np.asarray(table["kind"])[rest["row"]]) > 0.85


def test_predictions_keep_the_rows_of_the_file(table):
    table["row"] = 2 * np.arange(96) + 1
    learnt = learn(table, *labels(table), "kind", "kernel")
    np.testing.assert_array_equal(learnt.table["row"], table["row"])


def test_numbers_are_regressed(table):
    brightness = np.asarray(table["moments"][:, 10], float)
    learnt = learn(table, np.arange(96), brightness, "brightness", "kernel")
    assert learnt.names == [] and learnt.scores["scatter"] < 0.5 * learnt.scores["guess"]
    truth = np.array([0.5, 1.0, 2.0, 1.0])
    scores = learners.number_scores(truth, truth + [0.0, 0.2, 0.0, -1.0], True)
    assert scores["outliers"] == 0.25 and scores["bias"] == 0.0
    assert scores["rms"] == pytest.approx(np.hypot(0.1, 0.5) / 2)
    assert scores["error"] >= 0 and scores["rms_error"] > 0


def test_numbers_that_hang_on_one_feature_are_found_among_many(table):
    latent = np.asarray(table["mean"][:, 0], float)
    learnt = learn(table, np.arange(96), latent, "x")
    smooth = learn(table, np.arange(96), latent, "x", "kernel")
    assert learnt.scores["rms"] < smooth.scores["rms"] < 1.2 * smooth.scores["guess_rms"]


def test_the_network_counts_twice():
    both = combined(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[1 / 9, 8 / 9], [0.4, 0.6]]))
    np.testing.assert_allclose(both[0], [0.2, 0.8])
    np.testing.assert_allclose(both.sum(1), 1)
    assert 0.9 < both[1, 0] < 1


def test_scores_by_hand():
    probability = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.55, 0.45]])
    scores = learners.class_scores(np.array([0, 1, 1, 0]), probability)
    assert scores["accuracy"] == 0.75 and scores["balanced"] == 0.75
    assert scores["error"] == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
    # Bins: 0.5 to 0.6 with one right of 0.55; 0.6 wrong, 0.7 and 0.8 right.
    assert scores["calibration"] == pytest.approx((0.45 + 0.6 + 0.3 + 0.2) / 4)


def test_the_encoder_trained_along(table):
    learnt = learn(table, *labels(table), "kind", "kernel", FineTuning(steps=3, batch=8))
    assert learnt.scores["accuracy"] > 0.8
    with pytest.raises(GalSimValueError, match="Fine-tuning is for classes"):
        learn(table, np.arange(96), np.linspace(0, 1, 96), "x", "kernel", FineTuning(steps=1))
    table.meta["SHA256"] = "other"
    with pytest.raises(GalSimValueError, match="others than those that were encoded"):
        learn(table, *labels(table), "kind", "kernel", FineTuning(steps=1))


def test_fine_tuning_learns_and_needs_pictures_of_its_size(picture_vae, stretched):
    images, kind = stretched
    tasks = {
        "kind": Task(images, kind),
        "share": Task(images, np.stack([kind == 0, np.full(len(kind), np.nan)], 1).astype(float)),
    }
    network = fine_tune(picture_vae, tasks, FineTuning(steps=120, batch=24, learning_rate=0.01))
    right = network.predict(images, "kind").argmax(1) == kind
    assert right.mean() > 0.8
    share = network.predict(images, "share")[:, 0]
    assert share[kind == 0].mean() > share[kind != 0].mean() + 0.2
    turned = network.predict(np.rot90(images, 1, (2, 3)).copy(), "kind")
    np.testing.assert_allclose(turned, network.predict(images, "kind"), atol=1e-4)
    with pytest.raises(GalSimValueError, match="another size"):
        fine_tune(picture_vae, {"a": Task(images[..., :32, :32], kind)}, FineTuning(steps=1))
    with pytest.raises(GalSimValueError, match="at least two classes"):
        fine_tune(picture_vae, {"a": Task(images, 0 * kind)}, FineTuning(steps=1))


def test_labels_of_another_set_are_taught_along(table, monkeypatch, tmp_path):
    shown = []
    fit = finetune.fine_tune
    monkeypatch.setattr(
        "galsim_vae.train.latents.classify.fine_tune",
        lambda vae, tasks, *rest: shown.append(tasks) or fit(vae, tasks, *rest),
    )
    also = {"other.fits": (table.copy(), ["kind", "label"])}
    with pytest.raises(GalSimValueError, match="other.fits is of the pictures that are to judge"):
        learn(table, *labels(table), "kind", "kernel", FineTuning(steps=2), also=also)
    with pytest.raises(GalSimValueError, match="for fine-tuning"):
        learn(table, *labels(table), "kind", "kernel", also=also)
    copied = tmp_path / "copy.npz"
    copied.write_bytes(Path(table.meta["INPUT"]).read_bytes())
    also["other.fits"][0].meta["INPUT"] = str(copied)
    learn(table, *labels(table), "kind", "kernel", FineTuning(steps=2, batch=8), also=also)
    assert [list(tasks) for tasks in shown] == [["labels", "also 0", "also 1"]] * 4
    assert [len(task.targets) for task in shown[0].values()] == [72, 96, 96]


def test_half_of_a_step_is_of_the_first_of_several_tasks(picture_vae, stretched, monkeypatch):
    images, kind = stretched
    counts, augmented = [], finetune.augmented

    def seen(pictures, *rest):
        first = pictures.mean((1, 2, 3)) > 5
        counts.append((int(first.sum()), int((~first).sum())))
        return augmented(pictures, *rest)

    monkeypatch.setattr(finetune, "augmented", seen)
    few = Task(images[:6] + 10, kind[:6])
    config = FineTuning(steps=5, batch=24)
    fine_tune(picture_vae, {"few": few, "many": Task(images, kind)}, config)
    assert counts == [(12, 12)] * 5
    counts.clear()
    fine_tune(picture_vae, {"few": few}, config)
    assert counts == [(24, 0)] * 5


def test_command(latents, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*keys):
        code = cli.main(["classify", str(latents), *keys])
        return code, capsys.readouterr()

    code, said = run("column=kind")
    assert code == 0 and "accuracy" in said.out
    assert {p.name for p in (tmp_path / "classes").iterdir()} == {
        "predictions.ecsv", "scores.ecsv", "kind.png"
    }  # fmt: skip
    table = Table.read(tmp_path / "classes" / "predictions.ecsv")
    assert len(table) == 96 and "p_spiral" in table.colnames
    (tmp_path / "mine.csv").write_text(
        "row,type\n" + "".join(f"{k},{0.1 + (k % 3) / 2}\n" for k in range(60))
    )
    code, said = run("column=type", "labels=mine.csv", "output=numbers")
    assert code == 0 and "scatter" in said.out
    assert (tmp_path / "numbers" / "type.png").exists()
    for keys, says in (
        (["column=colour"], "no column of this name"),
        (["column=one"], "has one class only"),
        (["column=nothere", "labels=mine.csv"], "no column of this name"),
        (["column=type", "labels=other.csv"], "other.csv"),
        (["column=mean"], "more than one number a row"),
        (["column=kind", "learner=magic"], "learner is unknown"),
        (["column=kind", "also={a.fits: kind}"], "give fine_tune=true too"),
        (["column=kind", "fine_tune=true", "also={a.fits: kind}"], "a.fits"),
    ):
        code, said = run(*keys)
        assert code == 1 and says in said.err, said.err
    (tmp_path / "mine.csv").write_text("row,type\n500,a\n2,b\n")
    assert "not among the latents" in run("column=type", "labels=mine.csv")[1].err
