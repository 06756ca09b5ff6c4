"""Making models: networks, losses, augmentation, training, export. Never imported by grading."""
