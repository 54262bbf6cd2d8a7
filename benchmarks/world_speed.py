"""What a step of a world costs, in µs of processor time per control step (0.05 s) of Lift-v0.

    python benchmarks/world_speed.py meshes    # robots as they are, and with a box in place of each mesh
    python benchmarks/world_speed.py rollout   # mj_step, and mujoco.rollout of several environments in threads

--robots sawyer arm.xml …; processor time, so that what else runs on the machine counts little.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import mujoco.rollout
import numpy as np

import envs.backends.mujoco.parts as parts
from envs.tasks.expert import Expert

MESH, BOX = mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_BOX
STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
EPISODES, CALLS = 12, 1600
WORLD = parts.world_spec


def with_boxes(*arguments: Any, **options: Any) -> mujoco.MjSpec:
    """A world whose meshes are the boxes around them."""
    spec = WORLD(*arguments, **options)
    model = spec.compile()
    for geom in [geom for body in spec.bodies for geom in body.geoms if geom.type == MESH]:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom.id])
        centre, half = model.geom_aabb[geom.id, :3], model.geom_aabb[geom.id, 3:]
        geom.pos = model.geom_pos[geom.id] + turn.reshape(3, 3) @ centre
        geom.quat, geom.type, geom.size, geom.meshname = model.geom_quat[geom.id], BOX, half, ""
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    return spec


def lift(robot: str, boxes: bool = False) -> Any:
    parts.world_spec = with_boxes if boxes else WORLD
    return gymnasium.make("Lift-v0", robot=robot, backend="mujoco").unwrapped


def steps(env: Any, expert: bool) -> float:
    """µs of env.step: the median of episodes, of random actions or the expert's."""
    random, script, taken = np.random.default_rng(0), Expert(env), []
    for episode in range(EPISODES):
        env.reset(seed=episode)
        spent, count, ended = 0.0, 0, False
        while not ended:
            action = script.act() if expert else random.uniform(-1, 1, env.action_space.shape)
            start = time.process_time()
            ends = env.step(action)[2:4]
            spent, count, ended = spent + time.process_time() - start, count + 1, any(ends)
        taken.append(spent / count)
    return 1e6 * float(np.median(taken))


def meshes(robots: list[str]) -> None:
    print("| robot | meshes | random actions, as it is | boxes | ratio | expert, as it is | boxes | ratio |")
    for robot in robots:
        env, boxed = lift(robot), lift(robot, boxes=True)
        row = [Path(robot).stem, f"{(env.backend.model.geom_type == MESH).sum()}"]
        for expert in (False, True):
            whole, simple = steps(env, expert), steps(boxed, expert)
            row += [f"{whole:.0f}", f"{simple:.0f}", f"{whole / simple:.2f}"]
        print(f"| {' | '.join(row)} |", flush=True)


def rollout(robots: list[str]) -> None:
    print("| robot | environments | threads | µs per control step |")
    for robot in robots:
        env = lift(robot)
        env.reset(seed=0)
        env.step(np.append(np.full(env.action_space.shape[0] - 1, 0.1), 1.0))
        model, data, substeps = env.backend.model, env.backend.data, env.backend._substeps
        state, command = np.empty(mujoco.mj_stateSize(model, STATE)), data.ctrl.copy()
        mujoco.mj_getState(model, data, state, STATE)

        def one_by_one(model=model, data=data, substeps=substeps, state=state, command=command) -> None:
            mujoco.mj_setState(model, data, state, STATE)
            data.ctrl[:] = command
            for _ in range(8):
                mujoco.mj_step(model, data, substeps)

        name = Path(robot).stem
        print(f"| {name} | mj_step | 1 | {per_step(one_by_one, 8):.0f} |", flush=True)
        for count in (2, 4, 8):
            for threads in (1, 2):
                works = [mujoco.MjData(model) for _ in range(threads)]
                states = np.repeat(state[None], count, axis=0)
                commands = np.tile(command, (count, substeps, 1))
                with mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0) as pool:
                    call = partial(pool.rollout, [model] * count, works, states, commands, nstep=substeps)
                    print(f"| {name} | {count} | {threads} | {per_step(call, count):.0f} |", flush=True)


def per_step(call: Any, count: int) -> float:
    """µs of a control step, of which a call makes ``count``: the least of three rounds."""
    call()
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(CALLS // count):
            call()
        rounds.append((time.process_time() - start) / (CALLS // count) / count)
    return 1e6 * min(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", choices=("meshes", "rollout"))
    parser.add_argument("--robots", nargs="+", default=["sawyer"])
    given = parser.parse_args()
    (meshes if given.section == "meshes" else rollout)(given.robots)


if __name__ == "__main__":
    main()
