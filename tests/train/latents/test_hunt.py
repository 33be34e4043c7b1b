"""A hunt finds the odd ones sooner than chance, and takes yes and no from a table."""

import numpy as np
import pytest
from astropy.table import Table
from galsim.errors import GalSimValueError

from galsim_vae import cli
from galsim_vae.latents.table import features
from galsim_vae.train.latents import hunt


def test_what_stands_apart_is_found_without_labels():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(300, 6))
    values[:6] += 6 * np.sign(rng.normal(size=(6, 6)))
    density = -0.5 * (values**2).sum(1)
    for name, score in hunt.unsupervised(values, density).items():
        assert set(np.argsort(-score)[:6]) == set(range(6)), name


def chase(learner, start, truth, rounds=5, count=10):
    rng = np.random.default_rng(1)
    rows = np.zeros(0, int)
    for _ in range(rounds):
        proposed, score = hunt.propose(start, learner, rows, truth[rows], count, rng)
        assert not set(proposed) & set(rows) and len(proposed) == count
        rows = np.concatenate([rows, proposed])
    return rows, score


def test_a_taught_hunt_is_better_than_chance(table):
    truth = np.asarray(table["kind"] == "spiral")
    start = np.random.default_rng(2).uniform(size=96)
    rows, score = chase(hunt.Static(features(table)), start, truth, rounds=4, count=8)
    # The first round knows nothing, and a fifth of the others is drawn at random.
    assert truth[rows].mean() > 1.4 * truth.mean()
    rest = np.setdiff1d(np.arange(96), rows)
    if truth[rest].any():
        assert score[rest][truth[rest]].mean() > score[rest][~truth[rest]].mean()


def test_the_last_layers_learn(picture_vae, stretched):
    images, kind = stretched
    learner = hunt.Along(picture_vae, images)
    score = learner.fit(np.arange(0, 48, 2), kind[::2] == 1)
    held = np.arange(1, 48, 2)
    odd = kind[held] == 1
    above = (score[held][odd][:, None] > score[held][~odd]).mean()
    assert above > 0.8
    np.testing.assert_array_equal(score, learner.fit(np.arange(0, 48, 2), kind[::2] == 1))


def test_yes_and_no():
    assert list(hunt.is_yes(np.array(["yes", "NO", " 1", "false"]))) == [True, False, True, False]
    with pytest.raises(GalSimValueError, match="must be yes or no"):
        hunt.is_yes(np.array(["yes", "perhaps"]))


@pytest.mark.parametrize("learner", ["static", "along"])
def test_command(learner, latents, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*keys):
        code = cli.main(["hunt", str(latents), "labels=mine.csv", "count=10", *keys])
        return code, capsys.readouterr()

    code, said = run(f"learner={learner}")
    assert code == 0 and "0 looked at" in said.out and (tmp_path / "hunt.png").exists()
    mine = Table.read(tmp_path / "mine.csv", format="ascii.csv")
    assert len(mine) == 10
    kind = dict(zip(map(str, table["name"]), table["kind"], strict=True))
    said_so = ["yes" if kind[str(name)] == "spiral" else "no" for name in mine["name"][1:]]
    mine["label"] = ["yes", *said_so]
    mine.write(tmp_path / "mine.csv", format="ascii.csv", overwrite=True)
    code, said = run(f"learner={learner}")
    assert code == 0 and "10 looked at" in said.out
    again = Table.read(tmp_path / "mine.csv", format="ascii.csv")
    assert len(again) == 20 and list(again["label"][:10]) == list(mine["label"])
    assert len(set(again["name"])) == 20
    mine["label"][1] = "maybe"
    mine.write(tmp_path / "mine.csv", format="ascii.csv", overwrite=True)
    code, said = run()
    assert code == 1 and "must be yes or no" in said.err
    (tmp_path / "mine.csv").write_text("name,answer\n1,yes\n")
    assert "no column of this name" in run()[1].err
    (tmp_path / "mine.csv").write_text("name,label\n1000,yes\n")
    assert "not among the latents" in run()[1].err
