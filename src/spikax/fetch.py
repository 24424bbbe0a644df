"""Downloads of public recordings, kept and checked by pooch.

`DOWNLOADABLE_FILES` are the names that `fetch_data` knows.

>>> import spikax as nmo
>>> len(nmo.fetch.DOWNLOADABLE_FILES)
7
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from pynwb import NWBHDF5IO

__all__ = ["DOWNLOADABLE_FILES", "download_dandi_data", "fetch_data"]

_OSF = "https://osf.io/download/"
_DANDI = "https://api.dandiarchive.org/api/"

# The identifier of each file at the Open Science Framework, and its SHA-256.
_FILES = {
    "A0670-221213.nwb": (
        "sbnaw",
        "8587dd6dde107504bd4a17a68ce8fb934fcbcccc337e653f31484611ee51f50a",
    ),
    "A2929-200711.nwb": (
        "y7zwd",
        "f698d7319efa5dfeb18fb5fe718ec1a84fdf96b85a158177849a759cd5e396fe",
    ),
    "Achilles_10252013.nwb": (
        "hu5ma",
        "42857015aad4c2f7f6f3d4022611a69bc86d714cf465183ce30955731e614990",
    ),
    "Achilles_10252013_EEG.nwb": (
        "2dfvp",
        "a97a69d231e7e91c07e24890225f8fe4636bac054de50345551f32fc46b9efdd",
    ),
    "Mouse32-140822.nwb": (
        "jb2gd",
        "1a919a033305b8f58b5c3e217577256183b14ed5b436d9c70989dee6dafe0f35",
    ),
    "allen_478498617.nwb": (
        "vf2nj",
        "262393d7485a5b39cc80fb55011dcf21f86133f13d088e35439c2559fd4b49fa",
    ),
    "m691l1.nwb": (
        "xesdm",
        "1990d8d95a70a29af95dade51e60ffae7a176f6207e80dbf9ccefaf418fe22b6",
    ),
}
DOWNLOADABLE_FILES = list(_FILES)


def fetch_data(dataset_name: str, path: str | Path | None = None) -> str:
    """Download one of the recordings of NeMoS's and pynapple's tutorials, unless it is here.

    Parameters
    ----------
    dataset_name
        Name of the file, one of `DOWNLOADABLE_FILES`.
    path
        Folder to keep it in. None (default) is that of the environment variable `SPIKAX_DATA_DIR`
        or, without it, the cache of the system, ``pooch.os_cache("spikax")``.

    Returns
    -------
    str
        Where the file is. Its checksum is that of the file that was published.

    Raises
    ------
    ValueError
        If nobody published a file of that name.
    ConnectionError
        If it cannot be downloaded.
    ImportError
        If pooch is not installed.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.fetch.DOWNLOADABLE_FILES[0]
    'A0670-221213.nwb'
    >>> path = nmo.fetch.fetch_data("A0670-221213.nwb")  # doctest: +SKIP
    """
    if dataset_name not in _FILES:
        from spikax._errors import unknown_name

        raise unknown_name("dataset_name", dataset_name, _FILES)
    identifier, checksum = _FILES[dataset_name]
    return _retrieve(f"{_OSF}{identifier}/", dataset_name, f"sha256:{checksum}", path)


def download_dandi_data(
    dandiset_id: str, file_path: str, force_download: bool = False
) -> "NWBHDF5IO":
    """Download a file of the DANDI archive, unless it is here, and open it.

    Parameters
    ----------
    dandiset_id
        Number of the dandiset, six digits.
    file_path
        Path of the NWB file within it.
    force_download
        Whether to download it again (default False).

    Returns
    -------
    pynwb.NWBHDF5IO
        The open file: ``pynapple.NWBFile(io.read())`` gives its objects.

    Raises
    ------
    ValueError
        If the dandiset has no such file.
    ConnectionError
        If it cannot be downloaded.
    ImportError
        If pooch is not installed.

    References
    ----------
    https://dandiarchive.org

    Examples
    --------
    >>> import spikax as nmo
    >>> io = nmo.fetch.download_dandi_data(  # doctest: +SKIP
    ...     "000582", "sub-11265/sub-11265_ses-07020602_behavior+ecephys.nwb"
    ... )
    """
    from pynwb import NWBHDF5IO

    folder = f"{_DANDI}dandisets/{quote(str(dandiset_id))}/versions/draft/assets/"
    asked = f"{folder}?{urlencode({'path': file_path})}"
    name = f"dandi-{dandiset_id}-{file_path.replace('/', '-')}"
    kept = _folder(None) / name
    if force_download or not kept.exists():
        listed = _retrieve(asked, f"{name}.json", None, None, again=True)
        assets = json.loads(Path(listed).read_text())["results"]
        found = [asset for asset in assets if asset["path"] == file_path]
        if not found:
            near = ", ".join(asset["path"] for asset in assets[:5]) or "none that begins like it"
            raise ValueError(
                f"dandiset {dandiset_id} has no file {file_path!r}; it has {near}. Copy the path "
                f"from https://dandiarchive.org/dandiset/{dandiset_id}."
            )
        url = f"{_DANDI}assets/{found[0]['asset_id']}/download/"
        _retrieve(url, name, None, None, again=True)
    return NWBHDF5IO(str(kept), "r", load_namespaces=True)  # pyright: ignore[reportCallIssue]


def _folder(path: Any) -> Path:
    given = path or os.environ.get("SPIKAX_DATA_DIR")
    return Path(given) if given else Path(_pooch().os_cache("spikax"))


def _retrieve(url: str, name: str, checksum: str | None, path: Any, again: bool = False) -> str:
    """Download a file to a folder if it is not there, or not what was published."""
    pooch, folder = _pooch(), _folder(path)
    if again:
        (folder / name).unlink(missing_ok=True)
    try:
        return pooch.retrieve(url, checksum, fname=name, path=folder, progressbar=True)
    except (OSError, ValueError) as error:  # without a network; or with another content
        raise ConnectionError(
            f"{name} could not be downloaded from {url} ({type(error).__name__}: "
            f"{str(error)[:200]}). Check the network, or put the file into {folder} yourself. The "
            "recordings of spikax.datasets need no network."
        ) from error


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Downloads need the package pooch, which is not installed: pip install "
            "'spikax[fetch]'."
        ) from error
    return pooch
