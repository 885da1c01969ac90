"""Passes set the gradients of one batch, not of all that came before."""

import torch
from tools.pocket.graphed import Losses

CPU = torch.device("cpu")


def test_gradients_are_those_of_the_last_call() -> None:
    weight = torch.tensor([2.0, 3.0], requires_grad=True)
    losses = Losses(lambda value: (weight * value).sum(), [weight], CPU)
    losses(torch.tensor([1.0, 1.0]))
    loss, gradients = losses(torch.tensor([4.0, 5.0]))
    assert float(loss) == 2.0 * 4.0 + 3.0 * 5.0
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0, 5.0]
    assert gradients == []


def test_gradients_stay_in_the_same_memory() -> None:
    weight = torch.ones(2, requires_grad=True)
    losses = Losses(lambda value: (weight * value).sum(), [weight], CPU)
    losses(torch.ones(2))
    first = weight.grad
    losses(torch.ones(2))
    assert weight.grad is first


def test_inputs_that_want_a_gradient_get_one() -> None:
    weight = torch.tensor([2.0], requires_grad=True)
    losses = Losses(lambda one, other: (weight * one * other).sum(), [weight], CPU)
    source = torch.tensor([5.0], requires_grad=True)
    wanted = source * 3.0
    _, gradients = losses(torch.tensor([7.0]), wanted)
    assert [row.tolist() for row in gradients] == [[14.0]]
    torch.autograd.backward(wanted, gradients[0])
    assert source.grad is not None
    assert source.grad.tolist() == [42.0]


def test_weights_without_a_part_in_the_loss_have_no_gradient_left() -> None:
    used, idle = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    idle.grad = torch.ones(1)
    Losses(lambda value: (used * value).sum(), [used, idle], CPU)(torch.ones(1))
    assert idle.grad.tolist() == [0.0]
