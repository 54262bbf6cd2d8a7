"""A robot that asks a policy server what to do. When the server is late, goes away or refuses an observation,
the robot is stopped, and goes on once the server is back. It needs the package websockets alone.

    python -m sac_dist.runner serve policy.npz &
    python examples/policy_client.py
"""

import json
import time

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect


def follow(url, observe, send, stop, period=0.05, patience=0.1, over=lambda: False):
    while not over():
        try:
            with connect(url, open_timeout=1, close_timeout=0.1, compression=None) as server:
                json.loads(server.recv(timeout=1))["policy"]  # what the policy observes and does
                while not over():
                    next_time = time.monotonic() + period
                    server.send(json.dumps({"version": 1, "observation": observe()}))
                    answer = json.loads(server.recv(timeout=patience))
                    if "error" in answer:
                        raise OSError(answer["error"])
                    send(answer["action"])
                    time.sleep(max(next_time - time.monotonic(), 0))
        except (OSError, WebSocketException) as error:
            stop()
            print(f"the robot is stopped: {error or 'the server is late'}", flush=True)
            time.sleep(0.2)
        except BaseException:
            stop()
            raise
    stop()


if __name__ == "__main__":  # in place of these three, your robot's
    follow(
        "ws://127.0.0.1:8765",
        observe=lambda: {"state": [0.0] * 31},
        send=lambda action: print("move", action, flush=True),
        stop=lambda: print("stand still", flush=True),
    )
