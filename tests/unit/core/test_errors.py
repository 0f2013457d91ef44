from headrace.core import errors


def test_a_message_says_what_to_do_next() -> None:
    error = errors.DeclarationError("the key 'id' is not a column", hint="use one of: item_id", where="app.py:7")
    assert str(error) == "app.py:7: the key 'id' is not a column\n  hint: use one of: item_id"


def test_a_missing_extra_gives_the_exact_command() -> None:
    assert errors.MissingExtra("reading Parquet", extra="parquet").hint == 'pip install "headrace[parquet]"'
