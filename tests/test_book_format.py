"""The book's files: the same numbers from its networks and ours, bit-exact round trips, and refusal of
everything else.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sac_dist.algorithms.agent import SACAgent
from sac_dist.book.policy_files import load_book_policy, save_book_policy
from sac_dist.data.schema import Schema
from sac_dist.networks.parameters import Parameters
from sac_dist.settings import AgentConfig, ConfigError


class Layers(nn.Module):
    """linear1 … linearN of the given sizes, ReLU after each."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.depth = len(sizes) - 1
        for i in range(self.depth):
            setattr(self, f"linear{i + 1}", nn.Linear(sizes[i], sizes[i + 1]))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.depth + 1):
            x = F.relu(getattr(self, f"linear{i}")(x))
        return x


class Policy(Layers):
    """The book's policy, from its description: hidden layers, then mean_linear and log_std_linear."""

    def __init__(self, observations: int, actions: int, width: int, depth: int) -> None:
        super().__init__(observations, *[width] * depth)
        self.mean_linear, self.log_std_linear = nn.Linear(width, actions), nn.Linear(width, actions)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = super().forward(x)
        return torch.tanh(self.mean_linear(x)), self.log_std_linear(x).clamp(-20, 2)


class SoftQ(Layers):
    """The book's critic: hidden layers, the last linear gives Q."""

    def __init__(self, observations: int, actions: int, width: int, depth: int) -> None:
        super().__init__(observations + actions, *[width] * depth)
        self.last = f"linear{depth + 1}"
        setattr(self, self.last, nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.last)(super().forward(x))


def write_book(
    prefix: Path, observations: int, actions: int, width: int, policy_depth: int, critic_depth: int
) -> tuple[Policy, SoftQ, SoftQ]:
    torch.manual_seed(0)
    policy = Policy(observations, actions, width, policy_depth)
    critics = (
        SoftQ(observations, actions, width, critic_depth),
        SoftQ(observations, actions, width, critic_depth),
    )
    for name, module in zip(("policy", "q1", "q2"), (policy, *critics), strict=True):
        torch.save(module.state_dict(), f"{prefix}_{name}")
    return policy, *critics


def states(prefix: Path) -> dict[str, dict[str, Tensor]]:
    return {name: torch.load(f"{prefix}_{name}", weights_only=True) for name in ("policy", "q1", "q2")}


SIZES = [(17, 7, 512, 4, 3), (5, 2, 8, 2, 2), (1, 1, 1, 1, 1), (3, 4, 6, 1, 5)]


