import torch

from service.learner.encoders.identity import Identity
from service.learner.statistics import FrozenStatistics


def test_a_vector_is_its_own_embedding_and_nothing_is_learned(generator: torch.Generator) -> None:
    encoder, vectors = Identity(width=5), torch.randn(3, 5, generator=generator)
    assert encoder.initial(generator) == {}
    assert torch.equal(encoder({}, vectors, FrozenStatistics({})), vectors)
    assert (encoder.input_shape, encoder.embedding, encoder.blocks) == ((5,), 5, ())
