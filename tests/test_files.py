"""Files that appear when they are complete."""

import pytest

from galsim_vae import files


def test_what_is_not_complete_does_not_appear(tmp_path):
    def breaks(path):
        path.write_text("half")
        raise OSError("no space")

    kept = tmp_path / "kept.txt"
    kept.write_text("before")
    with pytest.raises(OSError, match="no space"):
        files.write_whole(kept, breaks)
    assert kept.read_text() == "before"
    assert list(tmp_path.iterdir()) == [kept]
    files.write_whole(kept, lambda path: path.write_text("after"))
    assert kept.read_text() == "after"
