import torch

from service.learner.conjugate_gradient import conjugate_gradient
from tests.learner.tasks import distance


def test_as_many_steps_as_numbers_solve_the_system(generator: torch.Generator) -> None:
    factor, wanted = torch.randn(6, 6, generator=generator, dtype=torch.float64), torch.randn(6, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.T + torch.eye(6)
    solved = conjugate_gradient(lambda direction: matrix @ direction, wanted, steps=6)
    assert distance(solved, torch.linalg.solve(matrix, wanted)) < 1e-9
    assert distance(conjugate_gradient(lambda direction: matrix @ direction, wanted, steps=1), solved) > 1e-3


def test_nothing_is_asked_once_it_is_solved() -> None:
    asked = []

    def product(direction: torch.Tensor) -> torch.Tensor:
        asked.append(direction)
        return 2 * direction

    solved = conjugate_gradient(product, torch.tensor([1.0, 2.0]), steps=5)
    assert torch.equal(solved, torch.tensor([0.5, 1.0]))
    assert len(asked) == 1
    assert torch.equal(conjugate_gradient(product, torch.zeros(2), steps=5), torch.zeros(2))
    assert len(asked) == 1
