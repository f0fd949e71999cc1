"""One file from the hub: whole, gone on with, or refused."""

from __future__ import annotations

import random
import shutil

import pytest
from support.hubs import Accident

from povwatch.core.errors import MachineError
from povwatch.engines.needs import Need
from povwatch.models import fetch
from povwatch.models import hub as client
from povwatch.models.errors import AccessError, ContentError, CutError, NetworkError, RoomError, StoppedError

BIG = random.Random(1).randbytes(3_000_000)  # noqa: S311 - only has to be the same each time
SMALL = b'{"hidden_size": 16}'
NEED = Need("owner/model", "main", "the model")


@pytest.fixture
def listing(hub):
    hub.add("owner/model", {"weights.pt": BIG, "config.json": SMALL, "sub/again.json": SMALL})
    return client.listing(NEED)


def file_of(listing, name):
    (found,) = [file for file in listing.files if file.name == name]
    return found


def bring(listing, name, **more):
    counted = []
    fetch.fetch(listing, file_of(listing, name), counted.append, **more)
    return sum(counted)


def blob(listing, name="weights.pt"):
    return fetch.blob_of(listing, file_of(listing, name))


def test_listing_has_sizes_and_digests(hub, listing):
    repository = hub.repositories["owner/model"]
    assert listing.commit == repository.commit
    assert [(file.name, file.size, file.digest) for file in listing.files] == [
        (name, len(repository.files[name]), repository.digest(name)) for name in sorted(repository.files)
    ]


def test_listing_of_patterns_and_names(hub, listing):
    """A listing has the files that match names and patterns, and no others."""
    wanted = Need("owner/model", "main", "", ("weights.pt",), ("sub/*",))
    assert [file.name for file in client.listing(wanted).files] == ["sub/again.json", "weights.pt"]


def test_missing_name_is_refused(hub, listing):
    """A file that the repository does not have is named with its repository and what it is for."""
    with pytest.raises(AccessError, match=r"owner/model at main does not have gone\.pt \(the weights\)"):
        client.listing(Need("owner/model", "main", "the weights", ("gone.pt",)))


def test_missing_revision_is_refused(hub, listing):
    with pytest.raises(AccessError, match="owner/model does not have what is needed"):
        client.listing(Need("owner/model", "gone", ""))


@pytest.mark.parametrize("name", ["weights.pt", "config.json"])
def test_bytes_are_in_the_cache(hub, listing, name):
    """A fetched file is where huggingface_hub's cache keeps it, and nothing else is there."""
    assert bring(listing, name) == file_of(listing, name).size
    assert blob(listing, name).read_bytes() == hub.repositories["owner/model"].files[name]
    assert [path.name for path in blob(listing, name).parent.iterdir()] == [blob(listing, name).name]


def test_file_here_is_not_fetched_again(hub, listing):
    bring(listing, "weights.pt")
    asked = len(hub.downloads())
    assert bring(listing, "weights.pt") == len(BIG)
    assert len(hub.downloads()) == asked


def test_cut_transfer_is_resumed(hub, listing):
    """A transfer that is cut goes on at the byte where it stopped."""
    hub.accidents["weights.pt"] = Accident(cut_after=1_200_000, times=2)
    assert bring(listing, "weights.pt") == len(BIG)
    assert blob(listing).read_bytes() == BIG
    ranges = [range_ for name, range_ in hub.downloads()]
    assert ranges[0] == ""
    assert [int(range_.removeprefix("bytes=").rstrip("-")) for range_ in ranges[1:]] == [1_200_000, 2_400_000]


def test_killed_transfer_is_resumed(hub, listing):
    """A transfer that was ended goes on at the next run, at the byte where it stopped."""
    hub.accidents["weights.pt"] = Accident(cut_after=700_000, times=fetch.ATTEMPTS)
    seen = []
    with pytest.raises(StoppedError):
        bring(listing, "weights.pt", stopped=lambda: seen.append(1) or len(seen) > 1)
    part = blob(listing).with_name(blob(listing).name + fetch.PART)
    here = part.stat().st_size
    assert 0 < here < len(BIG)
    assert fetch.size_here(listing, file_of(listing, "weights.pt")) == here
    hub.accidents.clear()
    hub.requests.clear()
    assert bring(listing, "weights.pt") == len(BIG)
    assert hub.downloads() == [("weights.pt", f"bytes={here}-")]
    assert blob(listing).read_bytes() == BIG
    assert not part.exists()


def test_hub_without_ranges_sends_it_all(hub, listing):
    """A hub that knows no ranges sends the file from its beginning."""
    hub.accidents["weights.pt"] = Accident(cut_after=1_200_000, no_ranges=True)
    assert bring(listing, "weights.pt") == len(BIG)
    assert blob(listing).read_bytes() == BIG


def test_busy_hub_is_asked_again(hub, listing):
    hub.accidents["weights.pt"] = Accident(status=503, times=2)
    assert bring(listing, "weights.pt") == len(BIG)