@pytest.mark.parametrize("sizes", SIZES)
def test_the_files_give_the_same_policy_and_critics(
    tmp_path: Path, sizes: tuple[int, int, int, int, int]
) -> None:
    modules = write_book(tmp_path / "sac_multi", *sizes)
    agent = load_book_policy(tmp_path / "sac_multi")
    observations, actions, width, depth, critic_depth = sizes
    assert (agent.observation_size, agent.action_size) == (observations, actions)
    assert agent.config == AgentConfig(
        hidden_width=width, hidden_depth=depth, critic_depth=critic_depth, layer_norm=False
    )
    observation, action = torch.randn(9, observations), torch.rand(9, actions) * 2 - 1
    with torch.no_grad():
        mean, log_std = modules[0](observation)
        q = torch.cat([critic(torch.cat([observation, action], 1)) for critic in modules[1:]], 1).T
    for row in range(9):
        torch.testing.assert_close(
            torch.from_numpy(agent.act(observation[row].numpy(), deterministic=True)),
            mean[row],
            rtol=1e-4,
            atol=1e-5,
        )
    torch.testing.assert_close(
        agent.policy(agent.policy.unpack(agent.policy_parameters), observation)[1],
        log_std,
        rtol=1e-4,
        atol=1e-5,
    )
    for vector in (agent.critic_parameters, agent.tensors.copies["targets"]):
        torch.testing.assert_close(
            agent.q(agent.q.unpack(vector), observation, action), q, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("sizes", SIZES)
def test_round_trip_is_bit_exact(tmp_path: Path, sizes: tuple[int, int, int, int, int]) -> None:
    write_book(tmp_path / "book", *sizes)
    save_book_policy(load_book_policy(tmp_path / "book"), tmp_path / "ours")
    expected, written = states(tmp_path / "book"), states(tmp_path / "ours")
    for name, state in expected.items():
        assert written[name].keys() == state.keys()
        assert all(torch.equal(written[name][key], value) for key, value in state.items())


def test_the_book_s_modules_load_what_we_save(tmp_path: Path) -> None:
    agent = SACAgent(
        Schema.vector(17, 7),
        AgentConfig(hidden_width=32, hidden_depth=4, critic_depth=3, layer_norm=False),
        seed=1,
    )
    save_book_policy(agent, tmp_path / "ours")
    policy, critic = Policy(17, 7, 32, 4), SoftQ(17, 7, 32, 3)
    files = states(tmp_path / "ours")
    policy.load_state_dict(files["policy"])
    critic.load_state_dict(files["q2"])
    observation, action = torch.randn(4, 17), torch.rand(4, 7)
    values = agent.q(agent.q.unpack(agent.critic_parameters), observation, action)
    torch.testing.assert_close(critic(torch.cat([observation, action], 1))[:, 0].detach(), values[1])
    torch.testing.assert_close(
        policy(observation)[0][0].detach().numpy(),
        agent.act(observation[0].numpy(), deterministic=True),
        rtol=1e-4,
        atol=1e-6,
    )


def test_saved_files_hold_their_tensors_alone(tmp_path: Path) -> None:
    agent = SACAgent(Schema.vector(17, 7), AgentConfig(hidden_width=128, layer_norm=False))
    save_book_policy(agent, tmp_path / "ours")
    floats = agent.policy_parameters.numel()
    assert (
        tmp_path / "ours_policy"
    ).stat().st_size < 4 * floats + 8000  # and not the memory they are views of
    assert {path.name for path in tmp_path.iterdir()} == {"ours_policy", "ours_q1", "ours_q2"}


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("bomb-went-off",)


def edit(prefix: Path, name: str, **changes: Any) -> None:
    state: Parameters = torch.load(f"{prefix}_{name}", weights_only=True)
    for key, value in changes.items():
        key = key.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    torch.save(state, f"{prefix}_{name}")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("policy", {"linear2__bias": None}, "missing tensor linear2.bias"),
        ("policy", {"linear1__weight": None}, "linear1.weight is missing or no matrix"),
        ("policy", {"mean_linear__weight": torch.zeros(3)}, "mean_linear.weight is missing or no matrix"),
        ("policy", {"linear1__weight": torch.zeros(0, 5)}, "linear1.weight is missing or no matrix"),
        ("policy", {"value_head__weight": torch.zeros(1)}, "unknown tensor value_head.weight"),
        (
            "policy",
            {"log_std_linear__weight": torch.zeros(3, 8)},
            r"log_std_linear.weight has shape \(3, 8\) where \(2, 8\)",
        ),
        ("q1", {"linear2__weight": None}, "linear2.weight is missing or no matrix"),
        ("q1", {"linear1__weight": torch.zeros(8, 6)}, r"linear1.weight has shape \(8, 6\) where \(8, 7\)"),
        ("q2", {"linear3__bias": torch.zeros(2)}, r"linear3.bias has shape \(2,\) where \(1,\)"),
        ("q2", {"linear3__bias": torch.tensor([float("nan")])}, "linear3.bias holds NaN"),
        ("q2", {"linear3__bias": torch.zeros(1, dtype=torch.float64)}, "linear3.bias is torch.float64"),
        ("q2", {"linear3__bias": [0.0]}, "linear3.bias is list"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    write_book(tmp_path / "book", 5, 2, 8, 2, 2)
    edit(tmp_path / "book", name, **changes)
    refused(tmp_path / "book", f"book_{name}: {message}")


def refused(prefix: Path, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_book_policy(prefix)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "not a file of tensors"),
        (b"not a pickle at all", "not a file of tensors"),
        (pickle.dumps({"a": 1}), "not a file of tensors"),
    ],
)
def test_what_is_no_torch_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    write_book(tmp_path / "book", 5, 2, 8, 2, 2)
    file = tmp_path / "book_q2"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    refused(tmp_path / "book", f"book_q2: {message}")


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    write_book(tmp_path / "book", 5, 2, 8, 2, 2)
    file = tmp_path / "book_policy"
    file.write_bytes(file.read_bytes()[:-200])
    refused(tmp_path / "book", "book_policy: not a file of tensors")


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    write_book(tmp_path / "book", 5, 2, 8, 2, 2)
    torch.save([torch.zeros(3)], tmp_path / "book_policy")
    refused(tmp_path / "book", "book_policy: holds a list")


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_book(tmp_path / "book", 5, 2, 8, 2, 2)
    torch.save({"linear1.weight": Bomb()}, tmp_path / "book_policy")
    refused(tmp_path / "book", "book_policy: not a file of tensors")
    assert not (tmp_path / "bomb-went-off").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AgentConfig(hidden_width=8, critics=5, layer_norm=False), "2 critics and this agent has 5"),
        (AgentConfig(hidden_width=8, layer_norm=True), "no layer normalisation.* --no-layer-norm"),
    ],
)
def test_critics_unlike_the_book_s_are_not_saved(tmp_path: Path, config: AgentConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        save_book_policy(SACAgent(Schema.vector(5, 2), config), tmp_path / "ours")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none/ours_policy: cannot be written"):
        save_book_policy(
            SACAgent(Schema.vector(5, 2), AgentConfig(hidden_width=8, layer_norm=False)),
            tmp_path / "none" / "ours",
        )


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "ours_policy").mkdir()
    with pytest.raises(ConfigError, match="ours_policy: cannot be written"):
        save_book_policy(
            SACAgent(Schema.vector(5, 2), AgentConfig(hidden_width=8, layer_norm=False)), tmp_path / "ours"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["ours_policy"]
