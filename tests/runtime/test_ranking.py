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


def test_scores_that_overflow_are_an_error_of_their_own_request_only(generator: torch.Generator) -> None:
    queries = [torch.randn(2, 6, generator=generator), torch.full((1, 6), 1e38), torch.randn(1, 6, generator=generator)]
    found = rank([Asked(each, 2, 1) for each in queries], torch.full((3, 2, 7), 10.0), torch.ones(()))
    assert [type(each) for each in found] == [Ranked, UnusableVectorError, Ranked]
