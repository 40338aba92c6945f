"""Threads that each compute alone: order, and torch's setting put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from genesis.metrics.threads import on_each_core, one_core


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_each_thread_has_one_core(threads: int) -> None:
    found = list(on_each_core(lambda i: (i, torch.get_num_threads()), range(20)))
    assert found == [(i, 1) for i in range(20)]
    assert torch.get_num_threads() == threads


def test_the_setting_comes_back_after_a_failure(threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(on_each_core(lambda i: 1 // i, [1, 0]))
    assert torch.get_num_threads() == threads


def test_one_core_says_what_it_found_and_puts_it_back(threads: int) -> None:
    with one_core() as before:
        assert torch.get_num_threads() == 1
    assert before == torch.get_num_threads() == threads
