"""What the service promises of a parcel."""

import pytest

from courier import jobs


def test_a_parcel_without_an_address_fails():
    """It raises, so that the worker knows."""
    with pytest.raises(jobs.NoSuchAddress):
        jobs.deliver({"number": 1, "address": ""})


def test_a_printer_that_is_off_does_not_stop_the_parcel():
    """The label is worth less than the delivery."""
    assert jobs.deliver({"number": 2, "address": "High Street 1", "printer": "http://127.0.0.1:9"}) == "label-2"


def test_customers_who_can_not_be_told_are_not_counted():
    """Those that were told are."""
    assert jobs.notify({"number": 3, "customers": [{"url": "http://127.0.0.1:9"}]}) == 0


def test_a_tariff_that_is_not_there_is_empty(tmp_path):
    """And one that is there is read."""
    assert jobs.read_tariff(tmp_path / "none.json") == {}
    (tmp_path / "some.json").write_text('{"1": 2}')
    assert jobs.read_tariff(tmp_path / "some.json") == {"1": 2}
