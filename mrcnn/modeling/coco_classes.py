"""The 80 categories of COCO with their ids, of which ten up to 90 are not used, in the order of COCO's weights."""

_NAMES = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant - stop_sign parking_meter "
    "bench bird cat dog horse sheep cow elephant bear zebra giraffe - backpack umbrella - - handbag tie suitcase "
    "frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle - "
    "wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair "
    "couch potted_plant bed - dining_table - - toilet - tv laptop mouse remote keyboard cell_phone microwave oven "
    "toaster sink refrigerator - book clock vase scissors teddy_bear hair_drier toothbrush"
)

# (category id, name); entry 0 is the background, so the position is the class id.
COCO_CLASSES = (
    (0, "BG"),
    *((number, name.replace("_", " ")) for number, name in enumerate(_NAMES.split(), 1) if name != "-"),
)
