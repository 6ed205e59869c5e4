"""The recipes a person picks instead of fifty numbers: the published systems of the field, and ours.

Keys are in databases and on command lines: never rename one. What a publication leaves open (epochs,
mostly) is ours; the description says so. No figure here is comparable with one measured on other data.
"""

from dataclasses import dataclass, replace

from core.domain.training import TrainingConfig

LITE0 = "tu-tf_efficientnet_lite0"


@dataclass(frozen=True)
class Preset:
    """A named recipe. ``origin``: whose it is, the heading it is shown under."""

    title: str
    description: str
    config: TrainingConfig
    origin: str = "Ours"
    start: str = "EfficientNet-Lite0, ImageNet; its package is installed"  # the weights it starts from


RANDOM = "Random weights"
HUB = "ImageNet; fetched from the model hub, so it needs a network the first time"

# What the published systems share: no pretrained part, no schedule, no augmentation, nothing clipped.
_PLAIN = TrainingConfig(
    encoder_weights="none",
    augmentation="none",
    schedule="constant",
    warmup_share=0,
    clip_gradient_norm=0,
    weight_decay=0,
    loss="ce",
    epochs=30,
)


def _rates(config: TrainingConfig, optimizer: str, rate: float, batch_size: int) -> TrainingConfig:
    """Give a configuration one learning rate for all weights."""
    return replace(
        config,
        optimizer=optimizer,
        encoder_learning_rate=rate,
        decoder_learning_rate=rate,
        batch_size=batch_size,
    )


_STUDY = replace(_PLAIN, size=240)
_HYPERPARAMETERS = {
    "h1": (_rates(_STUDY, "adam", 1e-3, 16), "Adam, rate 0.001, batch 16"),
    "h2": (_rates(_STUDY, "sgd", 1e-2, 32), "SGD, rate 0.01, momentum 0.9, batch 32"),
    "h3": (
        replace(_rates(_STUDY, "adamw", 1e-3, 8), weight_decay=1e-4),
        "AdamW, rate 0.001, decay 0.0001, batch 8",
    ),
}
_STUDY_NETS = {"fcn_resnet50": "FCN-ResNet50", "deeplabv3_resnet50": "DeepLabV3-ResNet50"}
_STUDY_OWN = {
    "segnet1": ("custom_segnet1", "CustomSegNet 1", "Large kernels; very slow, kept for completeness."),
    "segnet2": ("custom_segnet2", "CustomSegNet 2", "One 3x3 convolution per stage."),
    "segnet3": ("custom_segnet3", "CustomSegNet 3", "Two 3x3 convolutions per stage on the way down."),
    "unet": ("custom_unet", "CustomUNet", "Encoder and decoder without skips."),
    "unet2": ("custom_unet2", "CustomUNet 2", "With the encoder's outputs and dropout in the bottleneck."),
}
_STUDY_NOTE = "240 px, cross-entropy, no augmentation; the study took 40 % of its photos (train_share=0.4)."
_PRETRAINED = replace(_PLAIN, encoder_weights="imagenet", augmentation="flips")
_MARS = replace(_rates(_PLAIN, "adam", 1e-3, 8), encoder="none", augmentation="flips")


def _damage_study() -> dict[str, Preset]:
    origin = "Car-damage study"
    found = {
        f"car-damage-{key}-{model}": Preset(
            f"{title} ({key.upper()})",
            f"{how}. {_STUDY_NOTE}",
            replace(config, model=model, encoder="resnet50"),
            origin,
            RANDOM,
        )
        for model, title in _STUDY_NETS.items()
        for key, (config, how) in _HYPERPARAMETERS.items()
    }
    config, how = _HYPERPARAMETERS["h1"]
    return found | {
        f"car-damage-{key}": Preset(
            title,
            f"{text} {how}. {_STUDY_NOTE}",
            replace(config, model=model, encoder="none"),
            origin,
            RANDOM,
        )
        for key, (model, title, text) in _STUDY_OWN.items()
    }


def _car_parts() -> dict[str, Preset]:
    origin, config = "Car-parts study", _rates(_PRETRAINED, "adam", 1e-4, 8)
    return {
        "car-parts-deeplabv3plus": Preset(
            "DeepLabV3+ with one more block",
            "ResNet-50 and an extra convolution block in the image pooling.",
            replace(config, model="deeplabv3plus_extra", encoder="resnet50"),
            origin,
            HUB,
        ),
        "car-parts-unet": Preset(
            "U-Net",
            "U-Net on ResNet-50.",
            replace(config, model="unet", encoder="resnet50"),
            origin,
            HUB,
        ),
    }


