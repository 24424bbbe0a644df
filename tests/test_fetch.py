"""Downloads: from a server of the test's own, for there is no other."""

import hashlib
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pynwb import NWBHDF5IO, NWBFile

from spikax import fetch

CONTENT = b"what was published"
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serve the paths of a dict, and count the requests."""
    served, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            asked.append(path)
            self.send_response(200 if path in served else 404)
            self.end_headers()
            self.wfile.write(served.get(path, b""))

        def log_message(self, *args):
            """Print nothing."""

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{web.server_port}/"
    monkeypatch.setattr(fetch, "_OSF", f"{address}osf/")
    monkeypatch.setattr(fetch, "_DANDI", f"{address}dandi/")
    monkeypatch.setattr(fetch, "_FILES", {"a.nwb": ("abc", CHECKSUM)})
    monkeypatch.setenv("SPIKAX_DATA_DIR", str(tmp_path / "kept"))
    yield served, asked
    web.shutdown()
    web.server_close()


def test_a_file_is_downloaded_once_and_kept(server, tmp_path):
    served, asked = server
    served["/osf/abc/"] = CONTENT
    path = fetch.fetch_data("a.nwb")
    assert path == str(tmp_path / "kept" / "a.nwb")
    assert Path(path).read_bytes() == CONTENT
    assert fetch.fetch_data("a.nwb") == path
    assert asked == ["/osf/abc/"]
    elsewhere = fetch.fetch_data("a.nwb", tmp_path / "other")
    assert elsewhere == str(tmp_path / "other" / "a.nwb")


def test_another_content_than_what_was_published_is_refused(server):
    served, _ = server
    served["/osf/abc/"] = b"something else"
    with pytest.raises(ConnectionError, match=r"a\.nwb could not be downloaded .*ValueError"):
        fetch.fetch_data("a.nwb")


def test_a_file_that_is_not_there_is_an_error_that_says_what_to_do(server, monkeypatch):
    with pytest.raises(ConnectionError, match=r"Check the network, or put the file into .*kept"):
        fetch.fetch_data("a.nwb")
    monkeypatch.setattr(fetch, "_OSF", "http://127.0.0.1:1/")  # where nobody answers
    with pytest.raises(ConnectionError, match=r"spikax\.datasets need no network"):
        fetch.fetch_data("a.nwb")
    with pytest.raises(ValueError, match=r"Unknown dataset_name: 'a'\. .*Known: a\.nwb"):
        fetch.fetch_data("a")


def test_a_file_of_dandi_is_found_downloaded_and_opened(server, tmp_path):
    served, asked = server
    session = NWBFile("a session", "one", datetime(2020, 1, 1, tzinfo=UTC))
    with NWBHDF5IO(str(tmp_path / "session.nwb"), "w") as io:
        io.write(session)
    listing = {"results": [{"path": "sub-1/s.nwb", "asset_id": "x1"}]}
    served["/dandi/dandisets/000582/versions/draft/assets/"] = json.dumps(listing).encode()
    served["/dandi/assets/x1/download/"] = (tmp_path / "session.nwb").read_bytes()
    for n_requests in (2, 2):  # the second one finds it
        with fetch.download_dandi_data("000582", "sub-1/s.nwb") as io:
            assert io.read().session_description == "a session"
        assert len(asked) == n_requests
    with fetch.download_dandi_data("000582", "sub-1/s.nwb", force_download=True) as io:
        assert io.read().identifier == "one"
    assert len(asked) == 4
    with pytest.raises(ValueError, match=r"has no file 'sub-2/s\.nwb'; it has sub-1/s\.nwb"):
        fetch.download_dandi_data("000582", "sub-2/s.nwb")


def test_without_pooch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'spikax\[fetch\]'"):
        fetch.fetch_data("A0670-221213.nwb")
