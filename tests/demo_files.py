"""Transitions to write to files, and the child process that reads damaged ones: ``python demo_files.py
FOLDER COUNTS``.
"""

import io
import json
import os
import pickle
import resource
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

from sac_dist.data.transitions import Transitions
from sac_dist.formats import files
from sac_dist.settings import ConfigError

FIELDS = ("observation", "action", "reward", "next_observation", "terminated", "truncated")
SOURCE = {"env": {"env": "SawyerLift-v0", "horizon": 5}, "policy": "expert", "seed": 3}


def make(lengths=(5, 3, 5), observation_size=3, action_size=2, seed=0, success=True) -> Transitions:
    """Episodes of random walks: those of the greatest length hit a time limit, the others terminate and are
    successes.
    """
    rng = np.random.default_rng(seed)
    parts = {name: [] for name in FIELDS}
    for length in lengths:
        walk = rng.normal(size=(length + 1, observation_size)).astype(np.float32)
        last = np.arange(length) == length - 1
        terminated = last & (length < max(lengths))
        action = rng.uniform(-1, 1, (length, action_size)).astype(np.float32)
        values = (
            walk[:-1],
            action,
            rng.normal(size=length).astype(np.float32),
            walk[1:],
            terminated,
            last & ~terminated,
        )
        for name, value in zip(FIELDS, values, strict=True):
            parts[name].append(value)
    successes = np.array([length < max(lengths) for length in lengths]) if success else None
    arrays = {name: np.concatenate(part) for name, part in parts.items()}
    return Transitions.of_arrays(arrays, successes, dict(SOURCE))


def changed(demos: Transitions, **arrays: np.ndarray) -> Transitions:
    """With these arrays in place of its own."""
    parts = {name: getattr(demos, name) for name in FIELDS} | arrays
    return Transitions.of_arrays(parts, demos.success, demos.source)


def rows(demos: Transitions) -> list[tuple]:
    """The book's 5-tuples."""
    return list(
        zip(
            demos.observation,
            demos.action,
            demos.reward,
            demos.next_observation,
            demos.terminated,
            strict=True,
        )
    )


def assert_equal(found: Transitions, expected: Transitions, but: tuple[str, ...] = ()) -> None:
    for name in FIELDS:
        mine, other = getattr(found, name), getattr(expected, name)
        assert mine.dtype == other.dtype, name
        np.testing.assert_array_equal(mine, other, err_msg=name)
    if "success" not in but:
        assert (found.success is None) == (expected.success is None)
        assert expected.success is None or found.success.tolist() == expected.success.tolist()
    if "source" not in but:
        assert found.source == expected.source


def assert_sound(demos: Transitions) -> None:
    """What ``Transitions`` promises, whatever file it came from."""
    count = len(demos)
    assert count > 0 and demos.observation.shape == demos.next_observation.shape
    for name in FIELDS:
        values = getattr(demos, name)
        assert len(values) == count and values.dtype == (
            np.bool_ if name in ("terminated", "truncated") else np.float32
        )
        assert np.isfinite(values).all()
    assert np.abs(demos.action).max() <= 1 and (demos.terminated | demos.truncated)[-1]
    inside = ~(demos.terminated | demos.truncated)[:-1]
    assert (
        np.isclose(demos.next_observation[:-1], demos.observation[1:], rtol=1e-4, atol=1e-5)
        .all(1)[inside]
        .all()
    )
    assert demos.success is None or demos.success.shape == demos.ends.shape
    assert demos.ends.tolist() == (np.flatnonzero(demos.terminated | demos.truncated) + 1).tolist()


# Damage


class Payload:
    """What a hostile pickle is: reading it with ``pickle`` runs a command."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def mutate(data: bytes, donor: bytes, rng: np.random.Generator) -> bytes:
    """One to three bits, bytes or pieces changed, cut, inserted, doubled or replaced by a piece of ``donor``."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(found) + 1))
        piece = int(rng.integers(1, 40))
        kind = rng.integers(7)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << int(rng.integers(8))
        elif kind == 1 and place < len(found):
            found[place] = int(rng.integers(256))
        elif kind == 2:
            del found[place:]
        elif kind == 3:
            found[place:place] = rng.bytes(piece)
        elif kind == 4:
            del found[place : place + piece]
        elif kind == 5:
            found[place:place] = found[place : place + piece]
        else:
            start = int(rng.integers(max(len(donor) - piece, 1)))
            found[place : place + piece] = donor[start : start + piece]
    return bytes(found)


