"""lerobot's plugin: `--env.type=roboscape`, a world of `roboscape serve-world`.

lerobot imports this package and its modules, which register themselves there, with
`--env.discover_packages_path=roboscape.policies.lerobot.plugin`.
"""
