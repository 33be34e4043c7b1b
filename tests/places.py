"""Where the tests find the repository and the real data beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Real survey data, described in docs/training.md; not part of the repository.
SHARED = ROOT.parent / "shared" / "data"
