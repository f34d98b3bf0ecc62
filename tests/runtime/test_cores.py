import os
import threading

import pytest

from service.runtime.cores import UNPINNED, choose_cores, pin_this_thread, threads_of_each

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin threads to cores")


def allowed(monkeypatch: pytest.MonkeyPatch, cores: set[int], pid: int = 0) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr(os, "getpid", lambda: pid)


def test_split_the_event_loop_has_one_core_and_the_device_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, {2, 3, 5, 7}, pid=101)
    cores = choose_cores("split", torch_threads=1)
    assert (cores.loop, cores.device) == ({3}, {2, 5, 7})


def test_servers_side_by_side_choose_different_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    for pid in range(4):
        allowed(monkeypatch, {0, 1, 2, 3}, pid)
        chosen.append(choose_cores("one", torch_threads=1).loop)
    assert chosen == [{0}, {1}, {2}, {3}]


def test_workers_of_one_server_choose_different_cores_whatever_their_process_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, {2, 3, 5}, pid=8)
    assert [choose_cores("one", torch_threads=1, place=place).loop for place in (9, 10, 11)] == [{2}, {3}, {5}]


def test_processes_share_the_cores_out_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [threads_of_each(processes) for processes in (2, 3, 8, 20)] == [4, 2, 1, 1]


def test_a_single_core_is_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, {4})
    assert choose_cores("split", torch_threads=1) == choose_cores("one", torch_threads=1) == UNPINNED


def test_all_may_share_one_core_or_be_left_to_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, {2, 3}, pid=1)
    assert (choose_cores("one", torch_threads=1).loop, choose_cores("one", torch_threads=1).device) == ({3}, {3})
    assert choose_cores("none", torch_threads=1) == UNPINNED


def test_only_the_calling_thread_is_pinned() -> None:
    before, found = os.sched_getaffinity(0), []

    def pinned() -> None:
        pin_this_thread({min(before)})
        found.append(os.sched_getaffinity(0))
        pin_this_thread(frozenset())
        found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=pinned)
    thread.start()
    thread.join()
    assert found == [{min(before)}, {min(before)}]
    assert os.sched_getaffinity(0) == before


def test_left_to_itself_it_shares_one_core_only_where_torch_needs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed(monkeypatch, {2, 3}, pid=1)
    assert choose_cores("auto", torch_threads=1) == choose_cores("one", torch_threads=1)
    assert choose_cores("auto", torch_threads=4) == UNPINNED
