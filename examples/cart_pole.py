"""An agent that needs memory: CartPole with its velocities hidden, by recurrent proximal policy optimisation.

A pole on a cart is pushed to the left or right so that it stays up, for 500 steps at most. The agent sees positions
alone: how fast cart and pole move it must remember. Episodes end within the sequences that it learns from, where
`resets` begin a row anew, forward and backward.

Method: J. Schulman et al., Proximal Policy Optimization Algorithms, arXiv:1707.06347, with generalised advantages,
arXiv:1506.02438. Environment: gymnasium's CartPole-v1, after A. Barto, R. Sutton and C. Anderson, 1983.
Result: RESULT

    python examples/cart_pole.py             about a minute on two cores
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray
from shared import figure, options

from rnncore import Recurrent, clip_grad_norm
from rnncore.training import Adam, Linear, collect

Array = NDArray[Any]

ENVIRONMENTS, STEPS, HIDDEN, EPOCHS = 16, 128, 64, 8
ITERATIONS, RATE, CLIP, ENTROPY, DISCOUNT, DECAY = 100, 2e-3, 0.2, 0.01, 0.99, 0.95
SEEN = [0, 2]
"""Positions of cart and pole among what the environment shows; the others are velocities."""
SCALE, REWARD = np.array([0.5, 5], "float32"), 0.02
"""Factors that make what the network reads and expects about 1."""


class Agent:
    """A network, whose output becomes logits of two actions and a value; without memory it begins anew at each step."""

    def __init__(self, seed: int, backend: str, memory: bool) -> None:
        self.rnn = Recurrent("gru", 2, HIDDEN, seed=seed, backend=backend)
        self.actor, self.critic = Linear(HIDDEN, 2, seed=seed), Linear(HIDDEN, 1, seed=seed + 1)
        self.actor.parameters["weight"][...] *= 0.1
        self.adam, self.memory = Adam(collect(rnn=self.rnn, actor=self.actor, critic=self.critic), RATE), memory

    def begins(self, done: Array) -> Array:
        """Where rows begin anew."""
        return done if self.memory else np.ones_like(done)

    def learn(self, played: Rollout) -> None:
        """Improve on what was played, a few times."""
        count, chosen = played.mask.sum(), played.actions[..., None] == np.arange(2)
        for _ in range(EPOCHS):
            output, _, tape = self.rnn.forward(played.x, played.state, resets=self.begins(played.resets))
            logs = log_softmax(self.actor(output))
            ratio = np.exp(logs[chosen].reshape(count_of(played)) - played.logs)
            # The clipped ratio has no gradient where it would gain.
            gains = np.where(played.advantages > 0, ratio < 1 + CLIP, ratio > 1 - CLIP)
            weight = played.mask / count
            probability = np.exp(logs)
            entropy = -(probability * logs).sum(-1, keepdims=True)
            grad_logits = -(weight * played.advantages * ratio * gains)[..., None] * (chosen - probability)
            grad_logits += ENTROPY * weight[..., None] * probability * (logs + entropy)
            grad_values = (weight * (self.critic(output)[..., 0] - played.returns))[..., None]
            of_actor, actor = self.actor.backward(output, grad_logits.astype("float32"))
            of_critic, critic = self.critic.backward(output, grad_values.astype("float32"))
            grads = collect(rnn=self.rnn.backward(tape, of_actor + of_critic), actor=actor, critic=critic)
            clip_grad_norm(grads, 0.5)
            self.adam.step(grads)


class Rollout(NamedTuple):
    """Steps that were played, (T, B) but for x (T, B, 2) and the state before."""

    x: Array
    resets: Array
    actions: Array
    logs: Array
    advantages: Array
    returns: Array
    mask: Array
    state: Array


def count_of(played: Rollout) -> tuple[int, int]:
    """T and B."""
    return played.mask.shape  # type: ignore[return-value]


def log_softmax(logits: Array) -> Array:
    """Logarithms of probabilities."""
    logits = logits - logits.max(-1, keepdims=True)
    result: Array = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return result


class Play:
    """Environments side by side, and what goes on in them from one rollout to the next."""

    def __init__(self, agent: Agent, seed: int) -> None:
        self.agent, self.rng = agent, np.random.default_rng(seed)
        self.environments = gymnasium.make_vec("CartPole-v1", ENVIRONMENTS, vectorization_mode="vector_entry_point")
        self.seen = self.environments.reset(seed=seed)[0]
        self.state = np.zeros((1, ENVIRONMENTS, HIDDEN), "float32")
        # Of each environment: whether its row begins anew, whether its episode ended with the step before, the return.
        self.new, self.ended = np.ones(ENVIRONMENTS, bool), np.zeros(ENVIRONMENTS, bool)
        self.total, self.returns = np.zeros(ENVIRONMENTS), list[float]()

    def step(self) -> dict[str, Array]:
        """Act once; what was seen, done and got."""
        x, resets = (self.seen[:, SEEN] * SCALE).astype("float32"), self.agent.begins(self.new)
        y, self.state = self.agent.rnn.step(x, self.state, resets=resets)
        logs = log_softmax(self.agent.actor(y))
        actions = (self.rng.random(ENVIRONMENTS) < np.exp(logs[:, 1])).astype(int)
        # An environment whose episode has ended takes no action: it begins another one.
        mask, new = ~self.ended, self.new
        self.seen, rewards, terminated, truncated, _ = self.environments.step(actions)
        self.new, self.ended = self.ended, terminated | truncated
        self.total += rewards * mask
        self.returns += list(self.total[self.ended])
        self.total[self.ended] = 0
        step = {"x": x, "resets": new, "actions": actions, "logs": logs[np.arange(ENVIRONMENTS), actions]}
        values = {"values": self.agent.critic(y)[:, 0], "rewards": rewards, "mask": mask}
        return step | values | {"terminated": terminated, "ended": self.ended}

    def rollout(self) -> Rollout:
        """Act for some steps; the advantages of actions over what the critic expected."""
        state = self.state
        played = [self.step() for _ in range(STEPS + 1)]
        kept = {name: np.array([step[name] for step in played]) for name in played[0]}
        values, advantages = kept.pop("values"), np.zeros((STEPS + 1, ENVIRONMENTS), "float32")
        for t in reversed(range(STEPS)):
            goes_on, following = ~kept["ended"][t], ~kept["terminated"][t] * values[t + 1]
            error = REWARD * kept["rewards"][t] + DISCOUNT * following - values[t]
            advantages[t] = error + DISCOUNT * DECAY * goes_on * advantages[t + 1]
        mask = kept["mask"][:STEPS]
        returns, chosen = (advantages + values)[:STEPS], advantages[:STEPS][mask]
        scaled = (advantages[:STEPS] - chosen.mean()) / (chosen.std() + 1e-8)
        steps = {name: kept[name][:STEPS] for name in ("x", "resets", "actions", "logs")}
        return Rollout(**steps, advantages=scaled, returns=returns, mask=mask, state=state)


def mean_return(agent: Agent, seed: int, episodes: int) -> float:
    """The mean of the first episodes' returns."""
    play = Play(agent, seed)
    while len(play.returns) < episodes:
        play.step()
    return float(np.mean(play.returns))