def rezipped(data: bytes, donor: bytes, rng: np.random.Generator) -> bytes:
    """An npz with one member damaged inside, under a checksum that fits."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        names = old.namelist()
        damaged = names[rng.integers(len(names))]
        for name in names:
            member = old.read(name)
            new.writestr(name, mutate(member, donor, rng) if name == damaged else member)
    return target.getvalue()


def seeds(folder: Path) -> dict[str, bytes]:
    """Small sound files of every kind by suffix-like names, and the pickles of a payload."""
    import h5py

    demos = make()
    found = {f"{protocol}.pickle": pickle.dumps(rows(demos), protocol) for protocol in (0, 2, 4, 5)}
    plain = [
        (state.tolist(), action.tolist(), float(reward), following.tolist(), bool(done))
        for state, action, reward, following, done in rows(demos)
    ]
    found["plain.pickle"] = pickle.dumps(plain)
    walk = np.arange(12, dtype=np.float32).reshape(6, 2)
    path = {"observations": walk[:-1], "actions": walk[:-1] / 12, "rewards": np.ones(5), "terminated": True}
    found["path.pickle"] = pickle.dumps([path, {**path, "rewards": list(path["rewards"])}])
    found["path0.pickle"] = pickle.dumps({**path, "terminals": np.arange(5) == 4, "timeouts": np.zeros(5)}, 0)
    with h5py.File(folder / "d4rl.hdf5", "w") as file:
        for name, values in {**path, "terminals": np.arange(5) == 2, "timeouts": np.zeros(5)}.items():
            if name != "terminated":
                file[name] = values
        file["infos/qpos"] = walk
    found["d4rl.hdf5"] = (folder / "d4rl.hdf5").read_bytes()
    for name in ("whole.npz", "whole.hdf5"):
        files.write(demos, folder / name)
        found[name] = (folder / name).read_bytes()
    stored = io.BytesIO()
    np.savez(stored, **{name: getattr(demos, name) for name in FIELDS})
    found["stored.npz"] = stored.getvalue()
    return found


def main(folder: Path, counts: dict[str, int]) -> None:
    """Read so many damaged files of each suffix; print how that went as JSON. Whatever escapes as no
    ConfigError ends the process.
    """
    canary = folder / "canary"
    donors = [pickle.dumps([Payload(canary)] * 3, protocol) for protocol in (0, 2, 4)]
    sources = seeds(folder)  # loads h5py, before the limit: its libraries are large
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
    report = {"loaded": 0, "refused": 0, "slowest": 0.0, "kinds": {}}
    for suffix, count in counts.items():
        names = [name for name in sources if name.endswith(suffix)]
        loaded = 0
        for number in range(count):
            rng = np.random.default_rng([number, len(suffix)])
            name = names[number % len(names)]
            donor = donors[number % 3] if number % 2 else sources[names[(number + 1) % len(names)]]
            change = rezipped if suffix == ".npz" and number % 4 < 2 else mutate
            path = folder / f"damaged{suffix}"
            path.write_bytes(change(sources[name], donor, rng))
            (folder / "number").write_text(f"{name} {number}")  # for whoever has to look for a crash
            began = time.perf_counter()
            try:
                demos = files.read(path)
            except ConfigError as error:
                assert "\n" not in str(error) and str(path) in str(error), (name, number, str(error))
                report["refused"] += 1
            else:
                assert_sound(demos)
                loaded += 1
            report["slowest"] = max(report["slowest"], time.perf_counter() - began)
            assert not canary.exists(), (name, number)
        report["loaded"] += loaded
        report["kinds"][suffix] = loaded
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    report["peak_mb"] = int(status["VmHWM"].split()[0]) // 1024  # getrusage's figure begins with the parent's
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
