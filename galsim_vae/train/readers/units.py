"""What a count of an image is: its AB zero-point, from BUNIT and the keywords of calibration."""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import astropy.units as u
import galsim
import numpy as np

__all__ = ["Calibration", "noise_factor", "parse"]

# Keywords of a zero-point that holds for the values as they are.
_AS_IS = ("MAGZERO", "MAGZPT", "MAGZP", "MAGZEROP", "ZEROPNT", "ZEROPOINT", "PHOTZP")
# And those that mosaics in counts a second have: of a total of counts they may be of one second.
_MAYBE_RATE = ("ZPT_AB", "ABMAGZP", "ABZP", "ZP_AB")
_EXPOSURE = ("EXPTIME", "TEXPTIME", "EXPOSURE")
_GAIN = ("GAIN", "EGAIN")
# Zero-points of one image may differ by so much [mag].
_TOLERANCE = 0.1
# Spellings that astropy does not know, in lower case.
_SPELLINGS = {
    **dict.fromkeys(("electrons", "electron", "elec", "el", "e"), "electron"),
    **dict.fromkeys(("counts", "count", "cts", "ct", "cnts", "cnt"), "ct"),
    **dict.fromkeys(("adu", "adus", "dn", "dns", "adu's"), "adu"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("pixel", "pixels", "pix"), "pix"),
    **dict.fromkeys(("a", "ang", "angstrom", "angstroms"), "Angstrom"),
    **dict.fromkeys(("maggies", "maggy", "mgy"), "mgy"),
    **dict.fromkeys(("nanomaggies", "nanomaggy", "nmgy"), "nmgy"),
    **dict.fromkeys(("microjy", "microjansky", "ujy"), "uJy"),
    **dict.fromkeys(("nanojy", "nanojansky", "njy"), "nJy"),
    **dict.fromkeys(("jy", "jansky", "janskys"), "Jy"),
    **dict.fromkeys(("erg", "ergs"), "erg"),
    **dict.fromkeys(("cm", "hz", "sr", "arcsec"), ""),
    "photons": "ph", "photon": "ph", "cps": "ct / s", "millijy": "mJy", "megajy": "MJy",
}  # fmt: skip
_COUNTS = {u.electron: "electron", u.ct: "adu", u.adu: "adu", u.DN: "adu", u.ph: "electron"}
_JANSKY_OF_ZERO = 3631.0  # AB


