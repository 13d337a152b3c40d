"""Make a zero-shot classifier of the names of classes, for maps without any training."""

from pathlib import Path

import pytorch_lightning as pl

from wsss.data.config import DataConfig
from wsss.data.storage import file_sha256
from wsss.models.clip_tower import Pooling
from wsss.models.open_clip_files import embed_prompts, image_tower, load_pair
from wsss.models.prompts import PromptConfig, prompts_of
from wsss.models.text_classifier import TextClassifier
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import save_text_classifier

FILE = "last.ckpt"


def text_classifier(
    data: DataConfig,
    output: Path,
    model: str = "ViT-B-16",
    weights: str | None = "openai",
    prompts: PromptConfig = PromptConfig(),
    pooling: Pooling | None = None,
    seed: int = 0,
) -> Path:
    """Make a classifier of the names of classes, by the towers of image and text of open_clip.

    Nothing is trained, and no image is opened. The checkpoint holds the image tower and the
    embeddings of the classes and of the background; every command takes it that takes one of
    train_cls, and method: gradcam explains of it what CLIP-ES does (Lin et al., CVPR 2023).

    Args:
        data: The data set; of it the classes alone are needed.
        output: Folder for last.ckpt and the configuration.
        model: open_clip's name of a network with a vision transformer, such as ViT-B-16 or
            ViT-B-16-SigLIP; a JSON file of its own format; or hf-hub: and a repository, which
            brings its weights.
        weights: A tag of open_clip, such as openai or laion2b_s34b_b88k; a file (.pt, .bin or
            .safetensors); hf-hub: and a repository; null for random ones.
        prompts: Texts of the classes and of the background.
        pooling: What of the last block is the image's embedding. patches: their mean, which CLIP-ES
            explains; own: what the tower was trained with, in CLIP the class token, which
            recognises best. null takes patches where the tower has a class token of CLIP's.
        seed: Seed of random weights.

    Returns:
        Path of the checkpoint.

    Raises:
        ImportError: open_clip is not installed: pip install 'wsss[text]'.
    """
    settings = Settings.of(text_classifier, locals())
    # before anything is downloaded
    texts = prompts_of(prompts, data.class_names)
    pl.seed_everything(seed, workers=True, verbose=False)
    pair = load_pair(model, weights, pooling)
    local = weights is not None and Path(weights).is_file()
    identity = {"weights_sha256": file_sha256(Path(str(weights)))} if local else {}
    folder = OutputFolder(output, settings, identity=identity)
    classifier = TextClassifier(
        image_tower(pair), *embed_prompts(pair, texts), pair.scale, pair.normalisation
    )
    save_text_classifier(output / FILE, classifier, pair.tower, data.classes)
    folder.finish(
        pooling=pair.tower.pooling,
        scale=pair.scale,
        classes=dict(zip(data.class_names, texts.classes, strict=True)),
        background=texts.background,
    )
    return output / FILE
