import pytest

from headrace.core import errors


def test_a_message_says_what_to_do_next() -> None:
    error = errors.DeclarationError("the key 'id' is not a column", hint="use one of: item_id", where="app.py:7")
    assert str(error) == "app.py:7: the key 'id' is not a column\n  hint: use one of: item_id"


def test_a_missing_extra_gives_the_exact_command() -> None:
    assert errors.MissingExtra("reading Parquet", extra="parquet").hint == 'pip install "headrace[parquet]"'


@pytest.mark.parametrize("status", [200, 404, 500, "422", None])
def test_a_bad_input_has_one_of_the_statuses_that_are_described(status: int) -> None:
    with pytest.raises(ValueError, match="is none of a BadInput: give one of 400, 408, 413, 415, 422"):
        errors.BadInput("no such shelf", status=status)
    assert [errors.BadInput("x", status=one).status for one in (400, 408, 413, 415, 422)] == [400, 408, 413, 415, 422]
