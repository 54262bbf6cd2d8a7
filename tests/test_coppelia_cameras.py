"""What CoppeliaSim's vision sensors see, on a display. Skipped without CoppeliaSim, an X server, or a simulator that
was built with OpenGL.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import in_a_process, maker

from envs.backends.choice import has_display

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", autouse=True)
def display(request: pytest.FixtureRequest) -> Iterator[None]:
    """There or of an Xvfb of our own."""
    maker("coppelia", request.config)
    with pytest.MonkeyPatch.context() as patch:
        server = None
        if not has_display():
            if shutil.which("Xvfb") is None:
                pytest.skip("no display, and no Xvfb: apt-get install xvfb")
            command = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp"]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            assert server.stdout is not None
            patch.setenv("DISPLAY", f":{server.stdout.readline().strip()}")
        try:
            if "only black" in "".join(in_a_process(LOOK)):
                pytest.skip("this CoppeliaSim was built without OpenGL")
            yield
        finally:
            if server is not None:
                server.terminate()
                server.wait(10)


LOOK = """
from envs import BackendError
from envs.backends.coppelia.backend import CoppeliaBackend
backend = CoppeliaBackend()
try:
    backend.see(("scene",), 64)
except BackendError as error:
    print(error)
backend.close()
"""

EPISODES = """
import hashlib, json, sys
import numpy as np
import envs
sees = {"observation": "camera+state", "cameras": "wrist,scene,closeup", "camera_size": 64, "privileged": True}
simulator, options = sys.argv[1], sees if sys.argv[2] == "sees" else {"observation": "relative"}
env = envs.make("Grasp-v0", backend=simulator, disable_env_checker=True, **options).unwrapped
def of_box(picture):
    red, _, blue = np.moveaxis(picture.astype(int), -1, 0)
    rows, columns = np.nonzero(blue - red > 40)
    return [len(rows), *(float(np.mean(x)) if len(x) else -1.0 for x in (rows, columns))]
said = {"box": [], "digests": [], "numbers": []}
for seed in (0, 1, 2, 3, 4, 5, 0):
    digest, numbers = hashlib.sha256(), []
    observation = env.reset(seed=seed)[0]
    assert env.observation_space.contains(observation)
    if options is sees:
        said["box"].append({name: of_box(observation[name]) for name in ("wrist", "scene", "closeup")})
    for step in range(4):
        seen = observation if options is sees else {}
        for name in ("wrist", "scene", "closeup"):
            digest.update(seen[name].tobytes() if seen else b"")
        numbers.append((seen["privileged"] if seen else observation).tolist())
        observation = env.step(np.full(env.action_space.shape, 0.5))[0]
    said["digests"].append(digest.hexdigest())
    said["numbers"].append(numbers)
env.close()
print(json.dumps(said))
"""


def test_cameras_see_the_box_where_mujoco_s_do_and_numbers_are_what_they_are_without():
    seen, mujoco, told = (
        json.loads(in_a_process(EPISODES, *arguments)[-1])
        for arguments in (("coppelia", "sees"), ("mujoco", "sees"), ("coppelia", "tells"))
    )
    assert seen["digests"][0] == seen["digests"][-1], "the same seed gives the same pictures"
    assert len(set(seen["digests"])) == 6
    assert seen["numbers"] == told["numbers"], "privileged is what is observed without cameras"
    for here, there in zip(seen["box"], mujoco["box"], strict=True):
        for camera, (count, *middle) in here.items():
            if there[camera][0] >= 5:
                assert count >= 5, (camera, here, there)
                apart = 8 if camera == "wrist" else 1  # pixels; the hand is mounted with another yaw
                assert middle == pytest.approx(there[camera][1:], abs=apart), (camera, here, there)


SCHEMA = """
from sac_dist.acting.environment import make_env
from sac_dist.acting.observation import schema_of
from sac_dist.settings import EnvConfig
options = {"observation": "camera+state", "cameras": "scene,wrist", "camera_size": 84, "privileged": True}
found = []
for simulator in ("mujoco", "coppelia"):
    env = make_env(EnvConfig("Lift-v0", options | {"backend": simulator}, frame_stack=3))
    found.append((env.observation_space, schema_of(env)))
    if simulator == "coppelia":
        print(env.observation_space.contains(env.reset(seed=0)[0]))
        print(env.observation_space.contains(env.step(env.action_space.sample())[0]))
    env.close()
print(found[0] == found[1])
"""


def test_the_schema_is_mujocos():
    assert in_a_process(SCHEMA) == ["True", "True", "True"]


# The built scene, with a camera of its own above the table and one whose name is taken.
OWN = """
import sys
from envs.backends.coppelia.launch import end, launch
from envs.backends.coppelia.scene import build
from pyrep.const import RenderMode
from pyrep.objects.vision_sensor import VisionSensor
simulator = launch(None, False)
simulator.set_simulation_timestep(0.05)
build(simulator)
for name in ("overhead", "wrist"):
    sensor = VisionSensor.create([256, 128], position=[0.6, 0.0, 2.0], orientation=[3.1416, 0.0, 0.0], render_mode=RenderMode.OPENGL)
    sensor.set_name(name)
simulator.export_scene(sys.argv[1])
end(simulator)
"""
SEE_OWN = """
import sys
import numpy as np
import envs
from envs import BackendError
from pyrep.objects.vision_sensor import VisionSensor
env = envs.make("Grasp-v0", backend="coppelia", scene=sys.argv[1], observation="camera", cameras="overhead,scene", disable_env_checker=True).unwrapped
for seed in range(3):
    picture = env.reset(seed=seed)[0]["overhead"].astype(int)
    print(picture.shape == (64, 64, 3) and int((picture[..., 2] - picture[..., 0] > 40).sum()))
for camera in ("left", "wrist"):
    try:
        env.backend.see((camera,), 64)
    except BackendError as error:
        print(error)
VisionSensor.capture_rgb = lambda self: np.zeros((64, 64, 3), np.float32)
try:
    env.backend.see(("closeup",), 64)
except BackendError as error:
    print(error)
env.close()
"""


def test_a_scene_s_own_camera_and_names_that_are_not_there_or_taken_and_a_black_one(tmp_path: Path):
    scene = tmp_path / "bench.ttt"
    in_a_process(OWN, str(scene))
    (tmp_path / "bench.yaml").write_text("home: [-0.3132, -1.0754, 0.0249, 1.96, -0.0187, 0.6864, 3.0393]\n")
    *counts, missing, taken, black = in_a_process(SEE_OWN, str(scene))
    assert len(counts) == 3 and all(int(count) >= 4 for count in counts), counts
    assert missing.startswith("there is no camera 'left': choose from ")
    assert missing.endswith("overhead, wrist, scene, closeup")
    assert "the scene has a vision sensor 'wrist'" in taken and "rename it" in taken
    assert "the camera closeup of CoppeliaSim draws only black" in black and "xvfb-run" in black


@pytest.mark.slow
def test_a_policy_that_sees_is_trained(tmp_path: Path):
    flags = (
        "--train --env Grasp-v0 --backend coppelia --observation camera+state --preset pixels --steps 120 "
        "--warmup-steps 60 --buffer-size 1000 --eval-interval 0 --no-video"
    )
    command = [sys.executable, "-m", "sac_dist", *flags.split(), "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
