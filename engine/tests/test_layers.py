"""Every layer type against a real Caffe: forward and gradients on random shapes and parameters."""

import pytest
import shape_and_loss_cases  # noqa: F401  (adds its cases)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_cases import CASES, Draw
from parity import build, compare, replay

EXAMPLES = 6


@pytest.mark.parametrize("kind", CASES)
def test_layer_agrees_with_caffe(kind, bvlc, tmp_path):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data):
        case = CASES[kind](Draw(data.draw))
        text = case.text()
        result, names = bvlc.net(
            text,
            case.inputs,
            case.phase,
            backward="outputs" if case.backward else None,
            passes=case.passes,
            random_params=case.random_params,
        )
        net = build(tmp_path, text, case.phase)
        assert list(net._layer_names) == names["layers"] and list(net.blobs) == names["blobs"], text
        found = replay(net, result, case.inputs, case.passes, case.backward)
        try:
            compare(found, result, forward=2e-5, gradient=1e-4)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{text}") from None

    check()
