"""lerobot's plugin: served worlds (`--env.type=roboscape`), and judges (`roboscape_judge`).

lerobot imports this package and its modules, which register themselves there, with
`--env.discover_packages_path=roboscape.policies.lerobot.plugin`. The worlds are those of
`roboscape serve-world`; a judge of `roboscape train judge` is a reward model.
"""
