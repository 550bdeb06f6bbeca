"""The actions of robosuite's usual controller of a Panda arm, as Lift and LIBERO have them."""

from roboscape.dataset.records import ActionConvention

OSC_POSE_ACTION = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz", "gripper"),
    units=("m", "m", "m", "rad", "rad", "rad", "1"),
    scale=(0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0),
    frame="robot_base",
    rotation="axis_angle",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)
