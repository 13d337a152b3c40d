"""Methods and their options, combined into candidates."""

import pytest

from wsss.attribution import AttributionConfig, TIFConfig
from wsss.pipeline.benchmarking.methods import MethodConfig, candidates_of

METHODS = {
    "CAM": MethodConfig(method="cam"),
    "TIF": MethodConfig(vary={"tif.alpha": [0.0, 0.3], "layers": [1, 3]}),
}


class TestCandidates:
    def test_every_combination(self):
        found = candidates_of(METHODS)
        assert [(one.method, one.name) for one in found] == [
            ("CAM", "CAM"),
            ("TIF", "TIF, alpha 0.0, layers 1"),
            ("TIF", "TIF, alpha 0.0, layers 3"),
            ("TIF", "TIF, alpha 0.3, layers 1"),
            ("TIF", "TIF, alpha 0.3, layers 3"),
        ]
        assert found[3].config == AttributionConfig(layers=1, tif=TIFConfig(alpha=0.3))

    def test_layers_by_name(self):
        found = candidates_of({"A": MethodConfig(vary={"layers": [["features.3", "features.5"]]})})
        assert [one.name for one in found] == ["A, layers features.3+features.5"]

    @pytest.mark.parametrize(
        ("vary", "message"),
        [
            ({"tif.alfa": [1]}, "methods.A.vary: no option 'tif.alfa'"),
            ({"alpha": [1]}, "no option 'alpha'"),
            ({"tif.alpha": ["much"]}, "methods.A.*much"),
            ({"tif.region": ["fuzzy"]}, "methods.A.*fuzzy"),
            ({"tif.alpha": [1.5]}, "expected 0 <= alpha < 1"),
        ],
    )
    def test_what_is_no_option_is_refused(self, vary, message):
        with pytest.raises(ValueError, match=message):
            candidates_of({"A": MethodConfig(vary=vary)})

    def test_nothing_is_refused(self):
        with pytest.raises(ValueError, match="at least one method"):
            candidates_of({})
        with pytest.raises(ValueError, match=r"methods\.A\.vary: a key has no value"):
            candidates_of({"A": MethodConfig(vary={"tif.alpha": []})})

    @pytest.mark.parametrize(
        "methods",
        [
            {"A": MethodConfig(vary={"tif.alpha": [0.1, 0.1]})},
            {"A, alpha 0.1": MethodConfig(), "A": MethodConfig(vary={"tif.alpha": [0.1]})},
        ],
    )
    def test_two_candidates_of_one_name_are_refused(self, methods):
        with pytest.raises(ValueError, match=r"two candidates are called 'A, alpha 0\.1'"):
            candidates_of(methods)
