"""Write the results of a shear calibration into the documentation, docs/shear.md.

    galsim-vae calibrate examples/demo_shear_lsst.yaml galaxies=30000
    python docs/shear_results.py examples/output/shear_lsst

It writes docs/_static/shear_m.png and docs/_static/shear_results.txt, which the page includes.
"""

import sys
from pathlib import Path

import numpy as np
from astropy.table import Table

from galsim_vae.shear import DIFFERENCE
from galsim_vae.shear.figures import draw_figures

STATIC = Path(__file__).parent / "_static"
#: Bins that the page shows, of the difference.
SHOWN = ("sersic_index", "residual", "half_light_radius", "snr")


def number(value: float, error: float) -> str:
    """A value and its error, to two digits of the error."""
    digits = int(np.ceil(-np.log10(error))) + 1 if error > 0 else 4
    return f"{value:+.{digits}f} ± {error:.{digits}f}"


def whole_sample(table: Table) -> list[str]:
    """m and c of all galaxies, and what pairing gains."""
    lines = [
        "| estimator | galaxies of | pairs | m1 | c1 | c2 | error unpaired / paired | "
        "pairs for an error of m of 1e-3 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = table[table["property"] == "all"]
    for first in rows[rows["component"] == 1]:
        same = (rows["population"] == first["population"]) & (
            rows["estimator"] == first["estimator"]
        )
        second = rows[same & (rows["component"] == 2)][0]
        gain = first["m_err_unpaired"] / first["m_err"]
        needed = first["pairs"] * (first["m_err"] / 1e-3) ** 2
        lines.append(
            f"| {first['estimator']} | {first['population']} | {first['pairs']} | "
            f"{number(first['m'], first['m_err'])} | {number(first['c'], first['c_err'])} | "
            f"{number(second['c'], second['c_err'])} | "
            f"{'' if np.ma.is_masked(gain) else f'{gain:.1f}'} | {needed:.1e} |"
        )
    return lines


def differences(table: Table) -> list[str]:
    """The difference of m in bins."""
    lines = [
        "| estimator | bins of | m1 of galaxies less twins, from low to high |",
        "| - | - | - |",
    ]
    some = table[(table["population"] == DIFFERENCE) & (table["component"] == 1)]
    for estimator in dict.fromkeys(some["estimator"]):
        for name in SHOWN:
            rows = some[(some["estimator"] == estimator) & (some["property"] == name)]
            rows = rows[rows["fraction"] >= 0.05]
            values = ", ".join(
                f"{row['mean']:.2g}: {number(row['m'], row['m_err'])}" for row in rows
            )
            lines.append(f"| {estimator} | {name} | {values} |")
    return lines


def throughput(folder: Path, table: Table) -> list[str]:
    """Milliseconds of one core for each step."""
    config = table.meta["config"]
    angles = 2 if config["ring"] else 1
    images = 2 * angles * (2 if config["twins"] else 1)
    lines = ["| step | ms a galaxy | times a galaxy | ms each |", "| --- | ---: | ---: | ---: |"]
    for row in Table.read(folder / "throughput.ecsv"):
        once = row["step"] in ("conditions", "decode", "twins")
        times = 1 if once else angles if row["step"] == "noise" else images
        each = row["ms_per_galaxy"] / times
        lines.append(f"| {row['step']} | {row['ms_per_galaxy']:.2f} | {times} | {each:.2f} |")
    return lines


def main() -> None:
    folder = Path(sys.argv[1])
    table = Table.read(folder / "calibration.ecsv")
    config, versions = table.meta["config"], table.meta["versions"]
    made = ", ".join(f"{name} {value}" for name, value in versions.items())
    text = [
        f"{config['survey']} {config['band']}, {config['galaxies']} galaxies, magnitude below "
        f"{config['max_magnitude']} in F814W, g = {config['shear']}, PSF of g = "
        f"{config['psf_shear']}; weights {table.meta['weights_sha256'][:12]}; {made}.",
        "", *whole_sample(table), "", *differences(table), "", *throughput(folder, table), "",
    ]  # fmt: skip
    (STATIC / "shear_results.txt").write_text("\n".join(text))
    figure = draw_figures(table, folder)[0]
    (STATIC / "shear_m.png").write_bytes(figure.read_bytes())


if __name__ == "__main__":
    main()
