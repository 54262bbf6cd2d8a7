"""SAC's update with explicit gradients: half the time of recording them, for where nothing is compiled.

It computes what algorithms.sac.SAC computes for perceptrons, by the chain rule, in memory that stays: a third
of the calls and nothing recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.adam import adam_step, clip_by_norm
from sac_dist.algorithms.base import Algorithm, Metrics, Tensors
from sac_dist.algorithms.sac import CRITICS, LOG_ALPHA, POLICY, SAC, TARGETS, average_policy
from sac_dist.data.batch import Batch
from sac_dist.networks.blocks import NORM_EPS
from sac_dist.networks.distribution import LOG_STD_MAX, LOG_STD_MIN, log_density
from sac_dist.networks.network import Network, is_perceptron


class Layers:
    """A network's passes over a batch, forward and back, on the parameters in ``vector``.

    ``rows`` go forward; the first ``back`` of them go back (all, where the network normalises its layers).
    """

    def __init__(self, network: Network, vector: Tensor, rows: int, back: int = 0) -> None:
        lead = () if network.members is None else (network.members,)
        self.affine: Callable[..., Tensor] = torch.baddbmm if lead else torch.addmm
        self.product: Callable[..., Tensor] = torch.bmm if lead else torch.mm
        self.gradient = torch.empty_like(vector)
        self.weights, self.biases, self.norm_weights, self.norm_biases = self._split(network, vector)
        self.transposed = [weight.mT for weight in self.weights]
        gradients = self._split(network, self.gradient)
        self.weight_gradients, self.bias_gradients, self.norm_weight_gradients, self.norm_bias_gradients = (
            gradients
        )
        self.outputs = [vector.new_empty(*lead, rows, weight.shape[-1]) for weight in self.weights]
        self.activated = [
            torch.empty_like(output) if self.norm_weights else output for output in self.outputs[:-1]
        ]
        self.norms: list[
            tuple[Tensor, Tensor, Tensor]
        ] = []  # of each hidden layer: normalised outputs, means, 1 / standard deviations
        self.hidden = [activated[..., :back, :] for activated in self.activated]
        self.hidden_transposed = [hidden.mT for hidden in self.hidden]
        self.errors = [
            vector.new_empty(*lead, back, weight.shape[-2]) for weight in self.weights
        ]  # of each layer's inputs

    @staticmethod
    def _split(network: Network, vector: Tensor) -> list[list[Tensor]]:
        """Weights and biases of the layers, then of the layer normalisations, if there are any."""
        named = network.unpack(vector).items()
        kinds = [(layer, part) for layer in ("linear", "norm") for part in (".weight", ".bias")]
        return [
            [tensor for name, tensor in named if name.startswith(layer) and name.endswith(part)]
            for layer, part in kinds
        ]

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (…, rows, inputs) → (…, rows, outputs), in memory that the next call overwrites."""
        self.norms = []
        *hidden, last = zip(self.biases, self.weights, self.outputs, strict=True)
        for layer, (bias, weight, output) in enumerate(hidden):
            self.affine(bias, x, weight, out=output)
            x = self.activated[layer]
            if self.norm_weights:
                self.norms.append(torch.native_layer_norm(output, output.shape[-1:], None, None, NORM_EPS))
                torch.addcmul(self.norm_biases[layer], self.norms[layer][0], self.norm_weights[layer], out=x)
            x.relu_()
        bias, weight, output = last
        return self.affine(bias, x, weight, out=output)

    def back_to(self, layer: int, error: Tensor, learn: bool) -> Tensor:
        """What the loss's derivative after ``layer`` makes of the outputs of the affine map before it.
        ``learn`` writes the gradient of the normalisation between them.
        """
        self.product(error, self.transposed[layer], out=self.errors[layer])
        error, before = self.errors[layer], layer - 1
        torch.ops.aten.threshold_backward.grad_input(error, self.hidden[before], 0, grad_input=error)
        if not self.norm_weights:
            return error
        normalised, mean, inverse = self.norms[before]
        if learn:
            torch.sum(error * normalised, -2, keepdim=True, out=self.norm_weight_gradients[before])
            torch.sum(error, -2, keepdim=True, out=self.norm_bias_gradients[before])
        error.mul_(self.norm_weights[before])
        output, inputs_alone = self.outputs[before], [True, False, False]
        return torch.ops.aten.native_layer_norm_backward(
            error, output, output.shape[-1:], mean, inverse, None, None, inputs_alone
        )[0]

    def backward(self, x: Tensor, error: Tensor) -> Tensor:
        """The gradient, laid out as ``vector``, from inputs (…, back, inputs) and ``error``, the loss's
        derivative by the outputs.
        """
        for layer in range(len(self.weights) - 1, -1, -1):
            inputs = self.hidden_transposed[layer - 1] if layer else x.mT
            self.product(inputs, error, out=self.weight_gradients[layer])
            torch.sum(error, -2, keepdim=True, out=self.bias_gradients[layer])
            if layer:
                error = self.back_to(layer, error, learn=True)
        return self.gradient

    def to_inputs(self, error: Tensor, first: int) -> Tensor:
        """The loss's derivative by the inputs from number ``first`` on: (…, back, inputs - first)."""
        for layer in range(len(self.weights) - 1, 0, -1):
            error = self.back_to(layer, error, learn=False)
        return self.product(error, self.transposed[0][..., first:])


