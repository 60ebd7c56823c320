"""Version numbers of releases."""

import pytest

from cxr_max.data import versions


@pytest.mark.parametrize(("old", "new"), [("1.2.3", "1.3.0"), ("0.0.0+synthetic.3", "0.1.0+synthetic.3")])
def test_a_release_with_further_tables_is_the_next_minor_version(old: str, new: str) -> None:
    assert versions.next_minor(old) == new
