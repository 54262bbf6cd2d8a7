"""Tasks: initial states, observations, rewards, success and end."""

TASKS = {  # id: class
    "Reach-v0": "envs.tasks.reach:ReachEnv",
    "Grasp-v0": "envs.tasks.grasp:GraspEnv",
    "Lift-v0": "envs.tasks.lift:LiftEnv",
    "Push-v0": "envs.tasks.goals:PushEnv",
    "PickAndPlace-v0": "envs.tasks.goals:PickAndPlaceEnv",
    "Stack-v0": "envs.tasks.assembly:StackEnv",
    "Clutter-v0": "envs.tasks.lift:ClutterEnv",
    "Drawer-v0": "envs.tasks.fixtures:DrawerEnv",
    "Button-v0": "envs.tasks.fixtures:ButtonEnv",
    "Peg-v0": "envs.tasks.assembly:PegEnv",
    "SawyerGrasp-v0": "envs.tasks.grasp:GraspEnv",
    "SawyerLift-v0": "envs.tasks.lift:LiftEnv",
}
SAWYER_IDS = ("SawyerGrasp-v0", "SawyerLift-v0")
BOTH_SIMULATORS = ("Grasp-v0", "Lift-v0", *SAWYER_IDS)  # with the Sawyer; everything else is MuJoCo's
