"""Learning-rate policies and the solvers' update rules.

A rule turns gradients into updates in place: of all learned parameters at once, in few passes over memory.
"""

import math

import torch

from .errors import CaffeError, check


def learning_rate(param, iteration, step=0):
    """The rate at an iteration: (rate, current step of the policies that count steps). Raises CaffeError.

    param: SolverParameter; step: the current step so far
    """
    base, gamma = param.base_lr, param.gamma
    policy = param.lr_policy
    if policy == "fixed":
        return base, step
    check(gamma >= 0, f"lr_policy {policy}: gamma must be at least 0, not {gamma}")
    if policy == "step":
        check(param.stepsize > 0, "lr_policy step needs stepsize")
        step = iteration // param.stepsize
        return base * gamma**step, step
    if policy == "exp":
        return base * gamma**iteration, step
    if policy == "inv":
        return base * (1 + gamma * iteration) ** -param.power, step
    if policy == "multistep":
        while step < len(param.stepvalue) and iteration >= param.stepvalue[step]:
            step += 1
        return base * gamma**step, step
    if policy == "poly":
        return base * (1 - iteration / param.max_iter) ** param.power, step
    if policy == "sigmoid":
        return base / (1 + math.exp(-gamma * (iteration - param.stepsize))), step
    names = "fixed, step, exp, inv, multistep, poly, sigmoid"
    raise CaffeError(f"unknown lr_policy {policy!r}; supported are {names}")


class Rule:
    """Base. `histories`: how many arrays each parameter has in the solver's state."""

    histories = 1
    takes_momentum = True

    def __init__(self, param):
        self.param = param
        if not self.takes_momentum:
            check(param.momentum == 0, f"Momentum cannot be used with {type(self).__name__}")

    def apply(self, weights, gradients, histories, rate, decay, scale, iteration):
        """Change weights, and their histories, by their gradients; returns the updates, a list of tensors.

        weights, gradients: lists of tensors of parameters with the same rate and decay; histories: a list of such
        lists; scale: factor of the gradients before the decay is added. The gradients are overwritten.
        """
        if scale != 1:
            torch._foreach_mul_(gradients, scale)
        if decay and self.param.regularization_type == "L2":
            torch._foreach_add_(gradients, weights, alpha=decay)
        elif decay:
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=decay)
        self.update(gradients, histories, rate, iteration)
        torch._foreach_sub_(weights, gradients)
        return gradients

    def update(self, gradients, histories, rate, iteration):
        """Turn gradients, scaled and decayed, into the updates, in place."""
        raise NotImplementedError


class SGD(Rule):
    """history = momentum history + rate gradient; the update is the history."""

    def apply(self, weights, gradients, histories, rate, decay, scale, iteration):
        momentum = self.param.momentum
        # PyTorch's fused step takes no history without momentum, and knows L2 only.
        if momentum == 0 or self.param.regularization_type != "L2":
            return super().apply(weights, gradients, histories, rate, decay, scale, iteration)
        (history,) = histories
        # PyTorch computes history = momentum history + (1 - dampening) gradient, weight -= lr history, in one pass over
        # memory. With 1 - dampening as the rate and lr = 1 that is Caffe's rule, whose history contains the rate.
        torch._fused_sgd_(
            weights,
            gradients,
            history,
            weight_decay=decay,
            momentum=momentum,
            lr=1.0,
            dampening=1 - rate,
            nesterov=False,
            maximize=False,
            is_first_step=False,
            grad_scale=None if scale == 1 else torch.tensor(1 / scale, device=weights[0].device),
        )
        return history

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        torch._foreach_mul_(history, self.param.momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_copy_(gradients, history)


class Nesterov(Rule):
    """As SGD; the update looks one step ahead."""

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        momentum = self.param.momentum
        before = torch._foreach_mul(history, -momentum)
        torch._foreach_mul_(history, momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_add_(before, history, alpha=1 + momentum)
        torch._foreach_copy_(gradients, before)


class AdaGrad(Rule):
    takes_momentum = False

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        torch._foreach_addcmul_(history, gradients, gradients, 1)
        divide(gradients, history, self.param.delta, rate)


class RMSProp(Rule):
    takes_momentum = False

    def __init__(self, param):
        super().__init__(param)
        check(0 <= param.rms_decay < 1, f"rms_decay must be from 0 to below 1, not {param.rms_decay}")

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        average_squares(history, gradients, self.param.rms_decay)
        divide(gradients, history, self.param.delta, rate)


class AdaDelta(Rule):
    """Histories: mean squares of the gradients, and of the updates before the rate."""

    histories = 2

    def update(self, gradients, histories, rate, iteration):
        squares, updates = histories
        momentum, delta = self.param.momentum, self.param.delta
        average_squares(squares, gradients, momentum)
        ratio = torch._foreach_add(updates, delta)
        torch._foreach_div_(ratio, torch._foreach_add(squares, delta))
        torch._foreach_sqrt_(ratio)
        torch._foreach_mul_(gradients, ratio)
        average_squares(updates, gradients, momentum)
        torch._foreach_mul_(gradients, rate)


class Adam(Rule):
    """Histories: means of the gradients, and of their squares."""

    histories = 2

    def update(self, gradients, histories, rate, iteration):
        means, squares = histories
        one, two = self.param.momentum, self.param.momentum2
        time = iteration + 1
        torch._foreach_mul_(means, one)
        torch._foreach_add_(means, gradients, alpha=1 - one)
        average_squares(squares, gradients, two)
        torch._foreach_copy_(gradients, means)
        divide(gradients, squares, self.param.delta, rate * math.sqrt(1 - two**time) / (1 - one**time))


def average_squares(history, gradients, momentum):
    """history = momentum history + (1 - momentum) gradient^2."""
    torch._foreach_mul_(history, momentum)
    torch._foreach_addcmul_(history, gradients, gradients, 1 - momentum)


def divide(gradients, squares, delta, rate):
    """gradient = rate gradient / (sqrt(square) + delta)."""
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, delta)
    torch._foreach_div_(gradients, roots)
    torch._foreach_mul_(gradients, rate)


RULES = {rule.__name__: rule for rule in (SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam)}


def find_rule(name):
    """The rule of a solver type. Raises CaffeError."""
    if name not in RULES:
        raise CaffeError(f"unknown solver type {name!r}; supported are {', '.join(RULES)}")
    return RULES[name]