def train(seed: int, backend: str, memory: bool, iterations: int) -> tuple[Agent, list[float]]:
    """An agent, and the mean return of the latest episodes at each iteration."""
    agent, curve = Agent(seed, backend, memory), list[float]()
    play = Play(agent, seed)
    for iteration in range(iterations):
        agent.adam.rate = RATE * (1 - iteration / iterations)
        agent.learn(play.rollout())
        curve.append(float(np.mean(play.returns[-50:] or [0])))
    return agent, curve


def main() -> None:
    """Train an agent with memory and one without, and print their returns."""
    arguments = options(__doc__)
    iterations, episodes = (3, 4) if arguments.quick else (ITERATIONS, 100)
    curves, after = {}, {}
    before = mean_return(Agent(arguments.seed, arguments.backend, memory=True), 1000, episodes)
    for memory in (True, False):
        agent, curves[memory] = train(arguments.seed, arguments.backend, memory, iterations)
        after[memory] = mean_return(agent, 1000, episodes)
    if arguments.plot:
        fig, axis = figure(5, 2.4)
        for memory, curve in curves.items():
            axis.plot(curve, label="with memory" if memory else "without")
        axis.set(xlabel="iteration", ylabel="steps that the pole stays up", ylim=(0, 510))
        axis.legend(frameon=False)
        fig.savefig(arguments.plot)
    print(f"return of {episodes} new episodes, 500 at most: {before:.0f} before training")
    print(f"after it: {after[True]:.0f}, against {after[False]:.0f} of an agent without memory")


if __name__ == "__main__":
    main()
