"""A network at work: a bundle goes in, a crop goes in, calibrated probabilities come out.

In the order in which data pass: `card` and `bundle` (what is stored, checked), `graph` and `session` (the
network, checked and opened), `framing` (cutting), `tta` (looks at one crop), `steps` (crop to input),
`predict` (the network's answer), `calibrators`, `vote`, `decision` (logits to grades), `ood` (how ordinary a
crop is) and `activation_maps` (where the answer comes from).
"""
