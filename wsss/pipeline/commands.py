"""Table of the commands: all that the command line and `wsss run` know of them.

A new command is a file with one public function, and a line here; where its name is a word of
Python's own, both end in an underscore. Its parameters are its keys: see `wsss.pipeline.settings`.
Nothing is imported before a command is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

Show = Callable[[Any, Mapping[str, Any]], str | None]


class Word(NamedTuple):
    """An argument that a shell takes as words rather than as ``--key value``.

    Args:
        flag: ``image`` takes its place; ``--labels`` begins with its name.
        help: Its line in the help.
        type: Of each word.
        many: Whether several words may follow.
    """

    flag: str
    help: str
    type: Callable[[str], Any] = Path
    many: bool = False

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return self.flag.removeprefix("--")


@dataclass(frozen=True)
class Command:
    """Entry of one command in the table.

    Args:
        source: Its function, as ``module:name``.
        summary: First line of its docstring, for the overview.
        words: Its positional arguments.
        manifest: It writes a folder with config.yaml and manifest.json.
        step: It can be a step of ``wsss run``.
        without_torch: The function that takes its place where torch is not installed, as
            ``module:name``.
        show: What is printed at its end, from its result and its settings; None prints a text as
            it is, and of a path that it was written. As ``module:name``.
    """

    source: str | Callable[..., Any]
    summary: str
    words: tuple[Word, ...] = ()
    manifest: bool = False
    step: bool = True
    show: str | None = None
    without_torch: str | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """Import and return the function."""
        # a function itself is for tests, which add toy commands
        if callable(self.source):
            return self.source
        if self.without_torch is not None and find_spec("torch") is None:
            return _found(self.without_torch)
        return _found(self.source)

    def shown(self, result: Any, settings: Mapping[str, Any]) -> str | None:
        """Text that a person reads at the command's end."""
        if self.show is not None:
            show: Show = _found(self.show)
            return show(result, settings)
        if result is None or isinstance(result, str):
            return result
        return f"wrote {result}"


def _found(source: str) -> Callable[..., Any]:
    module, _, name = source.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


COMMANDS: dict[str, Command] = {
    "init": Command(
        "wsss.pipeline.init:init",
        "Recognise a data set, write its configuration, and say what to do next.",
        words=(Word("folder", "The folder with the data set."),),
        step=False,
    ),
    "check_data": Command(
        "wsss.pipeline.check_data:check_data",
        "Check images, labels and masks, all of them, before a training.",
        step=False,
    ),
    "check_labels": Command(
        "wsss.pipeline.check_labels:check_labels",
        "List image-level labels that disagree with cross-validated predictions, worst first.",
        manifest=True,
        show="wsss.pipeline.label_check.rows:shown",
    ),
    "train_cls": Command(
        "wsss.pipeline.train_cls:train_cls",
        "Train a multi-label classifier on image-level labels.",
        manifest=True,
    ),
    "text_classifier": Command(
        "wsss.pipeline.text_classifier:text_classifier",
        "Make a classifier of the names of classes, by the towers of image and text of open_clip.",
        manifest=True,
    ),
    "check_shortcuts": Command(
        "wsss.pipeline.check_shortcuts:check_shortcuts",
        "Find the classes that a classifier tells by something else than what its maps mark.",
        manifest=True,
        show="wsss.pipeline.check_shortcuts:shown",
    ),
    "make_pseudo_masks": Command(
        "wsss.pipeline.make_pseudo_masks:make_pseudo_masks",
        "Make a pseudo-mask for every image of a list.",
        manifest=True,
    ),
    "choose_threshold": Command(
        "wsss.pipeline.choose_threshold:choose_threshold",
        "Choose a background threshold from saved scores; no mask of the data set is opened.",
        manifest=True,
    ),
    "eval_miou": Command(
        "wsss.pipeline.eval_miou:eval_miou",
        "Score predicted masks, or saved scores at a background threshold, by pooled mIoU.",
        manifest=True,
        show="wsss.pipeline.evaluation.tables:shown",
    ),
    "normal_memory": Command(
        "wsss.pipeline.normal_memory:normal_memory",
        "Keep what normal images look like, for the refinement step of that name.",
        manifest=True,
    ),
    "train_boundary": Command(
        "wsss.pipeline.train_boundary:train_boundary",
        "Train a boundary network on pairs of pixels of which pseudo-masks are sure.",
        manifest=True,
    ),
    "train_seg": Command(
        "wsss.pipeline.train_seg:train_seg",
        "Train a segmentation network on pseudo-masks; pixels of value 255 are left out.",
        manifest=True,
    ),
    "self_train": Command(
        "wsss.pipeline.self_train:self_train",
        "Train a segmentation network again and again on masks of its own predictions.",
        manifest=True,
    ),
    "predict": Command(
        "wsss.pipeline.predict:predict",
        "Segment all images of a folder, or of a data set's list.",
        manifest=True,
        without_torch="wsss.pipeline.predict_onnx:predict_onnx",
    ),
    "export_model": Command(
        "wsss.pipeline.export_model:export_model",
        "Write a network as a file that runs without wsss: ONNX, or torch.export.",
        manifest=True,
        show="wsss.pipeline.export_model:shown",
    ),
    "suggest": Command(
        "wsss.pipeline.suggest:suggest",
        "List the images whose masks a person should correct first.",
        manifest=True,
        show="wsss.pipeline.suggest:shown",
    ),
    "export": Command(
        "wsss.pipeline.export:export",
        "Write the masks of a list in the format of another tool.",
    ),
    "import": Command(
        "wsss.pipeline.import_:import_",
        "Read back masks that people have corrected in another tool.",
        manifest=True,
    ),
    "explain": Command(
        "wsss.pipeline.explain:explain",
        "Explain one photograph and save a picture of its class maps.",
        words=(
            Word("image", "The photograph."),
            Word("--labels", "Names of classes to explain.", type=str, many=True),
        ),
    ),
    "benchmark_attribution": Command(
        "wsss.pipeline.benchmark_attribution:benchmark_attribution",
        "Compare methods of attribution: segmentation, pointing, fidelity, spectrum and cost.",
        manifest=True,
    ),
    "report": Command(
        "wsss.pipeline.report:report",
        "Write one self-contained HTML file about everything that was scored under the runs.",
        words=(Word("runs", "Folders of runs.", many=True),),
    ),
    "card": Command(
        "wsss.pipeline.card:card",
        "Write a model card of a run, with the network as safetensors and the recipe that made it.",
        words=(Word("run", "Folder of the run, or of one training."),),
    ),
    "push": Command(
        "wsss.pipeline.push:push",
        "Upload the card of a run, with its network, to the Hugging Face hub.",
        words=(Word("run", "Folder of the run, or of its card."),),
        step=False,
    ),
    "run": Command(
        "wsss.pipeline.run:run",
        "Run commands one after another, and again with each of several seeds.",
        words=(Word("--seeds", "Seeds with each of which all steps run.", type=int, many=True),),
        step=False,
    ),
}
"""All commands, in the order of the road."""


def with_manifest() -> list[str]:
    """List the commands whose folders of results can be found by their manifests, in this order."""
    return [name for name, command in COMMANDS.items() if command.manifest]
