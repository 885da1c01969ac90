"""One forward and backward pass on fixed shapes, replayed as a CUDA graph.

Small networks wait for their kernels to be launched one by one; a graph launches all of them at
once. Gradients are set anew by every call and stay in place for the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Work = Callable[..., Tensor]
_WARM_UP_RUNS = 2


class EagerLoss:
    """Runs ``work`` and its backward pass as it is written."""

    def __init__(self, work: Work, weights: Sequence[Tensor]) -> None:
        """Take a function of tensors that returns a loss, and the weights it trains."""
        self._work, self._weights = work, weights

    def __call__(self, values: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Set the weights' gradients; return the loss and those of inputs that want one."""
        inputs = _leaves(values)
        wanted = [value for value in inputs if value.requires_grad]
        clear_gradients([*self._weights, *wanted])
        loss = self._work(*inputs)
        torch.autograd.backward(loss)
        return loss.detach(), [value.grad for value in wanted if value.grad is not None]


class GraphedLoss:
    """The same, recorded once for inputs of the same shapes."""

    def __init__(
        self, work: Work, weights: Sequence[Tensor], like: Sequence[Tensor], memory: object
    ) -> None:
        """Record on inputs like ``like``; graphs of the same ``memory`` share their buffers."""
        self._inputs = _leaves(like)
        wanted = [value for value in self._inputs if value.requires_grad]
        cleared = [*weights, *wanted]
        clear_gradients(cleared)
        side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it so
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_RUNS):
                torch.autograd.backward(work(*self._inputs))
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        pool: Any = memory
        with torch.cuda.graph(self._graph, pool=pool):
            clear_gradients(cleared)
            loss = work(*self._inputs)
            torch.autograd.backward(loss)
            self._loss = loss.detach()
        self._gradients = [value.grad for value in wanted if value.grad is not None]

    def __call__(self, values: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Set gradients and return as `EagerLoss` does; the results are valid until the next."""
        with torch.no_grad():
            for own, value in zip(self._inputs, values, strict=True):
                own.copy_(value)
        self._graph.replay()
        return self._loss, self._gradients


def clear_gradients(weights: Sequence[Tensor]) -> None:
    """Zero the gradients in place, so that every pass writes to the same memory."""
    gradients = []
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        gradients.append(weight.grad)
    torch._foreach_zero_(gradients)


class Losses:
    """A pass for each set of input shapes, made when it first comes up."""

    def __init__(self, work: Work, weights: Sequence[Tensor], device: torch.device) -> None:
        """Record graphs on a CUDA device; elsewhere run as written."""
        self._work, self._weights = work, list(weights)
        self._graphs = device.type == "cuda"
        self._memory = torch.cuda.graph_pool_handle() if self._graphs else None
        self._eager = EagerLoss(work, self._weights)
        self._recorded: dict[tuple[tuple[int, ...], ...], GraphedLoss] = {}

    def __call__(self, *values: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Set the weights' gradients; return the loss and the gradients of inputs that want one."""
        if not self._graphs:
            return self._eager(values)
        shapes = tuple(tuple(value.shape) for value in values)
        if shapes not in self._recorded and not self._record(shapes, values):
            return self._eager(values)
        return self._recorded[shapes](values)

    def _record(self, shapes: tuple[tuple[int, ...], ...], values: Sequence[Tensor]) -> bool:
        try:
            self._recorded[shapes] = GraphedLoss(self._work, self._weights, values, self._memory)
        except RuntimeError as error:
            print(f"no graph for {shapes}, going on without: {error}"[:400], flush=True)
            self._graphs = False
        return self._graphs


def _leaves(values: Sequence[Tensor]) -> list[Tensor]:
    return [value.detach().clone().requires_grad_(value.requires_grad) for value in values]
