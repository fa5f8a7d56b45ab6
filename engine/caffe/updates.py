"""Learning-rate policies and update rules, with the formulas of BVLC Caffe's solvers.

A rule updates many parameters together, in place and with PyTorch's _foreach functions, because a few calls over all
parameters take less time than many calls over one each.

In the formulas g is the gradient after clipping and weight decay, h a history, u the update that is subtracted from the
weights, rate the learning rate of the parameter, m the momentum, and delta the solver's delta.
"""

import math

import torch

from .errors import CaffeError, check


def learning_rate(param, iteration, step=0):
    """The learning rate at an iteration: (rate, number of learning-rate steps so far). Raises CaffeError.

    param: SolverParameter; step: the number of steps at the previous iteration, for multistep

    fixed      base_lr
    step       base_lr * gamma ^ floor(iteration / stepsize)
    exp        base_lr * gamma ^ iteration
    inv        base_lr * (1 + gamma * iteration) ^ -power
    multistep  base_lr * gamma ^ step, with a step for each stepvalue reached
    poly       base_lr * (1 - iteration / max_iter) ^ power
    sigmoid    base_lr / (1 + exp(-gamma * (iteration - stepsize)))
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
        # One step an iteration, also where several values are reached at once.
        step += step < len(param.stepvalue) and iteration >= param.stepvalue[step]
        return base * gamma**step, step
    if policy == "poly":
        check(param.max_iter > 0, "lr_policy poly needs max_iter")
        return base * (1 - iteration / param.max_iter) ** param.power, step
    if policy == "sigmoid":
        exponent = -gamma * (iteration - param.stepsize)
        # From 89 on the exponential overflows in BVLC Caffe's float32, which gives the rate 0; Python would raise.
        return (base / (1 + math.exp(exponent)) if exponent < 89 else 0.0), step
    names = "fixed, step, exp, inv, multistep, poly, sigmoid"
    raise CaffeError(f"unknown lr_policy {policy!r}; supported are {names}")


class Rule:
    """Base of the rules; param: SolverParameter. Raises CaffeError for a momentum that the rule does not have.

    histories: number of histories per parameter; takes_momentum: whether the rule has a momentum
    """

    histories = 1
    takes_momentum = True

    def __init__(self, param):
        self.param = param
        if not self.takes_momentum:
            check(param.momentum == 0, f"Momentum cannot be used with {type(self).__name__}")

    def apply(self, weights, gradients, histories, rate, decay, scale, iteration):
        """Update weights and histories in place; returns whether the updates are the first histories afterwards.

        Otherwise the gradients are overwritten by the updates.

        weights, gradients: lists of tensors, for parameters with the same rate and decay
        histories: a list of such lists; rate: learning rate; decay: weight decay
        scale: factor of the gradients, applied before the decay is added
        """
        if scale != 1:
            torch._foreach_mul_(gradients, scale)
        if decay and self.param.regularization_type == "L2":
            torch._foreach_add_(gradients, weights, alpha=decay)
        elif decay:
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=decay)
        self.update(gradients, histories, rate, iteration)
        torch._foreach_sub_(weights, gradients)
        return False

    def update(self, gradients, histories, rate, iteration):
        """Replace the gradients, after scale and decay, by the updates, and update the histories, in place."""
        raise NotImplementedError


class SGD(Rule):
    """h = m h + rate g; u = h."""

    def apply(self, weights, gradients, histories, rate, decay, scale, iteration):
        momentum = self.param.momentum
        # PyTorch's fused step has no history without momentum, supports L2 only, and divides by 1 / scale. The scale is
        # 0 for clip_gradients 0, and where the norm of the gradients overflows.
        if momentum == 0 or scale == 0 or self.param.regularization_type != "L2":
            return super().apply(weights, gradients, histories, rate, decay, scale, iteration)
        (history,) = histories
        # In one pass over memory PyTorch computes h = m h + (1 - dampening) g and weight -= lr h. With lr = 1 and
        # dampening = 1 - rate this is Caffe's rule, in which the history includes the rate.
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
        return True

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        torch._foreach_mul_(history, self.param.momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_copy_(gradients, history)


class Nesterov(Rule):
    """Nesterov's accelerated gradient: h' = m h + rate g; u = (1 + m) h' - m h."""

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        momentum = self.param.momentum
        before = torch._foreach_mul(history, -momentum)
        torch._foreach_mul_(history, momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_add_(before, history, alpha=1 + momentum)
        torch._foreach_copy_(gradients, before)


class AdaGrad(Rule):
    """h = h + g^2; u = rate g / (sqrt(h) + delta)."""

    takes_momentum = False

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        torch._foreach_addcmul_(history, gradients, gradients, 1)
        divide(gradients, history, self.param.delta, rate)


class RMSProp(Rule):
    """h = d h + (1 - d) g^2, where d is rms_decay; u = rate g / (sqrt(h) + delta). Raises CaffeError for d >= 1."""

    takes_momentum = False

    def __init__(self, param):
        super().__init__(param)
        check(0 <= param.rms_decay < 1, f"rms_decay must be from 0 to below 1, not {param.rms_decay}")

    def update(self, gradients, histories, rate, iteration):
        (history,) = histories
        average_squares(history, gradients, self.param.rms_decay)
        divide(gradients, history, self.param.delta, rate)


class AdaDelta(Rule):
    """h1 = m h1 + (1 - m) g^2; v = g sqrt((h2 + delta) / (h1 + delta)); h2 = m h2 + (1 - m) v^2; u = rate v."""

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
    """h1 = m h1 + (1 - m) g; h2 = m2 h2 + (1 - m2) g^2, where m2 is momentum2.

    u = rate sqrt(1 - m2^t) / (1 - m^t) h1 / (sqrt(h2) + delta), where t is the iteration, counted from 1.
    """

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
    """history = momentum history + (1 - momentum) gradient^2, in place."""
    torch._foreach_mul_(history, momentum)
    torch._foreach_addcmul_(history, gradients, gradients, 1 - momentum)


def divide(gradients, squares, delta, rate):
    """gradient = rate gradient / (sqrt(square) + delta), in place."""
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, delta)
    torch._foreach_div_(gradients, roots)
    torch._foreach_mul_(gradients, rate)


RULES = {rule.__name__: rule for rule in (SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam)}


def find_rule(name):
    """The class of the rule of a solver type. Raises CaffeError for an unknown type."""
    if name not in RULES:
        raise CaffeError(f"unknown solver type {name!r}; supported are {', '.join(RULES)}")
    return RULES[name]