def _roads() -> dict[str, Preset]:
    origin = "Road study"
    config = replace(_rates(_PLAIN, "adam", 5e-4, 8), loss="dice", augmentation="flips")
    return {
        "road-unet": Preset(
            "U-Net from scratch",
            "Ronneberger's U-Net with transposed convolutions; Dice loss, Adam 0.0005. The study trained "
            "100 epochs.",
            replace(config, model="unet_scratch", encoder="none"),
            origin,
            RANDOM,
        ),
        "road-unet-resnet34": Preset(
            "U-Net on ResNet-34",
            "A pretrained encoder; Dice loss, Adam 0.0005.",
            replace(config, model="unet", encoder="resnet34", encoder_weights="imagenet"),
            origin,
            HUB,
        ),
    }


def _mars() -> dict[str, Preset]:
    origin = "Mars terrain study"
    aspp = replace(_MARS, model="aspp_unet")
    return {
        "mars-unet": Preset(
            "U-Net, two down, two up",
            "A small U-shaped net without skips; cross-entropy.",
            replace(_MARS, model="mars_unet"),
            origin,
            RANDOM,
        ),
        "mars-unet-skips": Preset(
            "U-Net with skips",
            "The same with skip connections.",
            replace(_MARS, model="mars_unet_skips"),
            origin,
            RANDOM,
        ),
        "mars-aspp-unet-ce": Preset(
            "ASPP U-Net, cross-entropy",
            "Atrous pyramid at the bottom; background weighs like the rest.",
            aspp,
            origin,
            RANDOM,
        ),
        "mars-aspp-unet": Preset(
            "ASPP U-Net, SSIM + focal + Dice",
            "Class weights by median frequency; background is left out of the loss, so judge it by the "
            "classes only.",
            replace(aspp, loss="ssim+focal+dice", class_weights="median", background_weight=0),
            origin,
            RANDOM,
        ),
        "mars-basnet": Preset(
            "BASNet",
            "Predict and refine, all outputs supervised; cross-entropy + SSIM + IoU.",
            replace(_MARS, model="basnet", encoder="resnet34", loss="ce+ssim+jaccard", batch_size=4),
            origin,
            RANDOM,
        ),
    }


def _bootcamp() -> dict[str, Preset]:
    origin = "Bootcamp"
    config = replace(_rates(_PRETRAINED, "adamw", 3e-4, 8), weight_decay=1e-2, schedule="poly")
    nets = {
        "bootcamp-unet": ("U-Net", "unet", "resnet34"),
        "bootcamp-pspnet": ("PSPNet", "pspnet", "resnet34"),
        "bootcamp-deeplabv3": ("DeepLabV3", "deeplabv3", "resnet34"),
        "bootcamp-hrnet-ocr": ("HRNet-OCR", "hrnet_ocr", "tu-hrnet_w18"),
        "bootcamp-panoptic-deeplab": ("Panoptic-DeepLab", "panoptic_deeplab", "resnet50"),
    }
    about = {
        "bootcamp-hrnet-ocr": "High resolution throughout, and object context.",
        "bootcamp-panoptic-deeplab": "Tells single damages apart and counts them.",
    }
    return {
        key: Preset(
            title,
            about.get(key, f"{title} on a pretrained ResNet-34."),
            replace(config, model=model, encoder=encoder),
            origin,
            HUB,
        )
        for key, (title, model, encoder) in nets.items()
    }


def _named(presets: dict[str, Preset]) -> dict[str, Preset]:
    return {key: replace(p, config=replace(p.config, preset=key)) for key, p in presets.items()}


_OURS = TrainingConfig(
    model="fpn_light",
    encoder=LITE0,
    progressive=True,
    balance=1,
    loss="ce+dice",
    batch_size=8,
    encoder_learning_rate=1e-3,
    decoder_learning_rate=1e-3,
    warmup_share=0.1,
    augmentation="strong",
)


def _ours() -> dict[str, Preset]:
    return {
        "tiny": Preset(
            "Tiny",
            "To see that everything works: 128 px, a few hundred photos shown.",
            replace(_OURS, size=128, epochs=6, epoch_images=160, progressive=False),
        ),
        "fast": Preset(
            "Fast",
            "A first answer on a laptop: 256 px. Good for large parts and large damage.",
            replace(_OURS, size=256, epochs=8, epoch_images=480),
        ),
        "balanced": Preset(
            "Balanced",
            "What we advise, where there is time: 384 px. Good for most damage.",
            replace(_OURS, size=384, epochs=8, epoch_images=2000, copy_paste=0.5),
        ),
        "accurate": Preset(
            "Accurate",
            "For thin and small damage: 640 px and a larger encoder. Better with a GPU.",
            replace(
                _OURS,
                encoder="tu-tf_efficientnet_lite2",
                size=640,
                epochs=20,
                epoch_images=2400,
                copy_paste=0.5,
                ema=0.998,
            ),
            start="EfficientNet-Lite2, ImageNet; its package is installed",
        ),
    }


PRESETS: dict[str, Preset] = _named(
    _ours() | _damage_study() | _car_parts() | _roads() | _mars() | _bootcamp()
)
