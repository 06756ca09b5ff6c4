"""Joint-line points for simulated crops: two level lines, as `joint_line_points.csv`."""

import csv
import io

from PIL import Image

from kellgren import data
from kellgren.train.contour.crops import TABLE


def line(y_femur, y_tibia):
    """Thirty points on two level lines, (1, 30, 2)."""
    import torch

    femur = torch.stack((torch.linspace(0.1, 0.9, 13), torch.full((13,), y_femur)), dim=1)
    tibia = torch.stack((torch.linspace(0.1, 0.9, 17), torch.full((17,), y_tibia)), dim=1)
    return torch.cat((femur, tibia))[None]


def write_points(folder):
    """Write the table of a data set folder."""
    bones = (("femur", 13), ("tibia", 17))
    names = [f"{bone}{i}_{axis}" for bone, n in bones for i in range(n) for axis in "xy"]
    knees = data.load(folder)
    size = Image.open(io.BytesIO(knees.knees[0].image.read_bytes())).width
    row = line(0.45, 0.5)[0].numpy() * size - 0.5
    with (folder / TABLE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "score", *names])
        for knee in knees:
            points = row.copy()
            if knee.side == "L":
                points[:, 0] = size - 1 - points[:, 0]
            writer.writerow([knee.name, 0.1, *points.ravel()])
