"""The control of the metric."""

import pytest
from deploykit_widgets.space.options import arguments, described, with_value

from deploykit.core.errors import SettingError


def test_the_workbench_offers_metrics_with_their_settings():
    (control,) = (c for c in described({})["controls"] if c["name"] == "metric")
    values = [choice["value"] for choice in control["choices"]]
    assert (control["kind"], control["value"]) == ("choice", "auto")
    assert {"auto", "roc_auc", "recall_at_k", "recall_at_k:1", "quantile_loss:0.9"} <= set(values)
    chosen = with_value({}, "metric", "recall_at_k:5")
    assert arguments(chosen, None) == {"metric": "recall_at_k:5"}
    assert with_value(chosen, "metric", "auto") == {}
    with pytest.raises(SettingError, match="recall"):
        with_value({}, "metric", "recall")