class ExplicitUpdate:
    """The update of one agent's ``tensors``; call it as a SAC. Equal to that but for rounding."""

    def __init__(self, sac: SAC, tensors: Tensors) -> None:
        self.sac, self.tensors = sac, tensors
        self.batch_size = 0

    @staticmethod
    def covers(algorithm: Algorithm) -> bool:
        """Whether ``algorithm`` is SAC of numbers without subsets of critics, its networks perceptrons, and
        the critics alone may normalise their layers.
        """
        plain = algorithm.is_plain_sac and algorithm.config.target_critics is None
        critics = any(is_perceptron(algorithm.q, layer_norm) for layer_norm in (True, False))
        plain = plain and algorithm.encoder is None
        return plain and critics and is_perceptron(algorithm.policy, layer_norm=False)

    def _prepare(self, batch_size: int) -> None:
        self.batch_size = batch_size
        policy, q, tensors = self.sac.policy, self.sac.q, self.tensors
        self.policy = Layers(policy, tensors.groups[POLICY].parameters, 2 * batch_size, batch_size)
        self.critics = Layers(q, tensors.groups[CRITICS].parameters, batch_size, batch_size)
        self.targets = Layers(q, tensors.copies[TARGETS], batch_size)
        empty, observations = tensors.steps.new_empty, q.observation_size
        self.states = empty(2 * batch_size, observations)  # s, then s′
        self.pairs = empty(2 * batch_size, observations + policy.action_size)  # with the policy's actions
        self.dq = empty(q.critics, batch_size)
        self.error = empty(batch_size, 2 * policy.action_size)

    @torch.inference_mode()
    def __call__(self, tensors: Tensors, batch: Batch, noise: Tensor, lrs: Tensor) -> Metrics:
        size = len(batch.reward)
        if size != self.batch_size:
            self._prepare(size)
        config, actions, groups = self.sac.config, self.sac.policy.action_size, tensors.groups
        scales = self.sac.scales(tensors, lrs)
        alpha = groups[LOG_ALPHA].parameters.exp()

        # the policy's actions at s and s′
        torch.cat([batch.observation, batch.next_observation], out=self.states)
        mean, raw_log_std = self.policy.forward(self.states).split(actions, dim=1)
        log_std = raw_log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        noise = noise.flatten(0, 1)
        spread = log_std.exp().mul_(noise)
        u = mean + spread
        action, log_prob = u.tanh(), log_density(u, log_std, noise)
        torch.cat([self.states, action], dim=1, out=self.pairs)

        # critics: dJ_Q/dQ = (Q − y) / B
        next_q = self.targets.forward(self.pairs[size:].expand(len(self.dq), -1, -1)).squeeze(-1)
        entropy_price = alpha if config.entropy_backup else 0.0
        target = self.sac.bellman(batch, losses.soft_value(next_q, log_prob[size:], entropy_price))
        data = torch.cat([batch.observation, batch.action], dim=1).expand(len(self.dq), -1, -1)
        q = self.critics.forward(data).squeeze(-1)
        differences = torch.sub(q, target, out=self.dq).flatten()
        metrics = {"critic_loss": torch.dot(differences, differences) * (0.5 / size), "q_mean": q.mean()}
        self.dq.mul_(1 / size)
        gradient, norm = clip_by_norm(self.critics.backward(data, self.dq.unsqueeze(-1)), config.grad_clip)
        adam_step(groups[CRITICS], gradient, scales[CRITICS])
        tensors.copies[TARGETS].lerp_(groups[CRITICS].parameters, config.tau)
        if not self.sac.trains_policy:
            return metrics | {"critic_grad_norm": norm, "alpha": alpha}

        # policy: J_π = mean(α log π − min Q); d log π / du = 2 tanh(u) and d log π / d log σ = −1 beside what
        # goes through u
        q = self.critics.forward(self.pairs[:size].expand(len(self.dq), -1, -1)).squeeze(-1)
        least = q.min(dim=0, keepdim=True)
        self.dq.zero_().scatter_(0, least.indices, -1 / size)
        by_action = self.critics.to_inputs(self.dq.unsqueeze(-1), first=self.sac.q.observation_size).sum(0)
        action, log_prob, price = action[:size], log_prob[:size], alpha / size
        by_mean, by_log_std = self.error.split(actions, dim=1)
        torch.addcmul(by_action, by_action * action, action, value=-1, out=by_mean).addcmul_(
            action, price, value=2
        )
        torch.mul(by_mean, spread[:size], out=by_log_std).sub_(price)
        by_log_std.mul_(
            log_std[:size] == raw_log_std[:size]
        )  # the clamp lets nothing through beyond its ends
        policy_gradient, policy_norm = clip_by_norm(
            self.policy.backward(self.states[:size], self.error), config.grad_clip
        )
        adam_step(groups[POLICY], policy_gradient, scales[POLICY])
        average_policy(tensors)
        entropy = -log_prob.mean()
        if self.sac.tunes_alpha:
            slope = alpha * (entropy - self.sac.target_entropy)  # J(α) = E[−α (log π + H̄)] is its slope
            adam_step(groups[LOG_ALPHA], slope, scales[LOG_ALPHA])

        actor_loss = -torch.addcmul(least.values.mean(), alpha, entropy)
        norms = {"critic_grad_norm": norm, "actor_grad_norm": policy_norm}
        return metrics | norms | {"actor_loss": actor_loss, "alpha": alpha, "entropy": entropy}
