"""Dense optical flow (RoboScape, section 2.2, clip filtering): who can estimate it."""

from roboscape.annotate.backends import Backend, FlowEstimator

FLOW_ESTIMATORS: dict[str, Backend[FlowEstimator]] = {
    "dis": Backend(
        module="roboscape.annotate.flow.dis",
        kind="DenseInverseSearch",
        summary="OpenCV's dense inverse search: runs anywhere.",
    ),
    "raft": Backend(
        module="roboscape.annotate.flow.raft",
        kind="Raft",
        summary="RAFT of torchvision, in the place of the paper's FlowNet.",
        gpu=True,
        pretrained=True,
    ),
}
"""Everything that can estimate flow, by name."""
