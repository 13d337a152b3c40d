"""Citation of the method and of the software, as CITATION.cff of the repository has them."""

from wsss import __version__

TITLE = "TIF: Threshold Interception and Fusion for Compact and Fine-Grained Visual Attribution"
JOURNAL = "IEEE Transactions on Multimedia"
YEAR = 2024
SOFTWARE = "wsss: weakly supervised semantic segmentation"


def bibtex() -> str:
    """Format both as BibTeX."""
    return (
        f"@article{{tif,\n  title = {{{TITLE}}},\n  journal = {{{JOURNAL}}},\n"
        f"  year = {{{YEAR}}}\n}}\n"
        f"@software{{wsss,\n  title = {{{SOFTWARE}}},\n  version = {{{__version__}}}\n}}"
    )
