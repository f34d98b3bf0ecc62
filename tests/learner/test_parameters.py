import torch

from service.learner.parameters import detached, gradients, moved_to, separate, trainable, under


def test_under_keeps_whole_names_below_any_prefix() -> None:
    params = {name: torch.zeros(()) for name in ("encoder.block1.conv.bias", "encoder.block2.conv.bias", "head.bias")}
    assert list(under(params, ("encoder.block2.", "head."))) == ["encoder.block2.conv.bias", "head.bias"]
    assert under(params, ()) == {}


def test_trainable_gives_leaves_and_leaves_the_given_graph_alone() -> None:
    root = torch.ones(2, requires_grad=True)
    given = {"a": 2 * root}
    leaf = trainable(given)["a"]
    assert leaf.is_leaf
    assert leaf.requires_grad
    assert given["a"].grad_fn is not None


def test_separate_stops_a_slope_at_the_parameter_and_keeps_the_graph_behind_it() -> None:
    """With b = a², the partial derivative of a·b by a is b; differentiated through b it would be 3a²."""
    a = torch.tensor(2.0, requires_grad=True)
    params = separate({"a": a, "b": a.square()})
    product = params["a"] * params["b"]
    slopes = gradients(product, params, create_graph=True)
    assert (slopes["a"].item(), slopes["b"].item()) == (4, 2)
    assert gradients(product, {"a": a})["a"].item() == 12


def test_separate_lets_a_constant_be_differentiated_by() -> None:
    zeros = torch.zeros(2)
    params = separate({"zeros": zeros})
    assert torch.equal(gradients((3 * params["zeros"]).sum(), params)["zeros"], torch.full((2,), 3.0))
    assert not zeros.requires_grad


def test_detached_values_are_equal_and_have_no_graph() -> None:
    given = {"a": 2 * torch.ones(2, requires_grad=True)}
    value = detached(given)["a"]
    assert torch.equal(value, given["a"])
    assert not value.requires_grad


def test_gradients_are_named_and_zero_where_the_loss_does_not_look() -> None:
    params = trainable({"used": torch.tensor([1.0, 2.0]), "unused": torch.ones(3)})
    found = gradients(params["used"].square().sum(), params)
    assert torch.equal(found["used"], torch.tensor([2.0, 4.0]))
    assert torch.equal(found["unused"], torch.zeros(3))


def test_gradients_can_be_differentiated_again_on_request() -> None:
    params = trainable({"a": torch.tensor(2.0)})
    first = gradients(params["a"] ** 3, params, create_graph=True)
    assert gradients(first["a"], params)["a"].item() == 12
    assert not gradients(params["a"] ** 3, params)["a"].requires_grad


def test_moved_to_a_device_keeps_names_and_values() -> None:
    moved = moved_to({"a": torch.arange(3.0)}, torch.device("meta"))
    assert {name: (value.device.type, value.shape) for name, value in moved.items()} == {"a": ("meta", torch.Size([3]))}