def parse(text: str) -> u.UnitBase | None:
    """Parse BUNIT with astropy, after the spellings of surveys; None of an empty one.

    Raises
    ------
    ValueError
        It is no unit.
    """
    text = str(text).strip().strip("'[] ")
    if not text or text.lower() in ("none", "unitless", "dimensionless", "unknown", "n/a"):
        return None
    # `A` would be ampere, and `e-` is not a sign.
    plain = re.sub(r"\bA\b", "Angstrom", re.sub(r"\be-(?!\d)", "electron", text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)
        try:
            return u.Unit(plain)
        except ValueError:
            return u.Unit(re.sub(r"[A-Za-z]+", _spelling(plain), plain))


def _spelling(text: str) -> Callable[[re.Match], str]:
    surface = "sr" in text.lower()

    def known(word: re.Match) -> str:
        lower = word[0].lower()
        if lower == "mjy" and surface:  # MJY/SR; without steradian it might be millijansky
            return "MJy"
        return _SPELLINGS.get(lower, word[0]) or lower.replace("hz", "Hz")

    return known


@dataclass(frozen=True)
class Calibration:
    """What the header of an image says of its values.

    Parameters
    ----------
    spec : str
        Of the image, for messages.
    keyword : callable
        Returns the first of some names that the header has, or None.
    comment : callable
        Returns the comment of a keyword.
    pixel_area : float
        Of a pixel [arcsec^2], NaN if unknown.

    Raises
    ------
    galsim.GalSimValueError
        By the methods: a unit that is none of flux, or zero-points that contradict each other.
    """

    spec: str
    keyword: Callable[..., object]
    comment: Callable[[str], str]
    pixel_area: float

    @property
    def unit(self) -> u.UnitBase | None:
        """BUNIT, of the flux in a pixel."""
        text = self.keyword("BUNIT")
        try:
            unit = parse("" if text is None else str(text))
        except ValueError:
            raise self._wrong(f"its BUNIT {text!r} is not understood: give zeropoint") from None
        if unit is not None and u.pix in unit.bases:
            unit = unit * u.pix
        return None if unit is None or unit == u.dimensionless_unscaled else unit

    def zeropoint(self, given: float | None = None) -> float | None:
        """Return the AB zero-point of the values as they are, or None if nothing tells it.

        Parameters
        ----------
        given : float or None
            What the user says it is.
        """
        try:
            unit = self.unit
        except galsim.GalSimValueError:
            if given is None:
                raise
            return given
        stated, kind = given, "" if unit is None else _kind(unit)
        if unit is not None and not kind:
            raise self._wrong(f"its BUNIT {unit} is not one of a flux")
        if stated is None:
            stated = self._stated(kind)
        if unit is not None and kind in ("flux", "surface", "wavelength", "maggy"):
            return self._agree(self._of_flux(unit, kind), stated)
        calibrated, second = self._of_counts(unit, kind)
        if given is not None:
            if second is not None and calibrated is not None and _near(given, second):
                self._agree(calibrated, given)
            return given
        if calibrated is None or stated is None:
            return stated if calibrated is None else calibrated
        if second is not None and _near(stated, second):
            return calibrated
        return self._agree(calibrated, stated)

    def _stated(self, kind: str) -> float | None:
        """Zero-point of a keyword, of the values as they are."""
        value = self._number(*_AS_IS)
        if value is not None:
            return value
        if (flux := self._number("FLUXMAG0")) is not None and flux > 0:
            return 2.5 * math.log10(flux)
        value, exposure = self._number(*_MAYBE_RATE), self._number(*_EXPOSURE)
        rate = self._per_second()
        if value is None or kind != "total" or exposure in (None, 1.0) or rate is not None:
            return value
        raise self._wrong(
            f"it holds {self.keyword('BUNIT')} of {exposure:g} s, and its zero-point of {value:g} "
            "may be that of one second: give zeropoint, of the values as they are"
        )

    def _of_flux(self, unit: u.UnitBase, kind: str) -> float:
        if kind == "maggy":
            return -2.5 * math.log10(unit.to(u.mgy))
        if kind == "surface":
            if not self.pixel_area > 0:
                raise self._wrong(f"its BUNIT is {unit}, but it has no pixel scale")
            unit = unit * (self.pixel_area * u.arcsec**2)
            jansky = float((1.0 * unit).to_value(u.Jy))
        elif kind == "wavelength":
            pivot = self._number("PHOTPLAM", "PIVOT")
            if pivot is None or not pivot > 0:
                raise self._wrong(f"its BUNIT is {unit}, but it has no PHOTPLAM: give zeropoint")
            jansky = (1.0 * unit).to_value(u.Jy, u.spectral_density(pivot * u.AA))
        else:
            jansky = unit.to(u.Jy)
        return -2.5 * math.log10(jansky / _JANSKY_OF_ZERO)

    def _of_counts(self, unit, kind: str) -> tuple[float | None, float | None]:
        """Zero-point by PHOTFLAM or PHOTFNU of the values as they are, and of a total, of 1/s."""
        rate = self._per_second()
        if rate is None:
            return None, None
        if unit is not None:
            rate += 2.5 * math.log10(self._gain(unit)) - 2.5 * math.log10(_count_scale(unit))
        if kind != "total":
            return rate, None
        exposure = self._number(*_EXPOSURE)
        if exposure is None or not exposure > 0:
            raise self._wrong(
                f"it holds {unit} in all, and its calibration is of a second, but it has no "
                "EXPTIME: give zeropoint, of the values as they are"
            )
        total = rate + 2.5 * math.log10(exposure)
        return total, None if _near(total, rate) else rate

    def _per_second(self) -> float | None:
        """AB zero-point of one count a second by HST's keywords, or None."""
        flam, plam = self._number("PHOTFLAM"), self._number("PHOTPLAM")
        if flam is not None and plam is not None and flam > 0 and plam > 0:
            # ACS Data Handbook, section 5.1.1
            return -2.5 * math.log10(flam) - 5 * math.log10(plam) - 2.408
        fnu = self._number("PHOTFNU")
        return -2.5 * math.log10(fnu / _JANSKY_OF_ZERO) if fnu is not None and fnu > 0 else None

    def _gain(self, unit: u.UnitBase) -> float:
        """What one count of the calibration is in counts of the image."""
        name = "PHOTFLAM" if self.keyword("PHOTFLAM") is not None else "PHOTFNU"
        comment = self.comment(name).lower()
        theirs = "electron" if re.search(r"electron|/e\b|/e-", comment) else (
            "adu" if re.search(r"\bdn\b|adu|count", comment) else "")  # fmt: skip
        ours = next(name for base, name in _COUNTS.items() if base in unit.bases)
        gain = self._number(*_GAIN)
        if ours == theirs or (not theirs and (ours == "electron" or gain in (None, 1.0))):
            return 1.0
        if not theirs or gain is None or not gain > 0:
            raise self._wrong(
                f"its values are in {unit}, and whether {name} is of an electron or of a count is "
                "not known: give zeropoint"
            )
        return 1 / gain if ours == "adu" else gain

    def _number(self, *names: str) -> float | None:
        value = self.keyword(*names)
        try:
            number = math.nan if value is None else float(str(value))
        except ValueError:
            number = math.nan
        return number if math.isfinite(number) else None

    def _agree(self, derived: float, stated: float | None) -> float:
        """Return the zero-point that the unit tells, if no other contradicts it."""
        if stated is None or _near(derived, stated):
            return derived
        raise self._wrong(
            f"its unit {self.keyword('BUNIT')!r} makes the AB zero-point {derived:.3f}, but "
            f"{stated:.3f} is given: leave one of them out, or correct it"
        )

    def _wrong(self, text: str) -> galsim.GalSimError:
        return galsim.GalSimValueError(f"{self.spec}: {text}", self.keyword("BUNIT"))


def _near(a: float, b: float) -> bool:
    return abs(a - b) < _TOLERANCE


def _kind(unit: u.UnitBase) -> str:
    """Tell what a unit is of: flux, surface, wavelength, maggy, total, rate, or '' for no flux."""
    for target, name in ((u.Jy, "flux"), (u.Jy / u.sr, "surface"), (u.mgy, "maggy"),
                         (u.erg / u.s / u.cm**2 / u.AA, "wavelength")):  # fmt: skip
        if unit.is_equivalent(target):
            return name
    powers = dict(zip(unit.bases, unit.powers, strict=True))
    counts = [base for base in powers if base in _COUNTS]
    if len(counts) != 1 or powers.pop(counts[0]) != 1:
        return ""
    if not powers:
        return "total"
    (time, power), *others = powers.items()
    return "rate" if not others and power == -1 and time.is_equivalent(u.s) else ""


def _count_scale(unit: u.UnitBase) -> float:
    """Counts, or counts a second, that one unit is."""
    seconds = [base.to(u.s) for base in unit.bases if base.is_equivalent(u.s)]
    return float(np.real(unit.scale)) / (seconds[0] if seconds else 1.0)


def noise_factor(image: Calibration, noise: Calibration, weight: bool) -> float:
    """Return what brings a noise map to the unit of its image; 1 where either names none.

    Parameters
    ----------
    image, noise : Calibration
        Of the image and of its noise map.
    weight : bool
        The map is an inverse variance, and the factor that of its ``1 / sqrt``.

    Raises
    ------
    galsim.GalSimValueError
        The units do not fit.
    """
    ours, theirs = image.unit, noise.unit
    if ours is None or theirs is None or ours == theirs:
        return 1.0
    if weight:
        theirs = theirs**-0.5
    kind, other = _kind(ours), _kind(theirs)
    if kind and kind == other and kind in ("flux", "surface", "wavelength", "maggy"):
        return float(theirs.to(ours))
    if {kind, other} <= {"total", "rate"} and _names(ours) == _names(theirs):
        factor = _count_scale(theirs) / _count_scale(ours)
        exposure = image.keyword(*_EXPOSURE) or noise.keyword(*_EXPOSURE)
        if kind == other:
            return factor
        if exposure is not None and float(str(exposure)) > 0:
            seconds = float(str(exposure))
            return factor * (seconds if kind == "total" else 1 / seconds)
    raise galsim.GalSimValueError(
        f"{noise.spec} has another unit than {image.spec}, {image.keyword('BUNIT')!r}",
        noise.keyword("BUNIT"),
    )


def _names(unit: u.UnitBase) -> set[str]:
    return {_COUNTS[base] for base in unit.bases if base in _COUNTS}
