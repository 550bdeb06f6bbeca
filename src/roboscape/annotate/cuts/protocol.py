"""Camera boundaries in video (RoboScape, section 2.2, video slicing): who can find them."""

from roboscape.annotate.backends import Backend, CutDetector

CUT_DETECTORS: dict[str, Backend[CutDetector]] = {
    "transnet_v2": Backend(
        module="roboscape.annotate.cuts.transnet",
        kind="TransNet",
        summary="TransNetV2, the paper's; its package brings its weights.",
    ),
    "scene_detect": Backend(
        module="roboscape.annotate.cuts.scenedetect",
        kind="SceneDetect",
        summary="PySceneDetect's adaptive content detector.",
    ),
}
"""Everything that can find cuts, by name."""
