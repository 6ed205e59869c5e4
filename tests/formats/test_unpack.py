"""Opening what a user points at, a hostile zip included."""

import io
import struct
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from core.domain.errors import FormatError
from core.formats import unpack
from core.formats.source import list_files, split_of
from tests.formats.builders import photo, put, zip_of


def names_in(folder: Path) -> list[str]:
    return [str(path) for path in list_files(folder)]


def test_a_folder_is_given_as_it_is(folder: Path) -> None:
    with unpack.open_source(folder) as opened:
        assert opened.folder == folder


def test_a_single_photo_is_given_in_a_folder_of_its_own(folder: Path) -> None:
    put(folder / "other.jpg", photo(1))
    path = put(folder / "a b.JPG", photo())

    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == ["a b.JPG"]
        assert (opened.folder / "a b.JPG").read_bytes() == photo()


def test_a_zip_is_unpacked_and_cleared_away(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a/1.jpg": b"1", "a/b/2.jpg": b"2"})

    with unpack.open_source(path, tmp_path / "scratch") as opened:
        assert names_in(opened.folder) == ["a/1.jpg", "a/b/2.jpg"]
        assert opened.refused == ()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "a/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg", "\\evil.jpg"]
)
def test_a_path_that_leads_out_of_the_zip_is_refused_and_the_rest_taken(tmp_path: Path, name: str) -> None:
    path = zip_of(tmp_path / "x.zip", {name: b"evil", "a.jpg": b"good"})

    with unpack.open_source(path, tmp_path / "scratch") as opened:
        assert names_in(opened.folder) == ["a.jpg"]
        (refusal,) = opened.refused
        assert refusal.file == name
        assert refusal.reason == "Its path leads out of the zip's folder."
    assert list(tmp_path.rglob("*evil*")) == []


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(link, "/etc/passwd")

    with unpack.open_source(tmp_path / "x.zip") as opened:
        assert names_in(opened.folder) == []
        assert "a link" in opened.refused[0].reason


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.jpg": b"secret", "b.jpg": b"open"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)

    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == ["b.jpg"]
        assert "encrypted" in opened.refused[0].reason


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.jpg", bytes(unpack.RATIO_MATTERS_FROM_BYTES + 1))
        file.writestr("a.jpg", b"good")

    with unpack.open_source(tmp_path / "x.zip") as opened:
        assert names_in(opened.folder) == ["a.jpg"]
        assert "times its size" in opened.refused[0].reason


def test_a_member_that_lies_about_its_size_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.jpg", bytes(1_000_000))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 10)
    path.write_bytes(data)

    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == []
        assert "damaged" in opened.refused[0].reason


def test_too_many_or_too_large_members_are_cut_off_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_of(tmp_path / "x.zip", {f"{n}.jpg": b"12345" for n in range(5)})
    monkeypatch.setattr(unpack, "MAX_MEMBERS", 3)

    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == ["0.jpg", "1.jpg", "2.jpg"]
        assert [refusal.file for refusal in opened.refused] == ["3.jpg"]

    monkeypatch.setattr(unpack, "MAX_UNPACKED_BYTES", 12)
    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == ["0.jpg", "1.jpg"]
        assert [refusal.file for refusal in opened.refused] == ["2.jpg"]


def test_a_damaged_member_is_refused_alone(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.jpg": b"aaaa-content", "b.jpg": b"bbbb"})
    path.write_bytes(path.read_bytes().replace(b"aaaa-content", b"aaaa-CONTENT"))

    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == ["b.jpg"]
        assert opened.refused[0].file == "a.jpg"
        assert "damaged" in opened.refused[0].reason


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a": b"file", "a/b.jpg": b"x", "c.jpg": b"c"})

    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == ["a", "c.jpg"]
        assert [refusal.file for refusal in opened.refused] == ["a/b.jpg"]


def test_a_folder_s_zips_stay_packed_unless_they_are_asked_for(folder: Path) -> None:
    zip_of(folder / "a.zip", {"1.jpg": b"1"})

    with unpack.open_source(folder) as opened:
        assert names_in(opened.folder) == ["a.zip"]


def test_the_zips_of_an_upload_are_unpacked_beside_its_other_files(folder: Path) -> None:
    zip_of(folder / "a.zip", {"1.jpg": b"1", "../evil.jpg": b"evil"})
    put(folder / "a/2.jpg", photo())
    put(folder / "b/3.jpg", photo())
    zip_of(folder / "b/A.ZIP", {"1.jpg": b"2", "inner.zip": b"stays"})
    put(folder / "c.zip", b"not a zip")

    with unpack.open_source(folder, with_zips=True) as opened:
        assert names_in(opened.folder) == ["a/2.jpg", "a_2/1.jpg", "b/3.jpg", "b/A/1.jpg", "b/A/inner.zip"]
        assert (opened.folder / "a/2.jpg").read_bytes() == photo()
        assert [refusal.file for refusal in opened.refused] == ["a.zip/../evil.jpg", "c.zip"]
    assert names_in(folder) == ["a/2.jpg", "a.zip", "b/3.jpg", "b/A.ZIP", "c.zip"]


def test_an_upload_of_nothing_but_damaged_zips_says_so(folder: Path) -> None:
    for name in ("a.zip", "b.zip"):
        put(folder / name, b"not a zip")

    with (
        pytest.raises(FormatError, match=r"Nothing could be unpacked. a\.zip: .* is not a zip file"),
        unpack.open_source(folder, with_zips=True),
    ):
        pass


def test_clutter_is_left_out_without_a_word(tmp_path: Path) -> None:
    clutter = ["__MACOSX/._a.jpg", ".DS_Store", "a/.hidden/x.jpg", "a/Thumbs.db", "a/desktop.ini"]
    path = zip_of(tmp_path / "x.zip", {name: b"" for name in clutter} | {"a/1.jpg": b"1"})

    with unpack.open_source(path) as opened:
        assert names_in(opened.folder) == ["a/1.jpg"]
        assert opened.refused == ()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn off", b"not a zip"])
def test_a_file_that_is_no_zip_names_itself(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "x.zip", content)

    with pytest.raises(FormatError, match=r"x\.zip is not a zip file"), unpack.open_source(path):
        pass


def test_other_files_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "x.docx", b"")

    with pytest.raises(FormatError, match="neither a folder, a zip nor a photo"), unpack.open_source(path):
        pass
    with pytest.raises(FormatError, match="does not exist"), unpack.open_source(tmp_path / "none"):
        pass


def test_a_zip_made_by_windows_keeps_its_folders(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("train/1.jpg", b"1")
    path = put(tmp_path / "x.zip", buffer.getvalue().replace(b"train/1.jpg", b"train\\1.jpg"))

    with unpack.open_source(path) as opened:
        assert list_files(opened.folder) == [PurePosixPath("train/1.jpg")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("trainingset", "train"),
        ("training_set", "train"),
        ("train2017", "train"),
        ("train_images", "train"),
        ("valid", "valid"),
        ("val", "valid"),
        ("validation", "valid"),
        ("VAL2017", "valid"),
        ("test", "test"),
        ("testset", "test"),
        ("testimony", None),
        ("vintage", None),
        ("trainer", None),
        ("unsplit", None),
    ],
)
def test_a_folder_name_tells_its_split(name: str, split: str | None) -> None:
    assert split_of(["photos", name, "test"]) == (split or "test")
    assert split_of([name]) == split
