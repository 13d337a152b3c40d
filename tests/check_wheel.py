"""Check that a built wheel holds the package `wsss` and nothing else."""

import sys
import zipfile

if __name__ == "__main__":
    names = zipfile.ZipFile(sys.argv[1]).namelist()
    foreign = [name for name in names if not name.startswith("wsss/") and ".dist-info/" not in name]
    if foreign:
        sys.exit(f"{sys.argv[1]} holds files outside of wsss: {foreign}")
    for needed in (
        "wsss/__init__.py",
        "wsss/cli.py",
        "wsss/py.typed",
        "wsss/pipeline/run.py",
        "wsss/pipeline/templates/photographs.yaml",
        "wsss/pipeline/templates/small_objects.yaml",
        "wsss/visualisation/page/report.html",
    ):
        if needed not in names:
            sys.exit(f"{sys.argv[1]} lacks {needed}")
    metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
    if "Requires-Dist: torch" not in zipfile.ZipFile(sys.argv[1]).read(metadata).decode():
        sys.exit(f"{sys.argv[1]} has lost its requirements")
    print(f"{sys.argv[1]}: {len(names)} files, all of wsss")
