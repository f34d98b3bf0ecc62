import pytest
import torch

from service.errors import UnusableVectorError
from service.learner import heads
from service.runtime.ranking import Asked, Ranked, rank


def test_every_request_is_ranked_by_its_own_head(generator: torch.Generator) -> None:
    """Heads of 2 to 4 classes padded with rows that would win, if they counted."""
    factor, ways, counts = torch.tensor(0.5), (2, 4, 3), (1, 3, 2)
    params = [{"head.weight": torch.randn(way, 6, generator=generator), "head.bias": torch.randn(way, generator=generator)} for way in ways]
    queries = [torch.randn(count, 6, generator=generator) for count in counts]
    rows = torch.full((3, 4, 7), 1e6)
    for task, own in enumerate(params):
        rows[task, : ways[task]] = heads.rows(own)
    asked = [Asked(each, way, top) for each, way, top in zip(queries, ways, (1, 3, 9), strict=True)]
    for found, own, each in zip(rank(asked, rows, factor), params, asked, strict=True):
        assert isinstance(found, Ranked)
        expected = heads.logits(own, each.queries, factor).softmax(dim=1).topk(min(each.top, each.way), dim=1)
        assert found.rows == expected.indices.tolist()
        assert torch.tensor(found.scores) == pytest.approx(expected.values, abs=1e-6)
        best, second = heads.logits(own, each.queries, factor).softmax(dim=1).topk(2, dim=1).values.T
        assert torch.tensor(found.margins) == pytest.approx(best - second, abs=1e-6)
        raw = each.queries @ own["head.weight"].T + own["head.bias"]
        assert torch.tensor(found.distances) == pytest.approx(each.queries.square().sum(dim=1) - raw.max(dim=1).values, abs=1e-4)


def test_a_temperature_changes_the_scores_of_its_own_request_and_no_label(generator: torch.Generator) -> None:
    rows = torch.randn(3, 5, 7, generator=generator)
    queries, temperatures = torch.randn(8, 6, generator=generator), (1.0, 0.4, 2.5)
    plain = [ranked(each) for each in rank([Asked(queries, 5, 5)] * 3, rows, torch.ones(()))]
    found = [ranked(each) for each in rank([Asked(queries, 5, 5, each) for each in temperatures], rows, torch.ones(()))]
    assert [each.rows for each in found] == [each.rows for each in plain]
    for task, (each, temperature) in enumerate(zip(found, temperatures, strict=True)):
        logits = queries @ rows[task, :, :-1].T + rows[task, :, -1]
        expected = (logits / temperature).softmax(dim=1).sort(dim=1, descending=True).values
        assert torch.tensor(each.scores) == pytest.approx(expected, abs=1e-6)


def test_labels_are_told_apart_where_sharp_scores_are_not() -> None:
    """Logits of 0, −50 and −60 have scores of 1, 0 and 0 at a temperature of 0.2."""
    rows = torch.tensor([[[-60.0, 0.0], [0.0, 0.0], [-50.0, 0.0]]])
    [found] = rank([Asked(torch.ones(1, 1), 3, 3, 0.2)], rows, torch.ones(()))
    assert (ranked(found).rows, ranked(found).scores) == ([[1, 2, 0]], [[1.0, 0.0, 0.0]])


def ranked(found: Ranked | UnusableVectorError) -> Ranked:
    assert isinstance(found, Ranked)
    return found


def test_scores_that_overflow_are_an_error_of_their_own_request_only(generator: torch.Generator) -> None:
    queries = [torch.randn(2, 6, generator=generator), torch.full((1, 6), 1e38), torch.randn(1, 6, generator=generator)]
    found = rank([Asked(each, 2, 1) for each in queries], torch.full((3, 2, 7), 10.0), torch.ones(()))
    assert [type(each) for each in found] == [Ranked, UnusableVectorError, Ranked]