def test_endless_cuts_give_up(hub, listing):
    """A transfer that is always cut is given up after a number of attempts."""
    hub.accidents["weights.pt"] = Accident(cut_after=0, times=99)
    with pytest.raises(CutError, match=r"connection|too early|reached"):
        bring(listing, "weights.pt")
    assert len(hub.downloads()) == fetch.ATTEMPTS


def test_wrong_bytes_are_thrown_away(hub, listing):
    """Wrong bytes are refused with their digest, and thrown away."""
    hub.accidents["weights.pt"] = Accident(swapped=BIG[:-1] + b"x")
    counted = []
    with pytest.raises(ContentError) as refused:
        fetch.fetch(listing, file_of(listing, "weights.pt"), counted.append)
    assert "weights.pt of owner/model came with the wrong bytes" in refused.value.what
    assert file_of(listing, "weights.pt").digest in refused.value.what
    assert "thrown away" in refused.value.todo
    assert sum(counted) == 0
    assert list(blob(listing).parent.iterdir()) == []


def test_small_file_with_wrong_bytes(hub, listing):
    """Wrong bytes of a small file, which has another kind of digest, are refused as well."""
    hub.accidents["config.json"] = Accident(swapped=SMALL[:-1] + b"]")
    with pytest.raises(ContentError, match=r"config\.json of owner/model"):
        bring(listing, "config.json")


def test_more_bytes_than_listed_are_refused(hub, listing):
    hub.accidents["weights.pt"] = Accident(swapped=BIG + b"more")
    with pytest.raises(ContentError, match=f"{len(BIG) + 4} bytes instead of {len(BIG)}"):
        bring(listing, "weights.pt")


def test_spoilt_partial_is_begun_anew(hub, listing):
    """A partial file with wrong bytes is fetched from its beginning."""
    part = blob(listing).with_name(blob(listing).name + fetch.PART)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1_000_000)
    assert bring(listing, "weights.pt") == len(BIG)
    assert blob(listing).read_bytes() == BIG
    assert hub.downloads() == [("weights.pt", "bytes=1000000-"), ("weights.pt", "")]


def test_two_at_once_are_refused(hub, listing):
    """Two fetches do not write into one file: the second is refused."""
    part = blob(listing).with_name(blob(listing).name + fetch.PART)
    part.parent.mkdir(parents=True)
    part.touch()
    with fetch._locked(part), pytest.raises(MachineError, match="Another povwatch prefetch"):
        bring(listing, "weights.pt")


def test_full_disk_keeps_what_is_here(hub, listing, monkeypatch):
    """A full disk is told, and what is here is kept."""

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if self.file.tell() + len(data) > 2_000_000:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

    whole = fetch._complete
    monkeypatch.setattr(fetch, "_complete", lambda a, b, out, *rest: whole(a, b, Full(out), *rest))
    with pytest.raises(RoomError, match="The disk is full"):
        bring(listing, "weights.pt")
    assert 0 < fetch.size_here(listing, file_of(listing, "weights.pt")) <= 2_000_000


def test_gated_repository_names_its_page(hub):
    """A gated repository is named with its page and how to log in."""
    hub.add("nvidia/Cosmos", {"a": b"a"}, gated=True)
    with pytest.raises(AccessError) as refused:
        client.check_access("nvidia/Cosmos")
    assert refused.value.what == "nvidia/Cosmos is gated, and this machine has no access to it."
    assert "https://huggingface.co/nvidia/Cosmos" in refused.value.todo
    assert "HF_TOKEN" in refused.value.todo
    assert "hf auth login" in refused.value.todo


def test_token_opens_a_gated_repository(hub, monkeypatch):
    hub.add("nvidia/Cosmos", {"a": b"a"}, gated=True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    client.check_access("nvidia/Cosmos")


def test_hidden_repository_without_a_token(hub):
    """A repository that the hub denies is named with its page and the status."""
    with pytest.raises(AccessError) as refused:
        client.check_access("owner/secret")
    assert "owner/secret is not there, or not for this machine's token (HTTP 401)" in refused.value.what
    assert "https://huggingface.co/owner/secret" in refused.value.todo


def test_no_hub_at_all(hub, monkeypatch):
    """A hub that cannot be reached is named by its address."""
    from huggingface_hub import constants  # noqa: PLC0415

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:9 cannot be reached"):
        client.check_access("owner/model")


def test_client_finds_linked_files_offline(hub, listing):
    """huggingface_hub finds the linked files without a network, and nothing is fetched twice."""
    from huggingface_hub import snapshot_download, try_to_load_from_cache  # noqa: PLC0415

    for name in ("weights.pt", "config.json", "sub/again.json"):
        bring(listing, name)
    asked = len(hub.downloads())
    folder = client.link(listing)
    assert len(hub.downloads()) == asked, "the bytes were here already"
    assert (folder / "weights.pt").read_bytes() == BIG
    assert client.cached_commit(NEED) == listing.commit == folder.name
    shutil.rmtree(folder / "sub")
    assert try_to_load_from_cache("owner/model", "weights.pt") == str(folder / "weights.pt")
    client.link(listing)
    assert snapshot_download("owner/model", local_files_only=True) == str(folder)
