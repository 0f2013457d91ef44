from __future__ import annotations

import os
from pathlib import Path

from headrace.server.watch import changed, stamps


def test_written_new_and_removed_files_are_changes(tmp_path: Path) -> None:
    app, other, deep = tmp_path / "app.py", tmp_path / "other.py", tmp_path / "sub" / "deep.sql"
    deep.parent.mkdir()
    for file in (app, other, deep):
        file.write_text("1")
    before = stamps(app)
    assert set(before) == {app, other, deep}
    assert changed(before, stamps(app)) == []
    deep.write_text("22")
    other.unlink()
    new = tmp_path / "new.py"
    new.write_text("")
    assert changed(before, stamps(app)) == sorted([deep, other, new])


def test_what_is_no_code_does_not_count(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("1")
    for name in ("__pycache__/x.py", ".headrace/x.py", "data.jsonl", ".hidden.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert set(stamps(app)) == {app}


def test_a_new_time_is_enough(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("1")
    before = stamps(app)
    os.utime(app, ns=(1, 1))
    assert changed(before, stamps(app)) == [app]


def test_other_files_count_whatever_and_wherever_they_are(tmp_path: Path) -> None:
    app, prompt = tmp_path / "shop" / "app.py", tmp_path / "prompts" / "tone.txt"
    for file in (app, prompt):
        file.parent.mkdir()
        file.write_text("1")
    before = stamps(app, [prompt])
    assert set(before) == {app, prompt}
    prompt.unlink()
    assert changed(before, stamps(app, [prompt])) == [prompt]
    assert changed(stamps(app), {**stamps(app), prompt: None}) == []  # it is not there, either way
