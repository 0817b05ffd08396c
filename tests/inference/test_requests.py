"""What a model requests, as one value."""

import pytest

from inference.requests import NO_REQUESTS, ToolRequests

END, SALES, SUPPORT = ToolRequests(end_call=True), ToolRequests(transfer="sales"), ToolRequests(transfer="support")


@pytest.mark.parametrize("requests", [END, SALES, ToolRequests(opt_out=True)])
def test_each_single_request_counts_as_one(requests):
    assert requests
    assert not NO_REQUESTS


@pytest.mark.parametrize("requests", [END | SALES, SALES | SUPPORT | END, END | SALES | NO_REQUESTS])
def test_requests_add_up_and_the_earlier_of_two_different_values_counts(requests):
    assert requests == ToolRequests(end_call=True, transfer="sales")
