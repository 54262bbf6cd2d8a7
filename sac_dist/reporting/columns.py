"""The columns of a run's rows: those of metrics.csv, and the scalars that every sink gets.

============================================  ==========================================================
column                                        meaning
============================================  ==========================================================
``step``                                      the clock: environment steps of all workers, and the
                                              updates of offline phases with them
``episodes``                                  training episodes so far
``updates``                                   gradient updates so far
``wall_time_s``                               seconds the run has lasted, over all its resumes
``steps_per_s``, ``updates_per_s``            rates since the last row
``train_return``                              mean undiscounted return of the last 100 training episodes
``train_success``                             their success rate, 0 … 1, if the environment reports success
``train_length``                              their mean length in environment steps
``eval_step``                                 the clock of the policy that was evaluated
``eval_return``, ``eval_success``,            means over the episodes of that evaluation
``eval_length``
``eval_episodes``                             how many episodes it had
``critic_loss``, ``actor_loss``               losses, as all update metrics means over the reports since the
                                              last row
``q_mean``                                    mean Q of the batch, over all critics
``alpha``, ``entropy``                        temperature as used; entropy of the policy (nats)
``critic_grad_norm``, ``actor_grad_norm``     before clipping
``cql_penalty``, ``cql_weight``,              CQL alone; the last two with ``cql_lagrange``
``cql_weight_loss``
``data_log_prob``                             behaviour cloning: log-probability of the data's actions (nats)
``policy_weight_norm``,                       Euclidean norms of all weights of the policy and the critics
``critic_weight_norm``
``intervention_rate``                         share of the training steps in which a person acted, 0 … 1: mean
                                              over the episodes since the last row; with ``--interventions``
``offline_updates``                           updates of offline phases so far, in runs with demonstrations
============================================  ==========================================================

``step`` to ``eval_episodes`` are in every metrics.csv; the others appear with their first value, and so do
those that a callback adds. A row holds only what is new since the last one: other cells are empty.
"""

from __future__ import annotations

COLUMNS = (
    "step", "episodes", "updates", "wall_time_s", "steps_per_s", "updates_per_s",
    "train_return", "train_success", "train_length",
    "eval_step", "eval_return", "eval_success", "eval_length", "eval_episodes",
)  # fmt: skip
INTERVENTION_RATE = "intervention_rate"


def scalar_tag(column: str) -> str:
    """The column's name in TensorBoard and W&B: train/…, eval/…, run/…, and update/… for all others."""
    if column == INTERVENTION_RATE:
        return f"train/{column}"
    group, _, name = column.partition("_")
    if column not in COLUMNS:
        return f"update/{column}"
    return f"{group}/{name}" if group in ("train", "eval") else f"run/{column}"
