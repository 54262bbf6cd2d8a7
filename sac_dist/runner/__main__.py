"""``python -m sac_dist.runner FILE`` plays an exported policy, ``serve FILE`` serves it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sac_dist.runner.policy import Policy
from sac_dist.settings.option import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse, with an error that is one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 for a mistake of the caller."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # module:Id-v0 of the present folder
    try:
        return run_serve(given[1:]) if given[:1] == ["serve"] else run_replay(given)
    except ConfigError as error:
        print(f"sac_dist.runner: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:  # a full disk behind >
        print(f"sac_dist.runner: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run_serve(given: Sequence[str]) -> int:
    from sac_dist.runner.server import HOST, PORT, serve

    parser = Parser(prog="python -m sac_dist.runner serve", description="Serve a policy over a WebSocket.")
    add_file(parser)
    parser.add_argument("--host", default=HOST, help=f"default: {HOST}, this machine alone")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0: any that is free")
    options = parser.parse_args(given)
    if not 0 <= options.port < 2**16:
        raise ConfigError(f"--port is {options.port}: it must lie in 0 … 65535")
    policy = Policy.load(options.file, check_range=options.range_check)
    serve(policy, options.host, options.port, lambda line: print(line, flush=True))
    return 0


def run_replay(given: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m sac_dist.runner",
        description="Play an exported policy in its environment; 'serve FILE' serves it over a WebSocket.",
    )
    add_file(parser)
    parser.add_argument("--env", default="auto", metavar="ID", help="default: the policy's own")
    parser.add_argument("--env-kwargs", type=json_object, default={}, metavar="JSON", help="its arguments")
    parser.add_argument("--episodes", type=int, default=30, metavar="N", help="default: 30")
    parser.add_argument("--sample", type=int, metavar="SEED", help="act by samples, not by the mean")
    options = parser.parse_args(given)
    if options.episodes < 1:
        raise ConfigError(f"--episodes is {options.episodes}: it must be above 0")
    if options.sample is not None and options.sample < 0:
        raise ConfigError(f"--sample is {options.sample}: a seed is 0 or above")
    policy = Policy.load(options.file, check_range=options.range_check)
    try:
        from sac_dist.runner.replay import replay
        from sac_dist.settings import EnvConfig
    except ImportError as error:
        raise ConfigError(f"an environment needs gymnasium and its simulator: {error}") from None
    environment = EnvConfig(options.env, options.env_kwargs)
    print(f"policy {options.file}: {policy.card.parts['environment'].get('env')}")
    evaluation = replay(policy, environment, options.episodes, options.sample, show_episode)
    print(evaluation)
    return 0


def add_file(parser: Parser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an exported policy, .npz or .onnx")
    parser.add_argument(
        "--no-range-check",
        dest="range_check",
        action="store_false",
        help="take observations beyond their fields' ranges, for environments that leave their own space",
    )


def json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text!r} is no JSON object")
    return value


def show_episode(index: int, episode: Any) -> None:
    verdict = "" if episode.success is None else "  success" if episode.success else "  failure"
    print(f"episode {index + 1:>4}  return {episode.total_reward:>9.2f}  {episode.length:>4} steps{verdict}")


if __name__ == "__main__":
    sys.exit(main())
