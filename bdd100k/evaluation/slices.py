"""Defines the slices for BDD100K's labels: attributes of images, occluded and truncated objects."""

from mrcnn.evaluation.slices import FlagNames, Slicing

SLICING = Slicing(
    attributes=("weather", "scene", "timeofday"),
    flags={
        "occluded": FlagNames("occlusion", "occluded", "visible"),
        "truncated": FlagNames("truncation", "truncated", "whole"),
    },
)
