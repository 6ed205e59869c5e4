"""A network that learnt to tell regions apart still does so as an exported file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.inference.predict import predict
from core.inference.regions import regions_by_components
from core.inference.session import open_model
from core.models.preprocessing import Preprocessing, to_input
from core.training.regions import region_targets, usual_sigma
from tests.inference.exported import BLUE, RED, SIDE, Box, card_text, painted

LEFT, RIGHT, OTHER = (8, 16, 28, 48), (28, 16, 48, 48), (52, 4, 64, 16)
STEPS = 45


def test_a_trained_panoptic_deeplab_counts_touching_regions_singly(tmp_path: Path) -> None:
    path = tmp_path / "panoptic.onnx"
    path.write_bytes(_trained())

    prediction = predict(open_model(path, threads=1), _photo(), size_wh=(640, 480))

    assert [r.class_index for r in regions_by_components(prediction.label_map).regions] == [1, 2]
    assert prediction.told_apart == "model"
    assert [r.class_index for r in prediction.regions.regions] == [1, 1, 2]
    for box, class_index in ((LEFT, 1), (RIGHT, 1), (OTHER, 2)):
        number, iou = _best(prediction.regions.number_map, box)
        assert iou > 0.8, box
        region = prediction.regions.regions[number - 1]
        x, y = region.centre_xy
        assert region.class_index == class_index
        assert np.hypot(x / 10 - (box[0] + box[2]) / 2, y / 7.5 - (box[1] + box[3]) / 2) < 3
        assert region.score is not None and 0.25 < region.score <= 1


def _photo() -> NDArray[np.uint8]:
    """Paint two regions that touch, with a grey line between them so that there is something to see."""
    left, top, _, bottom = LEFT
    return painted((SIDE, SIDE), (RED, (left, top, 27, bottom)), (RED, (29, *RIGHT[1:])), (BLUE, OTHER))


def _trained() -> bytes:
    """Train the network on one photo and its mirror image, and give it as ONNX."""
    import torch

    from core.models.panoptic_deeplab import build
    from core.training.export import to_onnx

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build("tu-test_resnet", None, 3)
    numbers = np.zeros((1, SIDE, SIDE), np.uint8)
    for number, (left, top, right, bottom) in enumerate((LEFT, RIGHT, OTHER), start=1):
        numbers[0, top:bottom, left:right] = number
    numbers = np.concatenate([numbers, numbers[:, :, ::-1]])
    classes = torch.from_numpy(np.array([0, 1, 1, 2])[numbers])
    targets = region_targets(numbers, usual_sigma(4 * SIDE))
    centres, offsets, inside = (torch.from_numpy(target) for target in targets)
    image = to_input(_photo(), Preprocessing(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    images = torch.from_numpy(np.stack([image, image[:, :, ::-1]]))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(STEPS):
        found = network(images)
        loss = torch.nn.functional.cross_entropy(found.logits, classes)
        loss = loss + 50 * (found.centres - centres).square().mean()
        loss = loss + 0.02 * (found.offsets - offsets).abs()[inside[:, None].expand_as(offsets)].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    content, _ = to_onnx(network.eval(), SIDE, card_text(), "panoptic")
    return content


def _best(number_map: NDArray[np.uint16], box: Box) -> tuple[int, float]:
    """Give the number that most of a box has, and how well its pixels are those of the box."""
    height, width = number_map.shape
    left, top, right, bottom = np.multiply(box, (width, height, width, height)) // SIDE
    truth = np.zeros(number_map.shape, np.bool_)
    truth[top:bottom, left:right] = True
    number = int(np.bincount(number_map[truth]).argmax())
    found = number_map == number
    return number, float((truth & found).sum() / (truth | found).sum())
