"""The backends of the dense CRF, as a fixture."""

import pytest

NEEDS = {
    "fast": ("numba", "Numba does not support every Python yet"),
    "torch": ("torch", "torch is needed"),
    "pydensecrf": ("pydensecrf", "pydensecrf2 does not build on Python 3.13"),
}


@pytest.fixture(params=list(NEEDS))
def backend(request):
    """Each backend in turn."""
    package, reason = NEEDS[request.param]
    pytest.importorskip(package, reason=reason)
    return request.param
