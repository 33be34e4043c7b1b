"""``galsim-vae draw sequence=redshift``."""

import numpy as np
from astropy.table import Table

from galsim_vae import cli


def test_a_sequence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["draw", "sequence=redshift", "n=2", "steps=3", "magnitude=22", "-v", "0"]
    assert cli.main([*common, "output=s.png"]) == 0 and (tmp_path / "s.png").exists()
    assert cli.main([*common, "output=s.fits", "follow=population", "renderer=batch"]) == 0
    table = Table.read(tmp_path / "s.fits", hdu="CATALOG")
    np.testing.assert_allclose(table["redshift"], [0.1, 1.09762, 3.0] * 2, rtol=1e-4)
    assert table["magnitude"][0] < table["magnitude"][1] < table["magnitude"][2]
    assert cli.main(["draw", "sequence=magnitude", "n=2", "output=t.png"]) == 1
    assert "sequence is unknown" in capsys.readouterr().err
    assert cli.main(["draw", "sequence=redshift", "steps=0", "output=t.png"]) == 1
    assert "steps must be at least 1" in capsys.readouterr().err
