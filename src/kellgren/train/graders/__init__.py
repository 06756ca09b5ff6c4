"""Graders: recipe, networks, losses, and one training run of them."""
