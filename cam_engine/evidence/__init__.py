"""Whether models and their maps can be believed, in numbers: pure measures, without any experiment.

Of answers: `classification`, `calibration`, with intervals by `resampling`. Of maps: `localisation`
compares a map with a box or an outline, `ordering` turns a map into steps from its highest cells to
its lowest, `faithfulness` follows the network's answer along such steps, `agreement` compares two
maps of one image, `randomisation` makes the network random, `map_groups` finds maps that are alike,
and `controls` are maps that know nothing. `images` has what is measured of images or done to them.
"""
