"""What checking a data set costs, against decoding its files and doing nothing with them.

    python benchmarks/check_data.py --json FILE

The 1,200 photographs of ../shared/data/voc-animals with their masks, which the command checks in as
many threads as there are cores, and the same files decoded in as many threads. Both take turns,
and the fastest turn of each counts. Writes one flat object:

- check_over_decoding: time of check_data over that of decoding alone; 1 is the limit;
- decoding_share: its inverse;
- images_per_second, busiest_resource_share: of check_data; busy time of all cores;
- images.
"""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.data import DataConfig, Record, load_records, read_image, read_mask
from wsss.parallel.launch import cores_per_process
from wsss.pipeline.check_data import FaultsError, check_data

SHARED = Path("../shared")
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
TURNS = 3


def decode(record: Record) -> None:
    """The part that cannot be left out."""
    read_image(record.image)
    read_mask(record.mask)


def main(json: Path | None = None) -> None:
    """Run the benchmark.

    Args:
        json: File that receives the numbers.
    """
    root = (SHARED / "data/voc-animals").resolve()
    if not root.is_dir():
        raise SystemExit(f"{root}: the photographs are not there; nothing to measure")
    with tempfile.TemporaryDirectory() as name:
        lists = Path(name)
        listed = root / "ImageSets/Segmentation"
        text = "\n".join((listed / f"{s}.txt").read_text().strip() for s in ("train_aug", "val"))
        (lists / "all.txt").write_text(text)
        data = DataConfig(root=root, classes=CLASSES, lists=lists)
        records = load_records(data, "all", with_labels=False)
        threads = cores_per_process(1)
        best: dict[str, tuple[float, float]] = {}
        for _ in range(TURNS):
            for part in ("decode", "check"):
                busy, start = os.times(), time.perf_counter()
                if part == "decode":
                    with ThreadPoolExecutor(threads) as pool:
                        list(pool.map(decode, records))
                else:
                    try:
                        check_data(data, "all", None)
                    except FaultsError as error:
                        raise SystemExit(f"expected a data set without errors\n{error}") from error
                wall, after = time.perf_counter() - start, os.times()
                spent = after.user + after.system - busy.user - busy.system
                best[part] = min(best.get(part, (wall, spent)), (wall, spent))
    wall, spent = best["check"]
    ratio = wall / best["decode"][0]
    write_ratios(
        {
            "check_over_decoding": ratio,
            "decoding_share": 1 / ratio,
            "images_per_second": len(records) / wall,
            "busiest_resource_share": spent / wall / threads,
            "images": len(records),
        },
        json,
    )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
