"""`cxr-max publish`: what is asked, what is refused, what is printed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr_max import cli
from cxr_max.errors import CxrMaxError, RestrictedDataError, UsageError
from tests.data import handmade

RUN = CliRunner()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return handmade.write(tmp_path / "release", synthetic=False)


def fails(*arguments: str, typed: str = "") -> CxrMaxError:
    result = RUN.invoke(cli.application(), ["publish", *arguments], input=typed)
    assert isinstance(result.exception, CxrMaxError), result.output
    return result.exception


def test_the_bundle(release: Path, tmp_path: Path) -> None:
    done = RUN.invoke(cli.application(), ["publish", str(release), "--physionet", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "mimic-cxr-ext-cxr-max-1.0.0" in done.output
    assert "[brackets]" in done.output
    again = RUN.invoke(
        cli.application(), ["publish", str(release), "--physionet", str(tmp_path / "out"), "--overwrite", "--json"]
    )
    assert Path(json.loads(again.stdout)["bundle"]).is_dir()


def test_one_target_and_only_one(release: Path, tmp_path: Path) -> None:
    assert isinstance(fails(str(release)), UsageError)
    assert "--physionet" in str(fails(str(release)))
    assert isinstance(fails(str(release), "--physionet", str(tmp_path / "o"), "--repo", "a/b"), UsageError)
    assert isinstance(fails(str(release), "--repo", "a/b", "--class", "source"), UsageError)


@pytest.mark.parametrize("typed", ["", "yes\n", "I state that\n"])
def test_a_derived_push_asks_and_takes_no_other_answer(release: Path, typed: str) -> None:
    error = fails(str(release), "--repo", "lab/x", "--class", "derived", typed=typed)
    assert isinstance(error, RestrictedDataError)
    assert error.exit_code == 2
    assert "every member of lab/x is credentialed" in str(error)


def test_derived_and_public_is_refused_before_anything_is_asked(release: Path) -> None:
    error = fails(str(release), "--repo", "lab/x", "--class", "derived", "--public", "--statement", "anything")
    assert "no option changes that" in str(error)
