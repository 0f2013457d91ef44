"""Files of the spool give back what they took, and disks that refuse are told in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import SourceError
from headrace.sources.postgres.spool import Spool


@given(st.lists(st.binary(max_size=200), max_size=40))
def test_records_come_back_as_they_were(tmp_path_factory, records):
    spool = Spool(tmp_path_factory.mktemp("spool"), "s")
    file = spool.file("x")
    for record in records:
        file.add(record)
    assert list(file.read()) == records
    assert list(file.read()) == records
    spool.clear()
    assert not list(spool.folder.iterdir())


def test_a_file_that_was_cut_off_is_noticed(tmp_path):
    file = Spool(tmp_path, "s").file("x")
    file.add(b"a" * 1000)
    assert list(file.read()) == [b"a" * 1000]
    with file.path.open("r+b") as other:
        other.truncate(500)
    with pytest.raises(SourceError, match="was cut off"):
        list(file.read())
    file.drop()
    with pytest.raises(SourceError, match="is closed"):
        file.add(b"b")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot keep a large transaction") as caught:
        Spool(tmp_path / "file" / "folder", "s").file("x")
    assert "make room" in caught.value.hint
