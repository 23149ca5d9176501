"""Where images are: what the user says, a folder that is there, else the user's cache."""

from pathlib import Path

import pytest

from langevin_nn.data import image_files
from langevin_nn.data.image_files import data_folder, fetch


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and an installed package: no variable, no checkout, an empty folder."""
    for name in ("LANGEVIN_NN_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(image_files, "CHECKOUT", tmp_path / "site-packages")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_the_order_of_the_places(home, tmp_path, monkeypatch):
    cache = data_folder()
    assert cache.is_relative_to(home) and cache.parts[-2:] == ("langevin_nn", "data")
    Path("data").mkdir()
    Path("data/README.md").touch()
    assert data_folder() == cache, "a folder of somebody's own is none of data sets"
    checkout = tmp_path / "site-packages"
    (checkout / "data").mkdir(parents=True)
    for name in ("pyproject.toml", "data/README.md"):
        assert data_folder() == cache
        (checkout / name).touch()
    assert data_folder() == data_folder("") == checkout / "data"
    Path("data/mnist").mkdir()
    assert data_folder() == Path("data")
    monkeypatch.setenv("LANGEVIN_NN_DATA", "~/mine")
    assert data_folder() == home / "mine"
    assert data_folder("here") == Path("here")
    assert not home.exists(), "asking makes no folder"


def test_what_is_fetched_is_found_from_another_folder(home, tmp_path, monkeypatch):
    """Until then nothing is there."""
    served = {name: b"published" for name in image_files.FILES["mnist"]}

    class Served:
        def __init__(self, **_):
            pass

        def __call__(self, url, output, _):
            Path(output).write_bytes(served[url.rpartition("/")[2]])

    monkeypatch.setattr("pooch.HTTPDownloader", Served)
    sums = (image_files.hashlib.sha256(b"published").hexdigest(),) * len(served)
    monkeypatch.setitem(image_files.SHA256, "mnist", sums)
    paths = fetch("mnist")
    assert all(path.is_relative_to(home) for path in paths) and not any(Path().iterdir())
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert image_files._locate("mnist", data_folder() / "mnist") == paths
    assert fetch("mnist") == paths


def test_a_cache_that_cannot_be_written_is_said(home, cli):
    home.mkdir()
    (home / ".cache").touch()
    answer = cli("data", "fetch", "mnist")
    assert answer.code == 2 and "LANGEVIN_NN_DATA" in answer.err
    listed = cli("data", "list")
    assert listed.code == 0 and str(home) in listed.out
